"""Pure functions on score matrices: rows are photos, columns are classes, higher is better.

Where two classes score the same, the first column wins, as `argmax` has it; all functions here agree.
"""

import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from torch import Tensor

from molyneux.errors import DataError
from molyneux.shapes import Labels

_DRAWS_AT_ONCE = 4_000_000

ScoreMatrix = Float[Tensor, "n c"]
"""One row for each photo, one column for each class."""


def top1_accuracy(scores: ScoreMatrix, labels: Labels) -> float:
    """Share of rows whose best column is the label.

    Raises:
        DataError: if there are no rows or no columns.

    >>> top1_accuracy(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]))
    0.5
    """
    _check(scores)
    return _mean(scores.argmax(dim=1) == labels)


def target_recall(known: ScoreMatrix, target: Float[Tensor, " n"]) -> float:
    """Share of the target's own photos on which the target beats every known class.

    `known` holds the photos' scores for the known classes, `target` for the target. The target stands last in
    the label set, so it loses ties.

    Raises:
        DataError: if there are no photos, or no known class, for a target alone would win every photo.

    >>> target_recall(torch.tensor([[0.1, 0.3], [0.5, 0.2]]), torch.tensor([0.4, 0.5]))
    0.5
    """
    return _mean(captured(known, target))


def false_positive_rate(known: ScoreMatrix, target: Float[Tensor, " n"]) -> float:
    """Share of known classes' photos that the target captures: the same comparison on photos of others.

    Raises:
        DataError: if there are no photos or no known class.

    >>> false_positive_rate(torch.tensor([[0.9, 0.1], [0.2, 0.3]]), torch.tensor([0.4, 0.5]))
    0.5
    """
    return _mean(captured(known, target))


def captured(known: ScoreMatrix, target: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """For each photo, whether the target scores above every known class.

    Raises:
        DataError: if there are no photos or no known class.
    """
    _check(known)
    return target > known.max(dim=1).values


def ranks(scores: ScoreMatrix, labels: Labels) -> Int[Tensor, " n"]:
    """How many columns stand before the label's: scoring higher, or the same further left. 0 is best.

    Raises:
        DataError: if there are no rows or no columns.

    >>> ranks(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), torch.tensor([2, 1]))
    tensor([1, 1])
    """
    _check(scores)
    own = scores.gather(1, labels[:, None])
    left = torch.arange(scores.shape[1], device=scores.device)[None, :] < labels[:, None]
    return ((scores > own) | ((scores == own) & left)).sum(dim=1)


def median_rank(ranks: Num[Tensor, " n"]) -> float:
    """The middle rank; of an even number, the mean of the two in the middle.

    Raises:
        DataError: if there are none.

    >>> median_rank(torch.tensor([0, 4, 1, 2]))
    1.5
    """
    if len(ranks) == 0:
        raise DataError("no median of no ranks: expected at least one photo")
    ordered = ranks.double().sort().values
    return float((ordered[(len(ranks) - 1) // 2] + ordered[len(ranks) // 2]) / 2)


def bootstrap_interval(
    values: Shaped[Tensor, " n"], seed: int, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Percentile interval of the mean of numbers or truths under resampling with replacement.

    What it covers is the choice of photos, not the randomness of teaching. Photos that all score the same
    give an interval without width, however few they are.

    Raises:
        DataError: if there are no values, or `level` is not between 0 and 1.

    Source: Efron (1979), Bootstrap methods.

    >>> bootstrap_interval(torch.ones(5), seed=0)
    (1.0, 1.0)
    """
    if len(values) == 0:
        raise DataError("no interval of no values: expected at least one photo")
    if not 0 < level < 1:
        raise DataError(f"the interval's level is {level}: expected a number between 0 and 1, such as 0.95")
    generator = torch.Generator().manual_seed(seed)
    numbers = values.cpu().double()
    at_once = max(1, _DRAWS_AT_ONCE // len(numbers))
    means = torch.cat(
        [
            numbers[torch.randint(len(numbers), (rows, len(numbers)), generator=generator)].mean(dim=1)
            for rows in _portions(resamples, at_once)
        ]
    )
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = means.quantile(edges).tolist()
    return low, high


def _portions(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]


def _check(scores: Tensor) -> None:
    if scores.shape[0] == 0 or scores.shape[1] == 0:
        raise DataError(f"nothing to measure in scores of shape {tuple(scores.shape)}: expected photos and classes")


def _mean(hits: Tensor) -> float:
    return float(hits.double().mean())
