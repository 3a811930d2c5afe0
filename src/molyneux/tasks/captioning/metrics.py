"""BLEU, ROUGE-L and CIDEr of captions against what people wrote, as COCO's caption evaluation defines them.

All functions take captions as words with spaces between them (`tokenize` makes those): for each image one caption
and one or more references. The constants are pycocoevalcap's, so that numbers agree with published ones.
"""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.errors import DataError

ORDERS = 4
"""The longest n-gram of BLEU and CIDEr."""

_SMALL, _TINY = 1e-9, 1e-15
_ROUGE_BETA = 1.2
_CIDER_SIGMA = 6.0

Gram = tuple[str, ...]


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, float, float, float]:
    """BLEU@1 to BLEU@4 of all captions together, in [0, 1].

    BLEU@n is the geometric mean of the precisions of 1- to n-grams, each n-gram counting no more often than in the
    reference that holds it most, times exp(1 - r/c) where the captions' length c is below r, the summed lengths of
    the references nearest in length (of two as near, the shorter). Where no n-gram matches, a count of 1e-15 stands
    in, so such a score is small rather than nought.

    Raises:
        DataError: if there are no captions, not one list of references for each, or an empty list.

    Source: Papineni et al. (2002), BLEU; constants of COCO's evaluation.

    >>> scores = bleu(["a red cup"], [["a red cup", "one cup"]])
    >>> [round(score, 3) for score in scores[:3]]
    [1.0, 1.0, 1.0]
    """
    _check(captions, references)
    matched, present = [0] * ORDERS, [0] * ORDERS
    length, nearest = 0, 0
    for caption, own in zip(captions, references, strict=True):
        words = caption.split()
        length += len(words)
        nearest += min((abs(len(other.split()) - len(words)), len(other.split())) for other in own)[1]
        most: Counter[Gram] = Counter()
        for other in own:
            most |= _grams(other.split())
        for gram, count in _grams(words).items():
            present[len(gram) - 1] += count
            matched[len(gram) - 1] += min(count, most[gram])
    ratio = (length + _TINY) / (nearest + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, scores = 1.0, []
    for order, (hits, total) in enumerate(zip(matched, present, strict=True), start=1):
        product *= (hits + _TINY) / (total + _SMALL)
        scores.append(penalty * product ** (1 / order))
    first, second, third, fourth = scores
    return first, second, third, fourth


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Float[Tensor, " n"]:
    """ROUGE-L of each caption, in [0, 1]; the mean over images is what is reported.

    An F-measure (beta 1.2) of the longest common subsequence's share in the caption and in the reference; the best
    share over references counts, for each of the two on its own. 0 where nothing is in common.

    Raises:
        DataError: as for `bleu`.

    Source: Lin (2004), ROUGE; beta and maxima of COCO's evaluation.

    >>> rouge_l(["a red cup"], [["a cup", "a red cup"]])
    tensor([1.], dtype=torch.float64)
    """
    _check(captions, references)
    scores = []
    for caption, own in zip(captions, references, strict=True):
        words, others = caption.split(), [reference.split() for reference in own]
        common = [_longest_common(words, other) for other in others]
        precision = max(common) / max(1, len(words))
        recall = max(found / max(1, len(other)) for found, other in zip(common, others, strict=True))
        weight = _ROUGE_BETA**2
        scores.append((1 + weight) * precision * recall / (recall + weight * precision) if max(common) else 0.0)
    return torch.tensor(scores, dtype=torch.float64)


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Float[Tensor, " n"]:
    """CIDEr-D of each caption, in [0, 10]; the mean over images is what is reported, often times 100.

    For n from 1 to 4 the cosine between the n-grams' counts in caption and reference, each weighted by the logarithm
    of (images / images whose references hold it), the caption's clipped to the reference's; a Gaussian (sigma 6)
    on the difference in length; mean over n and over references, times 10.

    How rare a phrase is, the references given decide: the score of a subset is not that of the whole, and one
    image alone scores 0. A caption that equals its references scores 10 times the share of orders n at which it
    holds an n-gram that tells its image from some other.

    Raises:
        DataError: as for `bleu`.

    Source: Vedantam et al. (2015), CIDEr; the 'D' form of COCO's evaluation.

    >>> cider(["a red cup", "two dogs run"], [["a red cup"], ["two dogs run"]])
    tensor([7.5000, 7.5000], dtype=torch.float64)
    """
    _check(captions, references)
    own = [[_grams(reference.split()) for reference in group] for group in references]
    holding: Counter[Gram] = Counter()
    for group in own:
        holding.update({gram for grams in group for gram in grams})
    scores = []
    for caption, group in zip(captions, own, strict=True):
        vector = _Weighted(_grams(caption.split()), holding, len(captions))
        total = sum(vector.similarity(_Weighted(grams, holding, len(captions))) for grams in group)
        scores.append(10 * total / len(group))
    return torch.tensor(scores, dtype=torch.float64)


class _Weighted:
    """A caption's n-grams, weighted by how rare they are."""

    def __init__(self, grams: Counter[Gram], holding: Counter[Gram], images: int) -> None:
        self.weights: list[dict[Gram, float]] = [{} for _ in range(ORDERS)]
        for gram, count in grams.items():
            rarity = math.log(images) - math.log(max(1, holding[gram]))
            self.weights[len(gram) - 1][gram] = count * rarity
        self.norms = [math.hypot(*weights.values()) for weights in self.weights]
        # what COCO's evaluation takes for the length: the number of pairs of neighbours
        self.length = sum(count for gram, count in grams.items() if len(gram) == 2)

    def similarity(self, reference: "_Weighted") -> float:
        total = 0.0
        for mine, its, norm, its_norm in zip(self.weights, reference.weights, self.norms, reference.norms, strict=True):
            if norm and its_norm:
                shared = sum(min(weight, its[gram]) * its[gram] for gram, weight in mine.items() if gram in its)
                total += shared / (norm * its_norm)
        return total / ORDERS * math.exp(-((self.length - reference.length) ** 2) / (2 * _CIDER_SIGMA**2))


def _grams(words: Sequence[str]) -> Counter[Gram]:
    return Counter(
        tuple(words[start : start + order]) for order in range(1, ORDERS + 1) for start in range(len(words) - order + 1)
    )


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    lengths = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, candidate in enumerate(other, start=1):
            above = lengths[place]
            lengths[place] = diagonal + 1 if word == candidate else max(above, lengths[place - 1])
            diagonal = above
    return lengths[-1]


def _check(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not captions or len(captions) != len(references):
        raise DataError(
            f"{len(captions)} captions and {len(references)} lists of references: "
            "expected one list for each caption, and at least one caption"
        )
    bare = next((place for place, group in enumerate(references) if not group), None)
    if bare is not None:
        raise DataError(f"caption {bare} ({captions[bare]!r}) has no references: expected at least one for each")
