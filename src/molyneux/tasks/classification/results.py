"""What an evaluation found: plain values that say what they mean, and the record that they become."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, TypeVar

from molyneux.backends.abilities import Matcher
from molyneux.backends.base import VisionLanguageModel
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.imagenet import CLASS_NAMES, SAME_NAMES, ClassNames, SameNames
from molyneux.datasets.windows import RESEARCH_ONLY
from molyneux.records import (
    Bootstrap,
    ClassResult,
    ConceptResult,
    CountPair,
    Counts,
    IntervalPair,
    MistakenPhoto,
    Pair,
    Prediction,
    Protocol,
    RankPair,
    Scores,
    SharePair,
    data_frame,
)
from molyneux.tasks.classification.features import PhotoFeatures, later_photos
from molyneux.tasks.classification.labels import LabelSet
from molyneux.tasks.classification.prompts import Ensemble, templates_name

NO_KNOWN_PHOTOS = "not computed: no known photos"
NO_NOVEL_PHOTOS = "not computed: no novel photos"
NO_KNOWN_NAMES = "not computed: no known names"

_LABEL_SETS = {
    "target_recall": "all known names and the one novel name",
    "false_positive_rate": "all known names and the one novel name",
    "median_rank": "all known names and the one novel name",
    "known_accuracy": "the known names alone",
    "known_accuracy_joint": "all known and all novel names",
}

_COSINES: Mapping[Ensemble, str] = {
    "embeddings": "cosine of a photo's embedding and a name's, the mean direction of its prompts",
    "logits": "mean of the cosines of a photo's embedding and those of a name's texts",
    "max": "best of the cosines of a photo's embedding and those of a name's texts",
}
_MATCH = "log-probability that photo and text match, averaged over a name's prompts"

PairT = TypeVar("PairT", bound=Pair)

LEVEL = 0.95
RESAMPLES = 1000
BOOTSTRAP_SEED = 0


def bootstrap(kind: str) -> Bootstrap:
    """How this project's intervals are computed; `kind` says over what."""
    return Bootstrap(kind=kind, level=LEVEL, resamples=RESAMPLES, seed=BOOTSTRAP_SEED)


def protocol(
    model: VisionLanguageModel,
    labels: LabelSet,
    known: PhotoFolder | PhotoFeatures | None,
    novel: PhotoFolder | PhotoFeatures | None,
    *,
    prompts: Sequence[str],
    described: Mapping[str, tuple[str, ...]],
    ensemble: Ensemble,
    class_names: ClassNames,
    same_names: SameNames = "merged",
) -> Protocol:
    """All that is needed to say what the numbers of `model` on these photos mean."""
    photos = [one for one in (known, novel) if one is not None]
    scans = next((one.scans for one in photos if one.scans), None)
    medical = model.medical or any(one.medical for one in photos)
    said: dict[str, Any] = ({} if scans is None else {"scans": scans.said}) | (
        {"use": RESEARCH_ONLY} if medical else {}
    )
    if notes := tuple(dict.fromkeys(note for one in photos for note in one.notes)):
        said["notes"] = notes
    if known is not None and later_photos(known) is not None:
        said["same_names"] = SAME_NAMES[same_names]
    return Protocol(
        prompts=tuple(prompts),
        templates=templates_name(prompts),
        ensemble=ensemble,
        class_names=CLASS_NAMES[class_names],
        described={name: texts[0] if len(texts) == 1 else texts for name, texts in described.items()},
        naming=_naming(described, labels),
        score=score_said(model, ensemble),
        known_names=labels.known,
        novel_names=labels.novel,
        label_sets=_LABEL_SETS,
        counts=Counts(
            known_names=len(labels.known),
            novel_names=len(labels.novel),
            known_photos=0 if known is None else len(known),
            novel_photos=0 if novel is None else len(novel),
        ),
        known_folder=None if known is None else str(known.root),
        novel_folder=None if novel is None else str(novel.root),
        image_size=model.image_size,
        crop_fraction=model.crop_fraction,
        photo_fit=model.photo_fit.fit,
        preprocessing=model.photo_fit.said(model.image_size, model.crop_fraction),
        interval=bootstrap("bootstrap over photos"),
        **said,
    )


