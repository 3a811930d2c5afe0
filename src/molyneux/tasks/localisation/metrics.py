"""How well masks agree: overlap (Dice, IoU) and contours (normalised surface Dice), for each pair of masks.

Where both masks are empty they agree: every metric is 1. Where only one is, every metric is 0.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from molyneux.errors import ConfigError, DataError

Masks = Bool[Tensor, "n h w"]
"""True where the object is."""

OfSameShape = Bool[Tensor, "_ _ _"]
"""Masks whose shape is checked by name."""

_EMPTY, _FULL = 0, 15


def dice(predicted: Masks, true: OfSameShape) -> Float[Tensor, " n"]:
    """2|A & B| / (|A| + |B|) of each pair, in [0, 1].

    Raises:
        DataError: if the shapes differ.

    Source: Dice (1945).

    >>> dice(torch.tensor([[[True, True, False]]]), torch.tensor([[[False, True, False]]]))
    tensor([0.6667], dtype=torch.float64)
    """
    _check(predicted, true)
    shared, both = _count(predicted & true), _count(predicted) + _count(true)
    return _ratio(2 * shared, both)


def iou(predicted: Masks, true: OfSameShape) -> Float[Tensor, " n"]:
    """|A & B| / |A | B| of each pair, in [0, 1]; equal to dice / (2 - dice).

    Raises:
        DataError: if the shapes differ.

    Source: Jaccard (1901).

    >>> iou(torch.tensor([[[True, True, False]]]), torch.tensor([[[False, True, False]]]))
    tensor([0.5000], dtype=torch.float64)
    """
    _check(predicted, true)
    return _ratio(_count(predicted & true), _count(predicted | true))


def contour_dice(
    predicted: Masks, true: OfSameShape, tolerance: float = 2.0, spacing: tuple[float, float] = (1.0, 1.0)
) -> Float[Tensor, " n"]:
    """Share of both contours that lies within `tolerance` of the other contour: normalised surface Dice in 2-D.

    A contour runs between pixels, in the middle of each square of four neighbours that are not alike; each such
    square's piece counts by its length. Outside the image nothing belongs to a mask. `spacing` is a pixel's height
    and width, in the unit of `tolerance` (1 and 1: pixels; or millimetres).

    Raises:
        DataError: if the shapes differ.
        ConfigError: if the tolerance is negative or a spacing is not above 0.

    Source: Nikolov et al. (2018), arXiv 1809.04430, in two dimensions.
    """
    height, width = spacing
    slope = math.hypot(height, width) / 2
    # by corner (8 4 / 2 1) which of the four neighbours is set; opposite corners alone have two slopes
    lengths = [0.0] * 16
    for code in (1, 2, 4, 8, 7, 11, 13, 14):
        lengths[code] = slope
    lengths[6] = lengths[9] = 2 * slope
    lengths[3] = lengths[12] = width
    lengths[5] = lengths[10] = height
    return _surface_dice(predicted, true, tolerance, spacing, lengths, inner=False)


def slice_dice(predicted: Masks, true: OfSameShape, tolerance: float = 2.0) -> Float[Tensor, " n"]:
    """The 'NSD' of MedCLIP-SAMv2 and of Knowledge Transfer, for comparison with their tables; `tolerance` in pixels.

    There a mask is a body one voxel thick whose faces above and below are surface too, so that every pixel counts
    and the number is in effect a Dice that forgives `tolerance` pixels: far higher than `contour_dice`.

    Raises:
        DataError: if the shapes differ.
        ConfigError: if the tolerance is negative.

    Source: Nikolov et al. (2018), arXiv 1809.04430, on a volume of one slice.
    """
    # areas of a marching cube's surface over one face, by how many corners are set and whether they are neighbours
    corner, edge, three = math.sqrt(3) / 8, math.sqrt(0.5), 0.5 + 3 * math.sqrt(3) / 8
    areas = [0.0] * 16
    for code in (1, 2, 4, 8):
        areas[code], areas[_FULL - code] = corner, three
    for code in (3, 5, 10, 12):
        areas[code] = edge
    areas[6] = areas[9] = 2 * corner
    areas[_FULL] = 1.0
    return _surface_dice(predicted, true, tolerance, (1.0, 1.0), areas, inner=True)


def _surface_dice(
    predicted: Masks, true: OfSameShape, tolerance: float, spacing: tuple[float, float], sizes: list[float], inner: bool
) -> Float[Tensor, " n"]:
    _check(predicted, true)
    if not tolerance >= 0 or not min(spacing) > 0:
        raise ConfigError(f"tolerance {tolerance} and spacing {spacing}: expected at least 0, and lengths above 0")
    table = torch.tensor(sizes, dtype=torch.float64, device=true.device)
    codes = _corners(predicted), _corners(true)
    one, other = (code != _EMPTY if inner else (code != _EMPTY) & (code != _FULL) for code in codes)
    weights = [table[code] for code in codes]
    near_one, near_other = (_within(border, tolerance, spacing) for border in (one, other))
    agreed = (weights[0] * (one & near_other)).sum(dim=(1, 2)) + (weights[1] * (other & near_one)).sum(dim=(1, 2))
    whole = (weights[0] * one).sum(dim=(1, 2)) + (weights[1] * other).sum(dim=(1, 2))
    return _ratio(agreed, whole)


def _corners(masks: Masks) -> Tensor:
    """Which of each four neighbouring pixels are set, a border of empty ones around included: (n, h+1, w+1)."""
    wide = pad(masks.long(), (1, 1, 1, 1))
    return 8 * wide[:, :-1, :-1] + 4 * wide[:, :-1, 1:] + 2 * wide[:, 1:, :-1] + wide[:, 1:, 1:]


def _within(border: Tensor, tolerance: float, spacing: tuple[float, float]) -> Tensor:
    """Whether each place has a border place at most `tolerance` away."""
    height, width = border.shape[1:]
    near = torch.zeros_like(border)
    for down, right in _offsets(tolerance, spacing, height, width):
        above, below = max(0, down), min(height, height + down)
        left, end = max(0, right), min(width, width + right)
        near[:, above:below, left:end] |= border[:, above - down : below - down, left - right : end - right]
    return near


def _offsets(tolerance: float, spacing: tuple[float, float], height: int, width: int) -> Iterator[tuple[int, int]]:
    reach = [min(size - 1, int(tolerance / step)) for size, step in zip((height, width), spacing, strict=True)]
    for down in range(-reach[0], reach[0] + 1):
        for right in range(-reach[1], reach[1] + 1):
            if math.hypot(down * spacing[0], right * spacing[1]) <= tolerance:
                yield down, right


def _count(masks: Masks) -> Tensor:
    return masks.sum(dim=(1, 2)).double()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp_min(torch.finfo(whole.dtype).tiny), 1.0)


def _check(predicted: Tensor, true: Tensor) -> None:
    if predicted.shape != true.shape:
        raise DataError(
            f"predicted masks of shape {tuple(predicted.shape)} beside true ones of shape {tuple(true.shape)}: "
            "expected the same; resize the predicted ones"
        )
