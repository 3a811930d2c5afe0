"""Images beside what a model sees in them: heat maps, masks, the truth; one page with everything inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from molyneux.digests import check_digests
from molyneux.files import slug, write_text
from molyneux.records import SCORES, read_record, write_record
from molyneux.report.pages import embedded, fill
from molyneux.tasks.localisation.record import Card, Gallery, LocaliseResult, Spread

GALLERY, INDEX = "gallery", "gallery.json"
SIDE = 240
"""Longest side of an embedded panel, in pixels."""

_MASKS = {
    "dice": "Dice (DSC)",
    "iou": "IoU",
    "contour_dice": "contour Dice at 2 px",
    "slice_dice": "NSD as the paper has it",
}
ROWS = {
    "heat": {"energy_ratio": "heat in the mask, times chance", "pointing": "hottest point in the mask"},
    "mask": _MASKS,
    "sam": _MASKS,
}
STAGES = {"heat": "Heat maps", "mask": "Masks from heat maps", "sam": "Masks from SAM"}


@dataclass(frozen=True, slots=True)
class Panel:
    """What is laid over an image: a heat map (h, w) in [0, 1], or a mask."""

    label: str
    values: Tensor


@dataclass(frozen=True, slots=True)
class Shown:
    """An image of the gallery."""

    name: str
    texts: Sequence[str]
    image: Image.Image
    panels: Sequence[Panel]


def write_gallery(root: Path, scores: LocaliseResult, shown: Sequence[Shown]) -> Path:
    """Write `scores.json` and `report.html` into a folder, and images into `gallery/`; returns the page's path."""
    (root / GALLERY).mkdir(parents=True, exist_ok=True)
    cards = []
    for one in shown:
        panels = [
            ("image", one.image),
            *((panel.label, overlaid(one.image, panel.values)) for panel in one.panels),
        ]
        figures = []
        for place, (label, image) in enumerate(panels):
            path = root / GALLERY / f"{slug(one.name)}-{place}.png"
            image.convert("RGB").save(path)
            figures.append((label, path.name))
        cards.append(Card(name=one.name, texts=tuple(one.texts), figures=tuple(figures)))
    write_record(root / SCORES, scores)
    write_record(root / GALLERY / INDEX, Gallery(tuple(cards)))
    return draw_gallery(root)


def draw_gallery(root: Path) -> Path:
    """Write `report.html` from the files that `write_gallery` left; returns its path.

    Raises:
        DataError: if they are missing, are not what was saved, or cannot be read as expected.
        OutputError: if the page cannot be written there.
    """
    root = Path(root)
    check_digests(root)
    scores, gallery = read_record(LocaliseResult, root / SCORES), read_record(Gallery, root / GALLERY / INDEX)
    cards = [
        (
            card.name,
            " / ".join(card.texts),
            [(label, embedded(root / GALLERY / Path(name).name, SIDE)) for label, name in card.figures],
        )
        for card in gallery.root
    ]
    protocol = [(key.replace("_", " "), _written(value)) for key, value in scores.protocol.as_dict().items()]
    page = fill("tasks/localisation/page.html", scores=scores, tables=_tables(scores), cards=cards, protocol=protocol)
    write_text(root / "report.html", page)
    return root / "report.html"


def is_gallery(root: Path) -> bool:
    """Whether a folder holds what `molyneux localise` writes."""
    return (Path(root) / GALLERY / INDEX).is_file()


def overlaid(image: Image.Image, values: Tensor) -> Image.Image:
    """An image, in grey, under a heat map from clear to yellow, or under a mask with its border in red."""
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float64)
    if values.dtype == torch.bool:
        mask = values.cpu().numpy()
        inner = mask.copy()
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            inner &= np.roll(mask, step, axis)
        mixed = np.where(mask[..., None], 0.65 * grey + 0.35 * np.array([255, 60, 60]), grey)
        mixed[mask & ~inner] = (255, 30, 30)
    else:
        hot = values.cpu().numpy()[..., None]
        colour = 255 * np.clip(3 * hot - np.array([0.0, 1.0, 2.0]), 0, 1)
        mixed = (1 - 0.7 * hot) * grey + 0.7 * hot * colour
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')}: {_written(part)}" for key, part in value.items())
    return ", ".join(map(_written, value)) if isinstance(value, list | tuple) else str(value)


def _tables(scores: LocaliseResult) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """For each stage its title, headings and rows."""
    if scores.after is None:
        return []
    columns = {} if scores.before is None else {"before": scores.before}
    columns |= {"after": scores.after} | {f"after, taught on {name}": one for name, one in scores.controls.items()}
    headings = ["mean"] if len(columns) == 1 else list(columns)
    headings = [heading for moment in headings for heading in (moment, f"{moment}, minus a text that means nothing")]
    tables = []
    for stage, title in STAGES.items():
        parts = [getattr(part, stage) for one in columns.values() for part in (one.text, one.text_minus_gibberish)]
        if None in parts:
            continue
        rows = [(label, [_cell(getattr(part, key)) for part in parts]) for key, label in ROWS[stage].items()]
        tables.append((title, headings, rows))
    return tables


def _cell(spread: Spread) -> str:
    low, high = spread.interval
    return f"{spread.mean:.3f} ({low:.3f} to {high:.3f})"