def score_said(model: VisionLanguageModel, ensemble: Ensemble) -> str:
    """What a photo's score for a name is, in words."""
    return _MATCH if isinstance(model, Matcher) else _COSINES[ensemble]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptScores:
    """One novel name's numbers under one model; None where they could not be computed."""

    photos: int
    target_recall: float | None = None
    target_recall_interval: tuple[float, float] | None = None
    median_rank: float | None = None
    false_positive_rate: float | None = None
    false_positives: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """One known class's photos, and the share of them whose best known name is theirs."""

    photos: int
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One model's numbers; None where they could not be computed."""

    known_accuracy: float | None
    known_accuracy_joint: float | None
    concepts: Mapping[str, ConceptScores]
    classes: Mapping[str, ClassScores] = field(default_factory=dict)
    """The known classes that there are photos of."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluation:
    """The numbers of a model, beside those of its base where there is one."""

    model: str
    base: str | None
    protocol: Protocol
    before: Measurement | None
    after: Measurement
    predictions: tuple[Prediction, ...]
    """One for each novel photo."""
    mistaken: Mapping[str, tuple[MistakenPhoto, ...]] = field(default_factory=dict)
    """For each novel name the known photos that it captures, those with the widest margin first; at most a few."""

    @property
    def retention(self) -> float | None:
        """Known accuracy after teaching as a share of that before; None where there is none before."""
        before = None if self.before is None else self.before.known_accuracy
        return self.after.known_accuracy / before if self.after.known_accuracy is not None and before else None

    @property
    def concepts(self) -> dict[str, ConceptResult]:
        """The numbers of each novel name, before and after."""
        return {name: self._concept(name) for name in self.after.concepts}

    @property
    def classes(self) -> dict[str, ClassResult]:
        """For each known class with photos, their number and its accuracy, before and after."""
        return {name: self._class(name) for name in self.after.classes}

    def scores(self, *, predictions: bool = False, classes: bool = False) -> Scores:
        """All numbers; with `predictions`, also what was made of every novel photo; with `classes`, known accuracy
        class by class.
        """
        more: dict[str, Any] = {"classes": self.classes} if classes else {}
        if predictions:
            more["predictions"] = self.predictions
        return Scores(
            version=1,
            model=self.model,
            base=self.base,
            protocol=self.protocol,
            known_accuracy=self._pair(SharePair, lambda m: m.known_accuracy, NO_KNOWN_PHOTOS),
            known_accuracy_joint=self._pair(SharePair, lambda m: m.known_accuracy_joint, NO_KNOWN_PHOTOS),
            concepts=self.concepts,
            known_retention=self.retention,
            **more,
        )

    def as_dict(self, *, predictions: bool = False, classes: bool = False) -> dict[str, Any]:
        """`scores` as plain data for JSON; a number that could not be computed is None, with the reason beside it."""
        return self.scores(predictions=predictions, classes=classes).as_dict()

    def to_dict(self, *, predictions: bool = False, classes: bool = False) -> dict[str, Any]:
        """The same as `as_dict`."""
        return self.as_dict(predictions=predictions, classes=classes)

    def to_pandas(self) -> Any:
        """A pandas `DataFrame` with a row for each novel name and model.

        Raises:
            ConfigError: if pandas is not installed.
        """
        rows = [
            {"model": model, "when": when, "concept": name, **asdict(scores), "known_accuracy": found.known_accuracy}
            for when, model, found in (("before", self.base, self.before), ("after", self.model, self.after))
            if found is not None
            for name, scores in found.concepts.items()
        ]
        return data_frame(rows)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """What a person wants to see first: headings, and a row of text for each novel name and for known accuracy."""
        rows = []
        for name, scores in self.after.concepts.items():
            old = None if self.before is None else self.before.concepts[name]
            rows += [
                (name, "target recall", _written(None if old is None else old.target_recall, scores.target_recall)),
                (
                    name,
                    "false positives",
                    _written(None if old is None else old.false_positive_rate, scores.false_positive_rate),
                ),
            ]
        rows.append(
            (
                "known names",
                "known accuracy",
                _written(None if self.before is None else self.before.known_accuracy, self.after.known_accuracy),
            )
        )
        return ("name", "measure", "before → after" if self.before else "share"), [row for row in rows if row[2]]

    def __str__(self) -> str:
        headings, rows = self.table()
        if not rows:
            return f"{self.model}: no photos were given, so nothing was measured: evaluate(model, novel=FOLDER, ...)"
        widths = [max(len(row[place]) for row in (headings, *rows)) for place in range(3)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (headings, *rows)
        ]
        counts = self.protocol.counts
        lines.append(
            f"{self.model}: {counts.novel_photos} photos of new and {counts.known_photos} of known names, "
            f"{counts.known_names} known names"
        )
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        headings, rows = self.table()
        head = "".join(f"<th>{escape(cell)}</th>" for cell in headings)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _values(self, value: Callable[[Measurement], Any]) -> dict[str, Any]:
        before = {} if self.before is None else {"before": value(self.before)}
        return {**before, "after": value(self.after)}

    def _pair(self, kind: type[PairT], value: Callable[[Measurement], Any], reason: str = "") -> PairT:
        values = self._values(value)
        return kind(**values) if values["after"] is not None else kind(**values, reason=reason)

    def _class(self, name: str) -> ClassResult:
        accuracy = self._pair(SharePair, lambda m: m.classes[name].accuracy)
        return ClassResult(photos=self.after.classes[name].photos, accuracy=accuracy)

    def _concept(self, name: str) -> ConceptResult:
        photos = self.after.concepts[name].photos
        own = NO_KNOWN_NAMES if photos else NO_NOVEL_PHOTOS
        return ConceptResult(
            target_recall=self._pair(SharePair, lambda m: m.concepts[name].target_recall, own),
            false_positive_rate=self._pair(SharePair, lambda m: m.concepts[name].false_positive_rate, NO_KNOWN_PHOTOS),
            median_rank=self._pair(RankPair, lambda m: m.concepts[name].median_rank, own),
            photos=photos,
            target_recall_interval=IntervalPair(**self._values(lambda m: m.concepts[name].target_recall_interval)),
            false_positives=self._pair(CountPair, lambda m: m.concepts[name].false_positives, NO_KNOWN_PHOTOS),
        )


def _written(before: float | None, after: float | None) -> str:
    """Two shares as percentages; '' for none.

    >>> _written(None, 0.5), _written(0.0, 0.5), _written(None, None)
    ('50.0 %', '0.0 % → 50.0 %', '')
    """
    return " → ".join(f"{100 * share:.1f} %" for share in (before, after) if share is not None)


def _naming(described: Mapping[str, object], labels: LabelSet) -> str:
    """Who is represented by what, in words."""
    own, novel, whole = (set(names) for names in (described, labels.novel, labels.all))
    if not own:
        return "known and novel names alike stand in the prompts"
    if own == whole:
        return "symmetric: every name is represented by its own texts"
    if own <= novel:
        return "asymmetric: described novel names are represented by their text, all others stand in the prompts"
    return f"{len(own)} of {len(whole)} names are represented by their own texts, all others stand in the prompts"
