"""Finding a photo's captions among all captions, and a caption's photo among all photos.

Rows of a score matrix are photos, columns are captions; each caption belongs to one photo. A rank counts what stands
before the right answer, 0 is best. Whatever scores the same as the right answer and belongs to another photo stands
before it: ties count against the model, so one that scores everything alike finds nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from molyneux.errors import DataError
from molyneux.records import Amount, Count, Difference, Interval, Record, Share
from molyneux.tasks.classification.metrics import bootstrap_interval, median_rank
from molyneux.tasks.classification.results import BOOTSTRAP_SEED, LEVEL, RESAMPLES

CUTOFFS = (1, 5, 10)

_CELLS_AT_ONCE = 20_000_000


class Direction(Record):
    """How well one kind of query finds its answer."""

    queries: Count
    recall: Mapping[int, Share]
    """For each cut-off k, the share of queries with a right answer among the first k."""
    recall_interval: Mapping[int, tuple[Amount, Amount]]
    """Bootstrap over photos: a photo's captions are drawn together."""
    median_rank: Amount
    """0 is best; papers that count from 1 print one more."""


class RetrievalScores(Record):
    """One model's numbers, both ways."""

    image_to_text: Direction
    """A photo's answer is the best of its captions."""
    text_to_image: Direction


class RecallChange(Record):
    """By how much recall rose, for each cut-off."""

    recall: Mapping[int, Difference]
    recall_interval: Mapping[int, Interval]


class RetrievalChange(Record):
    """By how much recall rose, both ways."""

    image_to_text: RecallChange
    text_to_image: RecallChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """How much stands before each query's answer; 0 is best."""

    image_to_text: Int[Tensor, " n"]
    text_to_image: Int[Tensor, " m"]


def image_to_text_ranks(scores: Float[Tensor, "n m"], owners: Int[Tensor, " m"]) -> Int[Tensor, " n"]:
    """For each photo, how many captions of others score at least as high as the best of its own.

    Raises:
        DataError: if there is no photo, one has no caption, or an owner is no row.

    >>> image_to_text_ranks(torch.tensor([[0.2, 0.9, 0.5], [0.1, 0.1, 0.1]]), torch.tensor([0, 0, 1])).tolist()
    [0, 2]
    """
    _check(scores, owners)
    found = []
    for start, rows in _row_blocks(scores):
        own = owners[None, :] == torch.arange(start, start + len(rows), device=scores.device)[:, None]
        best = rows.masked_fill(~own, -torch.inf).max(dim=1, keepdim=True).values
        found.append(((rows >= best) & ~own).sum(dim=1))
    return torch.cat(found)


