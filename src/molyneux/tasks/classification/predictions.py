"""What was made of every photo, and small copies of those that changed most and least."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from molyneux.datasets.folders import WHOLE, PhotoFolder
from molyneux.datasets.photos import read_photo
from molyneux.datasets.windows import Window
from molyneux.files import slug, write_bytes
from molyneux.records import PREDICTIONS, KeptPrediction, Prediction, Predictions, write_record

SHOWN = 6
"""Photos of a concept that are copied small: this many most improved, and as many least."""

THUMBNAIL = 240
"""Longest side, in pixels."""


def write_predictions(root: Path, novel: PhotoFolder | None, predictions: Sequence[Prediction]) -> None:
    """Write `predictions.json` (for each concept, its photos) and `photos/SLUG/NN.jpg` into a run folder."""
    content: dict[str, tuple[KeptPrediction, ...]] = {}
    for concept in dict.fromkeys(one.concept for one in predictions):
        own = [one for one in predictions if one.concept == concept]
        shown = set() if novel is None else extremes(own)
        places = [f"photos/{slug(concept)}/{index:02d}.jpg" if index in shown else None for index in range(len(own))]
        for one, place in zip(own, places, strict=True):
            if novel is not None and place is not None:
                write_bytes(root / place, thumbnail(novel.root / one.path, novel.window))
        content[concept] = tuple(
            KeptPrediction(**one.given(), thumbnail=place) for one, place in zip(own, places, strict=True)
        )
    write_record(root / PREDICTIONS, Predictions(content))


def extremes(predictions: Sequence[Prediction]) -> set[int]:
    """The places of the most and the least improved photos."""
    order = sorted(range(len(predictions)), key=lambda index: _improvement(predictions[index]))
    return {*order[:SHOWN], *order[-SHOWN:]}


def thumbnail(path: Path, window: Window = WHOLE) -> bytes:
    """A small JPEG of the photo."""
    image = read_photo(path, window)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _improvement(prediction: Prediction) -> tuple[float, float]:
    before, after = prediction.before, prediction.after
    if before is None:
        return after.margin or 0.0, float(-after.rank)
    return (after.margin or 0.0) - (before.margin or 0.0), float(before.rank - after.rank)
