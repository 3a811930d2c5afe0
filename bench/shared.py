"""What the benchmarks share: what a concept's rows are called, which photos are scored, intervals over concepts."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from molyneux.backends.base import DualEncoder
from molyneux.concepts import Concept
from molyneux.datasets.photos import load_batch
from molyneux.synthetic import SyntheticImages
from molyneux.tasks.classification.features import PhotoFeatures

HELD_OUT = 10
"""Photos of a concept that stand in place of its description, and are left out of its score."""
ALONE, TOGETHER = "one at a time", "all at once"


def photographed(model: DualEncoder, concept: Concept, paths: Sequence[Path]) -> SyntheticImages:
    """The first photos of a concept, as the model looks at them, in place of its description."""
    pixels = load_batch(paths[:HELD_OUT], model.image_size, model.crop_fraction, model.photo_fit)
    return SyntheticImages(concept=concept, pixels=pixels, seed=0, source="photos", depicted=concept.name)


class OfConcept(Protocol):
    """A row of results that belongs to a concept."""

    @property
    def concept(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One concept in one taught model."""

    method: str
    lesson: str
    concept: str
    seed: int
    recall: float
    joint_recall: float
    known_lost: float
    joint_known_lost: float
    false_positives: float


def without_first(features: PhotoFeatures, count: int) -> PhotoFeatures:
    """The photos but the first `count` of each class; of a class with no more than that, the last."""
    kept = []
    for label in range(len(features.names)):
        own = (features.labels == label).nonzero()[:, 0]
        kept.append(own[min(count, len(own) - 1) :])
    rows = torch.cat(kept)
    return replace(
        features,
        labels=features.labels[rows],
        paths=tuple(features.paths[place] for place in rows.tolist()),
        features=features.features[rows],
    )


def mean(rows: Sequence[OfConcept], key: str) -> float:
    return statistics.mean(getattr(row, key) for row in rows)


def interval(rows: Sequence[OfConcept], key: str) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over concepts; a concept's seeds stay together."""
    names = sorted({row.concept for row in rows})
    means = [mean([row for row in rows if row.concept == name], key) for name in names]
    draw = random.Random(0)
    found = sorted(statistics.mean(draw.choices(means, k=len(means))) for _ in range(2000))
    return found[50], found[1949]