def text_to_image_ranks(scores: Float[Tensor, "n m"], owners: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """For each caption, how many other photos score at least as high as its own.

    Raises:
        DataError: as for `image_to_text_ranks`.

    >>> text_to_image_ranks(torch.tensor([[0.2, 0.9, 0.5], [0.1, 0.1, 0.1]]), torch.tensor([0, 0, 1])).tolist()
    [0, 0, 1]
    """
    _check(scores, owners)
    own = scores.gather(0, owners[None, :])
    counts = torch.zeros_like(owners)
    for _, rows in _row_blocks(scores):
        counts += (rows >= own).sum(dim=0)
    return counts - 1


def recall_at(ranks: Int[Tensor, " n"], cutoff: int) -> float:
    """Share of ranks below the cut-off.

    Raises:
        DataError: if there are none.

    >>> recall_at(torch.tensor([0, 3, 5, 1]), 5)
    0.75
    """
    if len(ranks) == 0:
        raise DataError("no recall of no ranks: expected at least one query")
    return float((ranks < cutoff).double().mean())


def find_ranks(scores: Float[Tensor, "n m"], owners: Int[Tensor, " m"]) -> Ranks:
    """Both ways.

    Raises:
        DataError: as for `image_to_text_ranks`.
    """
    return Ranks(
        image_to_text=image_to_text_ranks(scores, owners).cpu(), text_to_image=text_to_image_ranks(scores, owners).cpu()
    )


def reranked(first: Float[Tensor, "n m"], second: Float[Tensor, "n m"], owners: Int[Tensor, " m"], top: int) -> Ranks:
    """Ranks where each query's best `top` by `first` are put in order by `second`, all others staying behind them.

    Of `second` only the pairs that are `candidates` are looked at. With a `top` of everything these are `second`'s
    own ranks; a recall at `top` or beyond is `first`'s.

    Raises:
        DataError: as for `image_to_text_ranks`.
    """
    by_photo, by_text = candidates(first, top)
    old = find_ranks(first, owners)
    own = owners[None, :] == torch.arange(len(first))[:, None]
    return Ranks(
        image_to_text=image_to_text_ranks(second.masked_fill(~by_photo, -torch.inf), owners).where(
            (by_photo & own).any(dim=1), old.image_to_text
        ),
        text_to_image=text_to_image_ranks(second.masked_fill(~by_text, -torch.inf), owners).where(
            (by_text & own).any(dim=0), old.text_to_image
        ),
    )


def candidates(scores: Float[Tensor, "n m"], top: int) -> tuple[Bool[Tensor, "n m"], Bool[Tensor, "n m"]]:
    """Each photo's `top` texts, and each text's `top` photos.

    >>> for one in candidates(torch.tensor([[0.2, 0.9], [0.1, 0.3]]), 1): print(one.tolist())
    [[False, True], [False, True]]
    [[True, True], [False, False]]
    """
    found = []
    for dim in (1, 0):
        best = scores.topk(min(top, scores.shape[dim]), dim=dim).indices
        found.append(torch.zeros_like(scores, dtype=torch.bool).scatter_(dim, best, True))
    return found[0], found[1]


def retrieval_scores(ranks: Ranks, owners: Int[Tensor, " m"]) -> RetrievalScores:
    """All numbers of the ranks."""
    photos = torch.arange(len(ranks.image_to_text))
    return RetrievalScores(
        image_to_text=_direction(ranks.image_to_text, photos, len(photos)),
        text_to_image=_direction(ranks.text_to_image, owners.cpu(), len(photos)),
    )


def recall_change(before: Ranks, after: Ranks, owners: Int[Tensor, " m"]) -> RetrievalChange:
    """By how much recall rose, both ways, with a bootstrap interval over photos that both models saw."""
    count = len(before.image_to_text)

    def change(old: Tensor, new: Tensor, photos: Tensor) -> RecallChange:
        gains = {cut: _shares(new, photos, count, cut) - _shares(old, photos, count, cut) for cut in CUTOFFS}
        return RecallChange(
            recall={cut: float(gain.mean()) for cut, gain in gains.items()},
            recall_interval={
                cut: bootstrap_interval(gain, BOOTSTRAP_SEED, LEVEL, RESAMPLES) for cut, gain in gains.items()
            },
        )

    return RetrievalChange(
        image_to_text=change(before.image_to_text, after.image_to_text, torch.arange(count)),
        text_to_image=change(before.text_to_image, after.text_to_image, owners.cpu()),
    )


def _direction(ranks: Tensor, photos: Tensor, count: int) -> Direction:
    recall, interval = {}, {}
    for cutoff in CUTOFFS:
        recall[cutoff] = recall_at(ranks, cutoff)
        interval[cutoff] = bootstrap_interval(_shares(ranks, photos, count, cutoff), BOOTSTRAP_SEED, LEVEL, RESAMPLES)
    return Direction(queries=len(ranks), recall=recall, recall_interval=interval, median_rank=median_rank(ranks))


def _shares(ranks: Tensor, photos: Tensor, count: int, cutoff: int) -> Float[Tensor, " n"]:
    """Each photo's share of all hits: their mean is the recall, and captions of one photo are not independent."""
    hits = torch.zeros(count, dtype=torch.float64).index_add_(0, photos, (ranks < cutoff).double())
    return hits * count / len(ranks)


def _row_blocks(scores: Tensor) -> list[tuple[int, Tensor]]:
    rows = max(1, _CELLS_AT_ONCE // max(1, scores.shape[1]))
    return [(start, scores[start : start + rows]) for start in range(0, len(scores), rows)]


def _check(scores: Tensor, owners: Tensor) -> None:
    count = len(scores)
    if count == 0 or len(owners) == 0:
        raise DataError(f"nothing to retrieve in scores of shape {tuple(scores.shape)}: expected photos and captions")
    if scores.isnan().any():
        raise DataError("a score is not a number: expected numbers for all pairs of photo and caption")
    if int(owners.min()) < 0 or int(owners.max()) >= count:
        raise DataError(f"a caption belongs to a photo outside 0 to {count - 1}: expected the row of its photo")
    bare = (torch.bincount(owners.cpu(), minlength=count) == 0).nonzero()
    if len(bare):
        raise DataError(f"photo {int(bare[0])} has no caption: expected at least one for each photo")
