"""What was made of every photo, and small copies of those that changed most and least."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from molyneux.datasets.folders import WHOLE, PhotoFolder
from molyneux.datasets.photos import read_photo
from molyneux.datasets.windows import Window
from molyneux.files import slug, write_bytes, write_json
from molyneux.tasks.classification.results import Prediction

SHOWN = 6
"""Photos of a concept that are copied small: this many most improved, and as many least."""

THUMBNAIL = 240
"""Longest side, in pixels."""


def write_predictions(root: Path, novel: PhotoFolder | None, predictions: Sequence[Prediction]) -> None:
    """Write `predictions.json` (for each concept, its photos) and `photos/SLUG/NN.jpg` into a run folder."""
    content: dict[str, list[dict[str, Any]]] = {}
    for concept in dict.fromkeys(one.concept for one in predictions):
        own = [one for one in predictions if one.concept == concept]
        shown = extremes(own)
        entries = []
        for index, one in enumerate(own):
            entry = one.as_dict()
            if novel is not None and index in shown:
                entry["thumbnail"] = f"photos/{slug(concept)}/{index:02d}.jpg"
                write_bytes(root / entry["thumbnail"], thumbnail(novel.root / one.path, novel.window))
            entries.append(entry)
        content[concept] = entries
    write_json(root / "predictions.json", content)


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
