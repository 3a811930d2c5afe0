"""What an evaluation found: plain values that say what they mean, and turn into JSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

NO_KNOWN_PHOTOS = "not computed: no known photos"
NO_NOVEL_PHOTOS = "not computed: no novel photos"
NO_KNOWN_NAMES = "not computed: no known names"

_NAMING = {
    False: "known and novel names alike stand in the prompts",
    True: "asymmetric: described novel names are represented by their text, all others stand in the prompts",
}
_LABEL_SETS = {
    "target_recall": "all known names and the one novel name",
    "false_positive_rate": "all known names and the one novel name",
    "median_rank": "all known names and the one novel name",
    "known_accuracy": "the known names alone",
    "known_accuracy_joint": "all known and all novel names",
}

_SCORES = {
    "cosine": "cosine of a photo's embedding and a name's, the mean direction of its prompts",
    "match": "log-probability that photo and text match, averaged over a name's prompts",
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
    described: Mapping[str, str]
    """Novel names that a text stands for instead of the prompts; the known names keep the prompts."""
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

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "prompts": list(self.prompts),
            "described": dict(self.described),
            "naming": _NAMING[bool(self.described)],
            "score": _SCORES[self.score],
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
class Measurement:
    """One model's numbers; None where they could not be computed."""

    known_accuracy: float | None
    known_accuracy_joint: float | None
    concepts: Mapping[str, ConceptScores]


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

    def as_dict(self, *, predictions: bool = False) -> dict[str, Any]:
        """Plain data for JSON; with `predictions`, also what was made of every novel photo.

        A number that could not be computed is None, with the reason beside it under `reason`.
        """
        content: dict[str, Any] = {
            "model": self.model,
            "base": self.base,
            "protocol": self.protocol.as_dict(),
            "known_accuracy": self._pair(lambda m: m.known_accuracy, NO_KNOWN_PHOTOS),
            "known_accuracy_joint": self._pair(lambda m: m.known_accuracy_joint, NO_KNOWN_PHOTOS),
            "concepts": {name: self._concept(name) for name in self.after.concepts},
        }
        if predictions:
            content["predictions"] = [prediction.as_dict() for prediction in self.predictions]
        return content

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
