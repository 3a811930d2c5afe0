"""Scoring models on photos with captions: one model, its base and its controls, alone or beside a second one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from molyneux.backends.abilities import Matcher, matcher, scorer
from molyneux.backends.base import DualEncoder, VisionLanguageModel, dual_encoder, frozen
from molyneux.backends.digest import state_digest
from molyneux.datasets.captioned import CaptionedPhotos
from molyneux.datasets.photos import batches
from molyneux.errors import ConfigError, ModelError
from molyneux.records import Amount, Bootstrap, Compared, Count, Record
from molyneux.tasks.classification.features import OnStep, checked_scores
from molyneux.tasks.classification.matches import match_rows
from molyneux.tasks.classification.results import bootstrap
from molyneux.tasks.classification.zero_shot import check_comparable
from molyneux.tasks.retrieval.metrics import (
    Ranks,
    RetrievalChange,
    RetrievalScores,
    candidates,
    find_ranks,
    recall_change,
    reranked,
    retrieval_scores,
)

_SCORES = {
    "cosine": "cosine of the photo's embedding and the caption's",
    "match": "log-probability that photo and caption match",
    "logit": "logit of a match of photo and caption",
}

_TEXTS_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranking:
    """A second model beside the one that is scored: of each query's best `top` for the one that embeds, the one that
    judges pairs says the order; what comes behind them stays as it is."""

    model: VisionLanguageModel
    top: int

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ConfigError(f"the number of candidates to put in order is {self.top}: expected at least 1")


class Shared(Record):
    """Who did what, where two models shared the work."""

    with_: str = Field(alias="with")
    top: Count
    means: str


class RetrievalProtocol(Record):
    """All that is needed to say what the numbers mean."""

    task: Literal["retrieval"]
    root: str
    split: str | None
    photos: Count
    captions: Count
    left_out: Count
    image_size: Count
    crop_fraction: Amount
    photo_fit: str
    score: str
    reranking: Shared | None
    ranks: str
    interval: Bootstrap


class ControlRetrieval(RetrievalScores):
    """The numbers of a model that was taught on what cannot help."""

    model: str


class Retrieval(Compared):
    """What `molyneux retrieve` prints: the numbers of a model, beside those of its base and of controls."""

    protocol: RetrievalProtocol
    before: RetrievalScores | None = None
    after: RetrievalScores
    change: RetrievalChange | None = None
    controls: Mapping[str, ControlRetrieval]
    """By what they are."""


def score_matrix(
    model: VisionLanguageModel,
    photos: CaptionedPhotos,
    *,
    wanted: Bool[Tensor, "n m"] | None = None,
    by_logit: bool = False,
    on_step: OnStep | None = None,
    finished: Path | None = None,
    read: dict[str, Tensor] | None = None,
) -> Float[Tensor, "n m"]:
    """Every photo beside every caption, on the CPU: cosines, or for a `Matcher` log-probabilities of a match (or its
    logits).

    A model that judges pairs passes through all its weights for each pair (of those in `wanted`, if given; the others
    have -inf); its finished rows are kept in the folder `finished` where one is given, and a later call goes on there.
    `read` keeps what a text tower made of the captions, for the next model with the same one.

    Raises:
        DataError: if a photo cannot be read.
        ModelError: if a caption has more tokens than the model reads, or a score is not a number.
        OutputError: if `finished` cannot be used.
    """
    if isinstance(model, Matcher):
        return match_rows(
            model, photos.paths, photos.texts, wanted=wanted, by_logit=by_logit, on_step=on_step, finished=finished
        )
    encoder = dual_encoder(model, "retrieval")
    read = {} if read is None else read
    key = _text_side(encoder)
    if key not in read:
        starts = range(0, len(photos.texts), _TEXTS_AT_ONCE)
        parts = [encoder.embed_texts(photos.texts[start : start + _TEXTS_AT_ONCE]) for start in starts]
        read[key] = torch.cat([part.float().cpu() for part in parts])
    texts = read[key]
    return checked_scores(encoder, _embedded(encoder, photos.paths, on_step) @ texts.T)


def retrieve(
    model: VisionLanguageModel,
    photos: CaptionedPhotos,
    *,
    base: VisionLanguageModel | None = None,
    controls: Mapping[str, VisionLanguageModel] | None = None,
    reranking: Reranking | None = None,
    by_logit: bool = False,
    on_step: OnStep | None = None,
    finished: Path | None = None,
) -> Retrieval:
    """Score `model`, and `base` and `controls` where given, on photos with captions.

    Args:
        model: one that embeds images and texts, or judges pairs.
        photos: what is searched.
        base: to show as 'before'.
        controls: models taught on something else, by what that is; scored in the same way.
        reranking: a model of the other kind, which shares the work.
        by_logit: for a model that judges pairs, as for `Matcher.match_scores`.
        on_step: told of the progress.
        finished: a folder, as for `score_matrix`.

    Raises:
        DataError: if a photo cannot be read.
        ModelError: if a caption has more tokens than a model reads, a score is not a number, or the models do not
            go together.
        OutputError: if a file in `finished` cannot be used.
    """
    owners = torch.tensor(photos.owners)
    others = dict(controls or {})
    for one in (base, *others.values()):
        check_comparable(model, one)
    if reranking is not None:
        _check_shared(model, reranking.model)
    search = _Search(photos, owners, reranking, by_logit, on_step, finished)
    before = None if base is None else search.ranks(base)
    after = search.ranks(model)
    judge = model if isinstance(model, Matcher) or reranking is None else reranking.model
    protocol = RetrievalProtocol(
        task="retrieval",
        root=str(photos.root),
        split=photos.split,
        photos=len(photos),
        captions=len(photos.texts),
        left_out=photos.left_out,
        image_size=model.image_size,
        crop_fraction=model.crop_fraction,
        photo_fit=_photo_fit(model),
        score=_SCORES[("logit" if by_logit else "match") if isinstance(judge, Matcher) else "cosine"],
        reranking=None if reranking is None else search.said(model),
        ranks="0 is best; ties count against the model; of a photo's captions the best counts",
        interval=bootstrap("bootstrap over photos, a photo's captions together; of changes, paired"),
    )
    compared: dict[str, Any] = {}
    if before is not None:
        compared = {"before": retrieval_scores(before, owners), "change": recall_change(before, after, owners)}
    return Retrieval(
        version=1,
        model=model.name,
        base=None if base is None else base.name,
        protocol=protocol,
        after=retrieval_scores(after, owners),
        controls={
            name: ControlRetrieval(model=one.name, **retrieval_scores(search.ranks(one), owners).given())
            for name, one in others.items()
        },
        **compared,
    )


def _check_shared(model: VisionLanguageModel, other: VisionLanguageModel) -> None:
    if isinstance(model, Matcher) == isinstance(scorer(other, "re-ranking"), Matcher):
        raise ModelError(
            f"re-ranking needs one model that embeds (CLIP) and one that judges pairs (ViLT), "
            f"got {model.name!r} and {other.name!r}"
        )


class _Search:
    """Ranks of one model after the other on the same photos, with or without a second one beside each."""

    def __init__(
        self,
        photos: CaptionedPhotos,
        owners: Tensor,
        reranking: Reranking | None,
        by_logit: bool,
        on_step: OnStep | None,
        finished: Path | None,
    ) -> None:
        self._photos, self._owners, self._reranking, self._by_logit = photos, owners, reranking, by_logit
        self._on_step, self._finished = on_step, finished
        self._fixed: Tensor | None = None
        self._read: dict[str, Tensor] = {}

    def ranks(self, model: VisionLanguageModel) -> Ranks:
        if self._reranking is None:
            return find_ranks(self._scores(model), self._owners)
        if isinstance(model, Matcher):
            if self._fixed is None:
                self._fixed = self._scores(self._reranking.model)
            first, judge = self._fixed, model
        else:
            first, judge = self._scores(model), matcher(self._reranking.model, "re-ranking")
        by_photo, by_text = candidates(first, self._reranking.top)
        return reranked(first, self._scores(judge, by_photo | by_text), self._owners, self._reranking.top)

    def said(self, model: VisionLanguageModel) -> Shared:
        """Who did what, for the record."""
        assert self._reranking is not None
        other = self._reranking.model
        chose, judged = (
            (other.name, "the scored model") if isinstance(model, Matcher) else ("the scored model", other.name)
        )
        top = self._reranking.top
        means = f"{chose} chose each query's best {top}, which {judged} put in order; not every pair was judged"
        return Shared(**{"with": other.name}, top=top, means=means)

    def _scores(self, model: VisionLanguageModel, wanted: Tensor | None = None) -> Tensor:
        return score_matrix(
            model,
            self._photos,
            wanted=wanted,
            by_logit=self._by_logit,
            on_step=self._on_step,
            finished=self._finished,
            read=self._read,
        )


def _photo_fit(model: VisionLanguageModel) -> str:
    if isinstance(model, Matcher) and (shape := model.photo_shape(1_000_000, model.image_size)) is not None:
        return f"shape kept, the longer side at most {shape[1]}, in whole patches"
    return model.photo_fit


def _text_side(model: DualEncoder) -> str:
    """Tells text towers apart: all weights but the vision tower's, and how texts are read."""
    seeing = {value.data_ptr() for value in model.vision_module().state_dict().values()}
    rest = {key: value for key, value in model.native.state_dict().items() if value.data_ptr() not in seeing}
    return f"{state_digest(rest)} {model.long_text} {model.precision} {model.device}"


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
