"""Finding a photo's captions among all captions, and a caption's photo among all photos.

Rows of a score matrix are photos, columns are captions; each caption belongs to one photo. A rank counts what stands
before the right answer, 0 is best. Whatever scores the same as the right answer and belongs to another photo stands
before it: ties count against the model, so one that scores everything alike finds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from molyneux.backends.abilities import Matcher
from molyneux.backends.base import DualEncoder, VisionLanguageModel, dual_encoder, frozen
from molyneux.datasets.captioned import CaptionedPhotos
from molyneux.datasets.photos import batches
from molyneux.errors import DataError
from molyneux.evaluation.features import OnStep, checked_scores
from molyneux.evaluation.matches import match_rows
from molyneux.evaluation.metrics import bootstrap_interval, median_rank
from molyneux.evaluation.results import BOOTSTRAP_SEED, LEVEL, RESAMPLES, Score

CUTOFFS = (1, 5, 10)

_TEXTS_AT_ONCE = 100
_CELLS_AT_ONCE = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """How well one kind of query finds its answer."""

    queries: int
    recall: dict[int, float]
    """For each cut-off k, the share of queries with a right answer among the first k."""
    recall_interval: dict[int, tuple[float, float]]
    """Bootstrap over photos: a photo's captions are drawn together."""
    median_rank: float
    """0 is best; papers that count from 1 print one more."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "queries": self.queries,
            "recall": {str(cut): value for cut, value in self.recall.items()},
            "recall_interval": {str(cut): list(ends) for cut, ends in self.recall_interval.items()},
            "median_rank": self.median_rank,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalScores:
    """One model's numbers, both ways."""

    image_to_text: Direction
    """A photo's answer is the best of its captions."""
    text_to_image: Direction

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"image_to_text": self.image_to_text.as_dict(), "text_to_image": self.text_to_image.as_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """The numbers of a model, beside those of its base where there is one."""

    model: str
    base: str | None
    photos: int
    captions: int
    score: Score
    before: RetrievalScores | None
    after: RetrievalScores

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        before = {} if self.before is None else {"before": self.before.as_dict()}
        return {
            "model": self.model,
            "base": self.base,
            "photos": self.photos,
            "captions": self.captions,
            "score": self.score,
            "ties": "count against the model",
            **before,
            "after": self.after.as_dict(),
        }


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


def retrieval_scores(scores: Float[Tensor, "n m"], owners: Int[Tensor, " m"]) -> RetrievalScores:
    """All numbers of a score matrix.

    Raises:
        DataError: as for `image_to_text_ranks`.
    """
    photos = torch.arange(len(scores))
    return RetrievalScores(
        image_to_text=_direction(image_to_text_ranks(scores, owners).cpu(), photos, len(scores)),
        text_to_image=_direction(text_to_image_ranks(scores, owners).cpu(), owners.cpu(), len(scores)),
    )


def score_matrix(
    model: VisionLanguageModel,
    photos: CaptionedPhotos,
    *,
    on_step: OnStep | None = None,
    finished: Path | None = None,
) -> Float[Tensor, "n m"]:
    """Every photo beside every caption, on the CPU: cosines, or log-probabilities of a match for a `Matcher`.

    A model that judges pairs passes through all its weights for each pair; its finished rows are kept in the file
    `finished` where one is given, from which a later call goes on.

    Raises:
        DataError: if a photo cannot be read.
        ModelError: if a caption has more tokens than the model reads, or a score is not a number.
        OutputError: if `finished` cannot be used.
    """
    if isinstance(model, Matcher):
        return match_rows(model, photos.paths, photos.texts, on_step=on_step, finished=finished)
    encoder = dual_encoder(model, "retrieval")
    texts = torch.cat(
        [
            encoder.embed_texts(photos.texts[start : start + _TEXTS_AT_ONCE]).float().cpu()
            for start in range(0, len(photos.texts), _TEXTS_AT_ONCE)
        ]
    )
    return checked_scores(encoder, _embedded(encoder, photos.paths, on_step) @ texts.T)


def retrieve(
    model: VisionLanguageModel,
    photos: CaptionedPhotos,
    *,
    base: VisionLanguageModel | None = None,
    on_step: OnStep | None = None,
    finished: Path | None = None,
) -> Retrieval:
    """Score `model`, and `base` where given, on photos with captions; `finished` is a folder, as for `score_matrix`.

    Raises:
        DataError: if a photo cannot be read.
        ModelError: if a caption has more tokens than a model reads, or a score is not a number.
        OutputError: if a file in `finished` cannot be used.
    """
    owners = torch.tensor(photos.owners)

    def numbers(one: VisionLanguageModel, moment: str) -> RetrievalScores:
        kept = None if finished is None else finished / f"{moment}.rows"
        return retrieval_scores(score_matrix(one, photos, on_step=on_step, finished=kept), owners)

    return Retrieval(
        model=model.name,
        base=None if base is None else base.name,
        photos=len(photos),
        captions=len(owners),
        score="match" if isinstance(model, Matcher) else "cosine",
        before=None if base is None else numbers(base, "before"),
        after=numbers(model, "after"),
    )


def _embedded(model: DualEncoder, paths: Sequence[Path], on_step: OnStep | None) -> Float[Tensor, "n d"]:
    rows: list[Tensor] = []
    done = 0
    with torch.no_grad(), frozen(model.native):
        for images in batches(paths, model.image_size, model.crop_fraction, fit=model.photo_fit):
            rows.append(model.embed_images(images.to(model.device)).float().cpu())
            done += len(images)
            if on_step is not None:
                on_step("photos", done, len(paths))
    return torch.cat(rows)


def _direction(ranks: Tensor, photos: Tensor, count: int) -> Direction:
    recall, interval = {}, {}
    for cutoff in CUTOFFS:
        recall[cutoff] = recall_at(ranks, cutoff)
        hits = torch.zeros(count, dtype=torch.float64).index_add_(0, photos, (ranks < cutoff).double())
        # each photo's share of all hits: their mean is the recall, and captions of one photo are not independent
        interval[cutoff] = bootstrap_interval(hits * count / len(ranks), BOOTSTRAP_SEED, LEVEL, RESAMPLES)
    return Direction(queries=len(ranks), recall=recall, recall_interval=interval, median_rank=median_rank(ranks))


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
