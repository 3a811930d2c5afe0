"""Measures beyond recall: does a new name fire on photos that show nothing named, are probabilities true, and what is
forgotten over a sequence of lessons.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.errors import DataError
from molyneux.shapes import Labels


def margins(known: Float[Tensor, "n c"], target: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """For each photo the new name's score less the best known name's: above 0 the new name wins.

    >>> margins(torch.tensor([[0.1, 0.3]]), torch.tensor([0.5]))
    tensor([0.2000])
    """
    if known.shape[1] == 0:
        raise DataError("no margin over no known class: expected at least one")
    return target - known.amax(dim=1)


def auroc(shown: Float[Tensor, " n"], others: Float[Tensor, " m"]) -> float:
    """Probability that a photo of the concept scores above one that shows something else; ties count half.

    The area under the ROC curve, as the Mann-Whitney statistic. 0.5 is chance.

    Raises:
        DataError: if either has no photos.

    >>> auroc(torch.tensor([0.9, 0.4]), torch.tensor([0.5, 0.1]))
    0.75
    """
    _check(shown, others)
    ordered = others.double().sort().values
    below = torch.searchsorted(ordered, shown.double().contiguous(), right=False)
    upto = torch.searchsorted(ordered, shown.double().contiguous(), right=True)
    return float((below + upto).double().mean() / (2 * len(others)))


def false_positives_at(shown: Float[Tensor, " n"], others: Float[Tensor, " m"], recall: float = 0.95) -> float:
    """Share of other photos that pass the highest threshold at which this share of the concept's photos does (FPR95).

    A photo passes if its score is at least the threshold.

    Raises:
        DataError: if either has no photos, or `recall` is not above 0 and at most 1.

    Source: Hendrycks & Gimpel (2017); Liang et al. (2018), ODIN.

    >>> false_positives_at(torch.tensor([0.9, 0.4]), torch.tensor([0.5, 0.1]), recall=1.0)
    0.5
    """
    _check(shown, others)
    if not 0 < recall <= 1:
        raise DataError(f"the recall is {recall}: expected more than 0, at most 1, such as 0.95")
    kept = max(1, int(torch.tensor(recall * len(shown), dtype=torch.float64).sub(1e-9).ceil()))
    threshold = shown.double().sort(descending=True).values[kept - 1]
    return float((others.double() >= threshold).double().mean())


def calibration_error(probabilities: Float[Tensor, "n c"], labels: Labels, bins: int = 15) -> float:
    """Expected calibration error: over bins of confidence, how far accuracy and confidence lie apart, in [0, 1].

    Bins are equally wide, and each counts by its share of the photos.

    Raises:
        DataError: if there are no photos or no bins.

    Source: Guo et al. (2017), On calibration of modern neural networks.

    >>> calibration_error(torch.tensor([[0.8, 0.2], [0.8, 0.2]]), torch.tensor([0, 1]), bins=10)
    0.30000001192092896
    """
    if not len(probabilities) or bins < 1:
        raise DataError(f"no calibration of {len(probabilities)} photos in {bins} bins: expected some of both")
    confidence, best = probabilities.max(dim=1)
    right = (best == labels).double()
    places = (confidence.double() * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64, device=right.device)
    gaps.index_add_(0, places, right - confidence.double())
    return float(gaps.abs().sum() / len(right))


def harmonic_mean(novel: float, known: float) -> float:
    """Of accuracy on new concepts and on known classes: high only if both are; 0 if one is 0.

    Source: Xian et al. (2018), Zero-shot learning: a comprehensive evaluation.

    >>> harmonic_mean(0.5, 0.5), harmonic_mean(0.0, 0.9)
    (0.5, 0.0)
    """
    return 2 * novel * known / (novel + known) if novel and known else 0.0


def forgetting(after_each: Sequence[Sequence[float]]) -> float:
    """Mean over concepts of the best recall that they had after an earlier lesson, less that after the last.

    Args:
        after_each: after the k-th lesson the recall of the first k concepts, for k = 1 to n.

    Raises:
        DataError: if there are fewer than two lessons, or a row is not one longer than the row before.

    Source: Chaudhry et al. (2018), Riemannian walk for incremental learning.

    >>> round(forgetting([[0.8], [0.6, 0.9]]), 3)
    0.2
    """
    if len(after_each) < 2 or any(len(row) != place + 1 for place, row in enumerate(after_each)):
        raise DataError("forgetting needs two lessons or more, and after the k-th the recall of the first k concepts")
    last = after_each[-1]
    lost = [max(row[place] for row in after_each[place:-1]) - last[place] for place in range(len(last) - 1)]
    return sum(lost) / len(lost)


def _check(shown: Tensor, others: Tensor) -> None:
    if not len(shown) or not len(others):
        raise DataError(f"{len(shown)} photos of the concept and {len(others)} of others: expected some of both")
