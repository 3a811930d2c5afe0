"""From a heat map to a mask, and from a mask to what the Segment Anything Model is asked with.

Dense conditional random fields, which MedCLIP-SAMv2 offers here too, are left out: no library for them is kept.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from molyneux.errors import ConfigError
from molyneux.tasks.localisation.config import MaskConfig

Heat = Float[Tensor, "h w"]
"""In [0, 1]."""

Mask = Bool[Tensor, "h w"]

Boxes = Int[Tensor, "b 4"]
"""Left, top, right, bottom: pixels, the last ones included."""

Points = Int[Tensor, "p 2"]
"""Across, down."""

_LEVELS = 255


def coarse_mask(heat: Heat, config: MaskConfig) -> Mask:
    """The brighter part of a heat map, of which the largest pieces are kept; empty where the map is even."""
    methods: dict[str, Callable[[Heat], float]] = {
        "k-means": two_means,
        "otsu": lambda heat: two_means((heat * _LEVELS).round()) / _LEVELS,
        "threshold": lambda _: config.level,
    }
    return largest(heat > methods[config.method](heat), config.pieces)


def two_means(values: Float[Tensor, "..."]) -> float:
    """The threshold that parts numbers into the two groups with the least squared distance to their means.

    It is what k-means with two clusters comes to when it does not get stuck, and, on a histogram, Otsu's threshold.
    The threshold is the middle between the groups; numbers all alike give themselves, so that none lies above.

    Source: Otsu (1979), A threshold selection method from gray-level histograms.

    >>> two_means(torch.tensor([0.0, 0.25, 0.75, 1.0]))
    0.5
    """
    ordered = values.flatten().double().sort().values
    below = torch.arange(1, len(ordered), device=ordered.device)
    sums = ordered.cumsum(0)
    # to minimise the distances within is to maximise the one between
    apart = sums[:-1] ** 2 / below + (sums[-1] - sums[:-1]) ** 2 / below.flip(0)
    apart = apart.masked_fill(ordered[1:] == ordered[:-1], -torch.inf)
    if len(apart) == 0 or not apart.isfinite().any():
        return float(ordered[-1])
    place = int(apart.argmax())
    return float((ordered[place] + ordered[place + 1]) / 2)


def largest(mask: Mask, count: int) -> Mask:
    """The largest pieces of a mask; pixels that touch at a corner hang together. All of them if `count` is 0.

    Of pieces of one size those further up are kept.
    """
    labels, found = _pieces(mask)
    if count == 0 or found <= count:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.argsort(-sizes, kind="stable")[:count] + 1
    return torch.from_numpy(np.isin(labels, kept)).to(mask.device)


def pieces(mask: Mask) -> int:
    """How many pieces a mask has, as `largest` counts them."""
    return _pieces(mask)[1]


def boxes(mask: Mask, *, each: bool = False) -> Boxes:
    """The box around a mask, or around each of its pieces; around the whole image if the mask is empty."""
    labels, _ = _pieces(mask) if each else (mask.cpu().numpy().astype(np.int64), 1)
    found = [place for place in image_library().find_objects(labels) if place is not None]
    if not found:
        return torch.tensor([[0, 0, mask.shape[1] - 1, mask.shape[0] - 1]])
    return torch.tensor([[across.start, down.start, across.stop - 1, down.stop - 1] for down, across in found])


def points(mask: Mask, count: int, generator: torch.Generator) -> Points:
    """So many different pixels of a mask at random, or all if it has fewer; of the whole image if it is empty."""
    inside = (mask if mask.any() else torch.ones_like(mask)).nonzero().cpu()
    chosen = torch.randperm(len(inside), generator=generator)[:count]
    return inside[chosen].flip(1)


def image_library() -> Any:
    """What finds pieces of masks.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ConfigError("pieces of masks are found by scipy: pip install 'molyneux[segmentation]'") from error
    return ndimage


def _pieces(mask: Mask) -> tuple[np.ndarray, int]:
    labels, found = image_library().label(mask.cpu().numpy(), structure=np.ones((3, 3)))
    return labels, int(found)
