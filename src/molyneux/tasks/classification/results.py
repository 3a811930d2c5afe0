"""What an evaluation found: plain values that say what they mean, and turn into JSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from molyneux.datasets.imagenet import CLASS_NAMES, ClassNames
from molyneux.datasets.windows import RESEARCH_ONLY, Window
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

_FITS = {
    "crop": "shorter side to {shorter}, bicubic, then the middle {size} x {size}",
    "pad": "on a black square as wide as the longer side, then to {size} x {size}, bicubic",
    "squash": "to {size} x {size}, bicubic, whatever the shape",
}

Score = Literal["cosine", "match"]
"""What a model gives a photo and a name."""

LEVEL = 0.95
RESAMPLES = 1000
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """All that is needed to say what the numbers mean."""

    prompts: tuple[str, ...]
    """The name is put into each; how their answers become one score, `score` says."""
    described: Mapping[str, tuple[str, ...]]
    """Names that texts stand for instead of the prompts; all others keep the prompts."""
    known_names: tuple[str, ...]
    """Distinct, in label order."""
    novel_names: tuple[str, ...]
    known_photos: int
    novel_photos: int
    image_size: int
    crop_fraction: float
    photo_fit: str = "crop"
    known_folder: str | None = None
    novel_folder: str | None = None
    score: Score = "cosine"
    ensemble: Ensemble = "embeddings"
    class_names: ClassNames = "openai"
    scans: Window | None = None
    medical: bool = False

    @property
    def naming(self) -> str:
        """Who is represented by what, in words."""
        own, novel, whole = (set(names) for names in (self.described, self.novel_names, self.all_names))
        if not own:
            return "known and novel names alike stand in the prompts"
        if own == whole:
            return "symmetric: every name is represented by its own texts"
        if own <= novel:
            return "asymmetric: described novel names are represented by their text, all others stand in the prompts"
        return f"{len(own)} of {len(whole)} names are represented by their own texts, all others stand in the prompts"

    @property
    def all_names(self) -> tuple[str, ...]:
        """Known names, then novel ones."""
        return self.known_names + self.novel_names

    @property
    def preprocessing(self) -> str:
        """How a photo becomes square, in words; colours are normalised as the model's own are."""
        shorter = max(self.image_size, round(self.image_size / self.crop_fraction))
        return _FITS[self.photo_fit].format(size=self.image_size, shorter=shorter)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "prompts": list(self.prompts),
            "templates": templates_name(self.prompts),
            "ensemble": self.ensemble,
            "class_names": CLASS_NAMES[self.class_names],
            "described": {name: texts[0] if len(texts) == 1 else list(texts) for name, texts in self.described.items()},
            "naming": self.naming,
            "score": _MATCH if self.score == "match" else _COSINES[self.ensemble],
            "known_names": list(self.known_names),
            "novel_names": list(self.novel_names),
            "label_sets": dict(_LABEL_SETS),
            "counts": {
                "known_names": len(self.known_names),
                "novel_names": len(self.novel_names),
                "known_photos": self.known_photos,
                "novel_photos": self.novel_photos,
            },
            "known_folder": self.known_folder,
            "novel_folder": self.novel_folder,
            "image_size": self.image_size,
            "crop_fraction": self.crop_fraction,
            "photo_fit": self.photo_fit,
            "preprocessing": self.preprocessing,
            **({} if self.scans is None else {"scans": self.scans.said}),
            **({"use": RESEARCH_ONLY} if self.medical else {}),
            "interval": {
                "kind": "bootstrap over photos",
                "level": LEVEL,
                "resamples": RESAMPLES,
                "seed": BOOTSTRAP_SEED,
            },
        }


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one model makes of one photo, among all known names and the photo's own."""

    top: tuple[tuple[str, float], ...]
    """The best three names with their scores, best first."""
    rank: int
    """Of the photo's own name; 0 is best."""
    margin: float | None
    """Score of the photo's own name less the best known name's; None without known names."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"top": [list(entry) for entry in self.top], "rank": self.rank, "margin": self.margin}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One novel photo, before and after."""

    path: str
    """Relative to the novel folder."""
    concept: str
    before: Opinion | None
    after: Opinion

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        before = {} if self.before is None else {"before": self.before.as_dict()}
        return {"path": self.path, "concept": self.concept, **before, "after": self.after.as_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The numbers of a model, beside those of its base where there is one."""

    model: str
    base: str | None
    protocol: Protocol
    before: Measurement | None
    after: Measurement
    predictions: tuple[Prediction, ...]
    """One for each novel photo."""

    @property
    def retention(self) -> float | None:
        """Known accuracy after teaching as a share of that before; None where there is none before."""
        before = None if self.before is None else self.before.known_accuracy
        return self.after.known_accuracy / before if self.after.known_accuracy is not None and before else None

    def as_dict(self, *, predictions: bool = False, classes: bool = False) -> dict[str, Any]:
        """Plain data for JSON; with `predictions`, also what was made of every novel photo; with `classes`, known
        accuracy class by class.

        A number that could not be computed is None, with the reason beside it under `reason`.
        """
        content: dict[str, Any] = {
            "model": self.model,
            "base": self.base,
            "protocol": self.protocol.as_dict(),
            "known_accuracy": self._pair(lambda m: m.known_accuracy, NO_KNOWN_PHOTOS),
            "known_accuracy_joint": self._pair(lambda m: m.known_accuracy_joint, NO_KNOWN_PHOTOS),
            "concepts": {name: self._concept(name) for name in self.after.concepts},
            "known_retention": self.retention,
        }
        if classes:
            content["classes"] = self.classes()
        if predictions:
            content["predictions"] = [prediction.as_dict() for prediction in self.predictions]
        return content

    def classes(self) -> dict[str, Any]:
        """For each known class with photos, their number and its accuracy, before and after."""
        return {name: self._class(name) for name in self.after.classes}

    def _class(self, name: str) -> dict[str, Any]:
        accuracy = self._pair(lambda m: m.classes[name].accuracy)
        return {"photos": self.after.classes[name].photos, "accuracy": accuracy}

    def _pair(self, value: Callable[[Measurement], Any], reason: str | None = None) -> dict[str, Any]:
        pair = {} if self.before is None else {"before": value(self.before)}
        pair["after"] = value(self.after)
        return pair if reason is None or pair["after"] is not None else {**pair, "reason": reason}

    def _concept(self, name: str) -> dict[str, Any]:
        after = self.after.concepts[name]
        own = NO_KNOWN_NAMES if after.photos else NO_NOVEL_PHOTOS
        return {
            "target_recall": self._pair(lambda m: m.concepts[name].target_recall, own),
            "false_positive_rate": self._pair(lambda m: m.concepts[name].false_positive_rate, NO_KNOWN_PHOTOS),
            "median_rank": self._pair(lambda m: m.concepts[name].median_rank, own),
            "photos": after.photos,
            "target_recall_interval": self._pair(lambda m: _listed(m.concepts[name].target_recall_interval)),
            "false_positives": self._pair(lambda m: m.concepts[name].false_positives),
        }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
