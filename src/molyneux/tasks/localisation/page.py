"""Images beside what a model sees in them: heat maps, masks, the truth; one page with everything inside."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from molyneux.errors import DataError
from molyneux.files import slug, write_json, write_text
from molyneux.report.pages import embedded, fill

GALLERY, INDEX, SCORES = "gallery", "gallery.json", "scores.json"
SIDE = 240
"""Longest side of an embedded panel, in pixels."""

METRICS = {
    "heat": ("energy_ratio", "pointing"),
    "mask": ("dice", "iou", "contour_dice", "slice_dice"),
    "sam": ("dice", "iou", "contour_dice", "slice_dice"),
}
ROWS = {
    "energy_ratio": "heat in the mask, times chance",
    "pointing": "hottest point in the mask",
    "dice": "Dice (DSC)",
    "iou": "IoU",
    "contour_dice": "contour Dice at 2 px",
    "slice_dice": "NSD as the paper has it",
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


def write_gallery(root: Path, scores: Mapping[str, Any], shown: Sequence[Shown]) -> Path:
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
        cards.append({"name": one.name, "texts": list(one.texts), "figures": figures})
    write_json(root / SCORES, scores)
    write_json(root / GALLERY / INDEX, cards)
    return draw_gallery(root)


def draw_gallery(root: Path) -> Path:
    """Write `report.html` from the files that `write_gallery` left; returns its path.

    Raises:
        DataError: if they are missing or cannot be read as expected.
        OutputError: if the page cannot be written there.
    """
    root = Path(root)
    try:
        scores = json.loads((root / SCORES).read_text("utf-8"))
        cards = [
            (
                card["name"],
                " / ".join(card["texts"]),
                [(label, embedded(root / GALLERY / Path(name).name, SIDE)) for label, name in card["figures"]],
            )
            for card in json.loads((root / GALLERY / INDEX).read_text("utf-8"))
        ]
        protocol = [(key.replace("_", " "), _written(value)) for key, value in scores["protocol"].items()]
        page = fill(
            "tasks/localisation/page.html", scores=scores, tables=_tables(scores), cards=cards, protocol=protocol
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{root} holds no gallery that can be shown ({error!r}): run 'molyneux localise'") from error
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


def _tables(scores: Mapping[str, Any]) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """For each stage its title, headings and rows."""
    columns = {moment: scores[moment] for moment in ("before", "after") if moment in scores}
    columns |= {f"after, taught on {name}": one for name, one in scores["controls"].items()}
    if len(columns) == 1:
        columns = {"mean": scores["after"]}
    headings = [heading for moment in columns for heading in (moment, f"{moment}, minus a text that means nothing")]
    tables = []
    for stage, metrics in METRICS.items():
        if stage not in scores["after"]["text"]:
            continue
        rows = []
        for metric in metrics:
            cells = []
            for one in columns.values():
                cells += [_cell(one["text"][stage][metric]), _cell(one["text_minus_gibberish"][stage][metric])]
            rows.append((ROWS[metric], cells))
        tables.append((STAGES[stage], headings, rows))
    return tables


def _cell(spread: Mapping[str, Any]) -> str:
    low, high = spread["interval"]
    return f"{spread['mean']:.3f} ({low:.3f} to {high:.3f})"
