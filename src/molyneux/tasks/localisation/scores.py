"""One model's heat maps and masks beside the truth: numbers for each image, then means, intervals and changes."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from molyneux.tasks.classification.metrics import bootstrap_interval
from molyneux.tasks.classification.results import BOOTSTRAP_SEED
from molyneux.tasks.localisation.energy import energy_ratio, pointing_hits
from molyneux.tasks.localisation.metrics import contour_dice, dice, iou, slice_dice
from molyneux.tasks.localisation.record import Spread

Row = Mapping[str, float]
"""An image's numbers, by what they measure."""

TOLERANCE = 2.0
"""Pixels, of the two surface metrics."""

MEANING = {
    "energy_ratio": "share of the heat map that lies in the mask over the mask's share of the image; 1 is chance",
    "pointing": "share of images whose hottest point lies in the mask; chance is the mask's share of the image",
    "dice": "2|A & B| / (|A| + |B|)",
    "iou": "|A & B| / |A | B|",
    "contour_dice": f"share of both contours within {TOLERANCE:g} pixels of each other",
    "slice_dice": f"the paper's NSD: surface Dice at {TOLERANCE:g} pixels of masks one voxel thick, in which every "
    "pixel is surface",
}


def heat_row(heat: Float[Tensor, "h w"], true: Bool[Tensor, "_ _"]) -> dict[str, float]:
    """How a heat map lies on the object; errors as for `energy_ratio`."""
    maps, masks = heat[None], true[None]
    return {
        "energy_ratio": energy_ratio(maps, masks).item(),
        "pointing": pointing_hits(maps, masks).item(),
    }


def mask_row(predicted: Bool[Tensor, "h w"], true: Bool[Tensor, "_ _"]) -> dict[str, float]:
    """How a mask agrees with the true one."""
    pair = predicted[None], true[None]
    return {
        "dice": dice(*pair).item(),
        "iou": iou(*pair).item(),
        "contour_dice": contour_dice(*pair, TOLERANCE).item(),
        "slice_dice": slice_dice(*pair, TOLERANCE).item(),
    }


def summary(rows: Sequence[Row]) -> dict[str, Spread]:
    """The mean of each number over images, with its bootstrap interval (95 %)."""
    return {key: _spread(torch.tensor([row[key] for row in rows], dtype=torch.float64)) for key in rows[0]}


def change(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Spread]:
    """The same of the differences, image by image."""
    return summary([{key: new[key] - old[key] for key in new} for old, new in zip(before, after, strict=True)])


def _spread(values: Tensor) -> Spread:
    return Spread(mean=values.mean().item(), interval=bootstrap_interval(values, BOOTSTRAP_SEED))
