"""Zero-shot classification before and after teaching: what was gained, and what it cost.

The label set of a novel concept is all known names plus that one name; known names come first, so a novel
name loses ties. Every number can be computed again from the `Protocol` beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from molyneux.arguments import check_kind, check_texts
from molyneux.backends.abilities import Matcher, scorer
from molyneux.backends.base import DualEncoder, VisionLanguageModel, check_model, dual_encoder
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.imagenet import ClassNames, SameNames
from molyneux.datasets.names import name_key
from molyneux.datasets.sets import read_set
from molyneux.errors import ConfigError, DataError, ModelError
from molyneux.records import MistakenPhoto, Opinion, Prediction
from molyneux.runs.progress import shown
from molyneux.shapes import Embeddings
from molyneux.tasks.classification.ensembles import Groups, class_columns, scores_of_columns
from molyneux.tasks.classification.features import OnStep, PhotoFeatures, later_photos, name_texts, photo_features
from molyneux.tasks.classification.labels import LabelSet, label_set, labels_among
from molyneux.tasks.classification.matches import match_photos
from molyneux.tasks.classification.metrics import (
    ScoreMatrix,
    bootstrap_interval,
    captured,
    median_rank,
    ranks,
    top1_accuracy,
)
from molyneux.tasks.classification.prompts import PROMPTS, Ensemble, check_prompts
from molyneux.tasks.classification.results import (
    BOOTSTRAP_SEED,
    LEVEL,
    RESAMPLES,
    ClassScores,
    ConceptScores,
    Evaluation,
    Measurement,
    protocol,
)

MOST_MISTAKEN = 12
"""Of the known photos that a novel name captures, how many are told one by one."""


def evaluate(
    model: VisionLanguageModel,
    *,
    novel: str | Path | PhotoFolder | PhotoFeatures | None = None,
    known: str | Path | PhotoFolder | PhotoFeatures | None = None,
    names: Sequence[str] | None = None,
    base: VisionLanguageModel | None = None,
    concepts: Sequence[str] | None = None,
    prompts: Sequence[str] = PROMPTS,
    described: Mapping[str, str | Sequence[str]] | None = None,
    ensemble: Ensemble = "embeddings",
    class_names: ClassNames = "openai",
    same_names: SameNames = "merged",
    shared_trunk: bool = False,
    shared_texts: bool = False,
    on_step: OnStep | None = None,
) -> Evaluation:
    """Score `model`, and `base` where given, on folders of photos (`CLASS/IMAGE`) or named sets (`read_set`).

    A name's score for a photo is the cosine of their embeddings or, for a model that judges pairs (ViLT), the
    log-probability of a match; with several prompts `ensemble` makes them one (a match's are averaged).
    The known names are the known folder's classes or, with `names`, those: repeated names count once.
    The novel names are the novel folder's classes or, with `concepts`, those: other sub-folders are ignored,
    and a concept without a sub-folder is scored by what it captures among the known photos alone.
    `described` lets texts stand for a name in place of the prompts (what a description achieves without
    teaching). `class_names` says what WordNet ids are called, and `same_names` whether known classes that share a name
    are one class, or the first of them is the answer for all, as in ImageNet's published numbers. For models with
    embeddings, features computed before (`photo_features`) may take a folder's place; they serve both models. With
    `shared_trunk` photos' features, with `shared_texts` names' embeddings are computed once, by `model`: right where
    teaching left the trunk, or the text tower, as it was.
    A model that judges pairs has no use for these two. Without photos of a kind, what needs them is None.

    Raises:
        DataError: if a folder cannot be read, `names` lacks one of the known folder's classes, or a novel
            name is known already.
        ConfigError: if a prompt does not hold '{}' once, `described` names none of the names, or a model that judges
            pairs is asked for the best of several texts.
        ModelError: if a text is too long for a model, its scores are no numbers, one model has embeddings and the
            other judges pairs, or features are given for one that judges pairs.
    """
    check_prompts(prompts)
    check_texts(names, "names")
    check_texts(concepts, "concepts")
    for what, photos in (("novel", novel), ("known", known)):
        kinds = (str, Path, PhotoFolder, PhotoFeatures, type(None))
        check_kind(photos, kinds, what, "a folder with a folder of photos for each name", DataError)
    check_comparable(model, base)
    known_photos = (
        known
        if known is None or isinstance(known, PhotoFolder | PhotoFeatures)
        else read_set(known, class_names=class_names)
    )
    novel_photos = _chosen(novel, concepts, class_names)
    labels = label_set(
        known=None if known_photos is None else known_photos.names,
        novel=() if novel_photos is None else novel_photos.names,
        names=names,
        concepts=concepts,
    )
    texts = _described(described or {}, labels.all)
    words = name_texts(labels.all, prompts, texts)

    before = None
    with shown(on_step) as on_step:
        if isinstance(model, Matcher):
            if ensemble == "max":
                raise ConfigError(
                    f"{model.name!r} judges pairs, whose scores are averaged: leave the ensemble 'max' out"
                )
            after = _matches(model, labels, words, known_photos, novel_photos, on_step, same_names)
            if isinstance(base, Matcher):
                before = _matches(base, labels, words, known_photos, novel_photos, on_step, same_names)
        else:
            encoder = dual_encoder(model, "evaluation")
            seen = _seen(encoder, known_photos, novel_photos, on_step)
            columns = class_columns(encoder, words, ensemble)
            after = score_photos(encoder, labels, columns, known=seen.known, novel=seen.novel, same_names=same_names)
            if base is not None:
                other = dual_encoder(base, "evaluation")
                if not shared_trunk:
                    seen = _seen(other, known_photos, novel_photos, on_step)
                if not shared_texts:
                    columns = class_columns(other, words, ensemble)
                before = score_photos(other, labels, columns, known=seen.known, novel=seen.novel, same_names=same_names)

    return Evaluation(
        model=model.name,
        base=None if base is None else base.name,
        protocol=protocol(
            model,
            labels,
            known_photos,
            novel_photos,
            prompts=prompts,
            described=texts,
            ensemble=ensemble,
            class_names=class_names,
            same_names=same_names,
        ),
        before=None if before is None else measure(labels, before),
        after=measure(labels, after),
        predictions=() if novel_photos is None else _predictions(labels, _paths(novel_photos), before, after),
        mistaken={} if known_photos is None else _mistaken(labels, _paths(known_photos), before, after),
    )


def check_comparable(model: VisionLanguageModel, base: VisionLanguageModel | None = None) -> None:
    """Raise ModelError unless both can be scored, and by scores of one kind."""
    first = scorer(model, "evaluation")
    if base is not None:
        check_model(base, "the base")
    second = first if base is None else scorer(base, "evaluation")
    if isinstance(first, Matcher) != isinstance(second, Matcher):
        raise ModelError(
            f"{first.name!r} and {second.name!r} cannot stand side by side, for one has embeddings and the other "
            "judges pairs: give a base of the same family"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhotoScores:
    """One model's scores of photos: columns are a label set's known names, then its novel names."""

    known: Float[Tensor, "k c"] | None = None
    known_labels: Int[Tensor, " k"] | None = None
    """For each photo of a known class, its index among the known names."""
    known_later: Bool[Tensor, " k"] | None = None
    """Which of them can never be right, for an earlier class has their class's name; None where all can."""
    novel: Float[Tensor, "p c"] | None = None
    novel_labels: Int[Tensor, " p"] | None = None
    """For each novel photo, its index among the novel names."""


def score_photos(
    model: DualEncoder,
    labels: LabelSet,
    columns: Embeddings | Groups,
    *,
    known: PhotoFeatures | None = None,
    novel: PhotoFeatures | None = None,
    same_names: SameNames = "merged",
) -> PhotoScores:
    """Scores of photos, given as features, for `labels.all`: cosines with one row of `columns` each, or the best of
    a group's (`class_columns`). `same_names` as for `evaluate`.

    Raises:
        ModelError: if a score is not a number.
    """
    groups = list(columns[:, None]) if isinstance(columns, Tensor) else columns
    return PhotoScores(
        known=None if known is None else scores_of_columns(model, known.features, groups),
        known_labels=None if known is None else labels_among(known, labels.known),
        known_later=None if known is None or same_names == "merged" else later_photos(known),
        novel=None if novel is None else scores_of_columns(model, novel.features, groups),
        novel_labels=None if novel is None else labels_among(novel, labels.novel),
    )


def measure(labels: LabelSet, scores: PhotoScores, *, intervals: bool = True) -> Measurement:
    """All numbers of one model; `intervals` may be left out where they would be computed a thousand times."""
    count = len(labels.known)
    accuracy, joint, classes = None, None, {}
    if scores.known is not None and scores.known_labels is not None:
        # no column has this label
        never = len(labels.all)
        own = scores.known_labels
        own = own if scores.known_later is None else own.masked_fill(scores.known_later, never)
        classes = _class_scores(scores.known[:, :count], scores.known_labels, own, labels.known)
        accuracy = top1_accuracy(scores.known[:, :count], own)
        joint = top1_accuracy(scores.known, own)
    return Measurement(
        known_accuracy=accuracy,
        known_accuracy_joint=joint,
        classes=classes,
        concepts={name: _concept_scores(scores, count, index, intervals) for index, name in enumerate(labels.novel)},
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    known: PhotoFeatures | None
    novel: PhotoFeatures | None


def _chosen(
    novel: str | Path | PhotoFolder | PhotoFeatures | None, concepts: Sequence[str] | None, class_names: ClassNames
) -> PhotoFolder | PhotoFeatures | None:
    if isinstance(novel, PhotoFolder | PhotoFeatures):
        return novel if concepts is None else novel.only(concepts)
    return None if novel is None else read_set(novel, only=concepts, class_names=class_names)


def _seen(
    model: DualEncoder,
    known: PhotoFolder | PhotoFeatures | None,
    novel: PhotoFolder | PhotoFeatures | None,
    on_step: OnStep | None,
) -> _Seen:
    return _Seen(
        known=photo_features(model, known, on_step, "known photos") if isinstance(known, PhotoFolder) else known,
        novel=photo_features(model, novel, on_step, "novel photos") if isinstance(novel, PhotoFolder) else novel,
    )


def _matches(
    model: Matcher,
    labels: LabelSet,
    texts: Sequence[Sequence[str]],
    known: PhotoFolder | PhotoFeatures | None,
    novel: PhotoFolder | PhotoFeatures | None,
    on_step: OnStep | None,
    same_names: SameNames,
) -> PhotoScores:
    def scores(photos: PhotoFolder | PhotoFeatures | None, what: str) -> ScoreMatrix | None:
        if isinstance(photos, PhotoFeatures):
            raise ModelError(f"{model.name!r} judges pairs and has no use for photos' features: give their folder")
        return None if photos is None else match_photos(model, photos, texts, on_step, what)

    return PhotoScores(
        known=scores(known, "known photos"),
        known_labels=None if known is None else labels_among(known, labels.known),
        known_later=None if known is None or same_names == "merged" else later_photos(known),
        novel=scores(novel, "novel photos"),
        novel_labels=None if novel is None else labels_among(novel, labels.novel),
    )


def _paths(photos: PhotoFolder | PhotoFeatures) -> tuple[str, ...]:
    return photos.paths if isinstance(photos, PhotoFeatures) else photos.relative_paths


def _class_scores(scores: ScoreMatrix, labels: Tensor, answers: Tensor, names: Sequence[str]) -> dict[str, ClassScores]:
    right = labels[scores.argmax(dim=1) == answers]
    hits, photos = (one.bincount(minlength=len(names)).tolist() for one in (right, labels))
    return {
        name: ClassScores(photos=total, accuracy=found / total)
        for name, found, total in zip(names, hits, photos, strict=True)
        if total
    }


def _concept_scores(scores: PhotoScores, known: int, index: int, intervals: bool) -> ConceptScores:
    photos, recall, interval, median = 0, None, None, None
    if scores.novel is not None and scores.novel_labels is not None:
        own = scores.novel[scores.novel_labels == index]
        photos = len(own)
        if photos and known:
            hits = captured(own[:, :known], own[:, known + index])
            recall = float(hits.double().mean())
            median = median_rank(_target_ranks(own[:, :known], own[:, known + index]))
            interval = bootstrap_interval(hits, BOOTSTRAP_SEED, LEVEL, RESAMPLES) if intervals else None
    rate, count = None, None
    if scores.known is not None:
        wrong = captured(scores.known[:, :known], scores.known[:, known + index])
        rate, count = float(wrong.double().mean()), int(wrong.sum())
    return ConceptScores(
        photos=photos,
        target_recall=recall,
        target_recall_interval=interval,
        median_rank=median,
        false_positive_rate=rate,
        false_positives=count,
    )


def _predictions(
    labels: LabelSet, paths: Sequence[str], before: PhotoScores | None, after: PhotoScores
) -> tuple[Prediction, ...]:
    assert after.novel is not None
    assert after.novel_labels is not None
    own = after.novel_labels.tolist()
    earlier = None if before is None or before.novel is None else _opinions(labels, before.novel, own)
    later = _opinions(labels, after.novel, own)
    return tuple(
        Prediction(
            path=path,
            concept=labels.novel[own[row]],
            after=later[row],
            **({} if earlier is None else {"before": earlier[row]}),
        )
        for row, path in enumerate(paths)
    )


def _mistaken(
    labels: LabelSet, paths: Sequence[str], before: PhotoScores | None, after: PhotoScores
) -> dict[str, tuple[MistakenPhoto, ...]]:
    assert after.known is not None
    assert after.known_labels is not None
    count, found = len(labels.known), {}
    margins = _margins(after.known, count)
    earlier = None if before is None or before.known is None else _margins(before.known, count)
    for index, name in enumerate(labels.novel):
        order = margins[:, index].argsort(descending=True, stable=True)[:MOST_MISTAKEN].tolist()
        found[name] = tuple(
            MistakenPhoto(
                path=paths[row],
                label=labels.known[int(after.known_labels[row])],
                margin=float(margins[row, index]),
                before=None if earlier is None else bool(earlier[row, index] > 0),
            )
            for row in order
            if margins[row, index] > 0
        )
    return found


def _margins(scores: ScoreMatrix, known: int) -> Tensor:
    """For each photo and novel name its score less the best known name's."""
    return scores[:, known:] - scores[:, :known].amax(dim=1, keepdim=True)


def _opinions(labels: LabelSet, scores: ScoreMatrix, own: Sequence[int]) -> list[Opinion]:
    count = len(labels.known)
    places = count + torch.tensor(own)
    targets = scores.gather(1, places[:, None])
    known = scores[:, :count]
    position = _target_ranks(known, targets[:, 0]).tolist()
    values, columns = torch.cat([known, targets], dim=1).sort(dim=1, descending=True, stable=True)
    found = []
    for row, index in enumerate(own):
        top = zip(columns[row, :3].tolist(), values[row, :3].tolist(), strict=True)
        found.append(
            Opinion(
                top=tuple((labels.known[c] if c < count else labels.novel[index], value) for c, value in top),
                rank=position[row],
                margin=float(targets[row, 0] - known[row].max()) if count else None,
            )
        )
    return found


def _target_ranks(known: ScoreMatrix, target: Tensor) -> Tensor:
    """Ranks of a target that stands behind the known names."""
    last = torch.full((len(known),), known.shape[1])
    return ranks(torch.cat([known, target[:, None]], dim=1), last)


def _described(described: Mapping[str, str | Sequence[str]], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    spelled = {name_key(name): name for name in names}
    for name, texts in described.items():
        if name_key(name) not in spelled:
            raise ConfigError(f"a text is given for {name!r}, which is none of the {len(names)} names: leave it out")
        if not texts:
            raise ConfigError(f"no text is given for {name!r}: expected one or more, or leave it out")
    return {
        spelled[name_key(name)]: (text,) if isinstance(text, str) else tuple(text) for name, text in described.items()
    }
