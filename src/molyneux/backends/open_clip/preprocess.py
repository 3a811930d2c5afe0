"""How an open_clip model wants its images: by its `preprocess_cfg`, whose colours are never guessed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from molyneux.errors import ModelError
from molyneux.framing import Fit, Framing, Interpolation
from molyneux.shapes import Images

ValueT = TypeVar("ValueT")

_FITS: Mapping[str, Fit] = {"shortest": "crop", "longest": "longest", "squash": "squash"}
# 'random' concerns training alone
_INTERPOLATIONS: Mapping[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From a photo to what the vision tower reads."""

    size: int
    """Side of the square image."""
    framing: Framing
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalized(self, images: Images) -> Tensor:
        """Pixels in [0, 1] to what the tower reads; differentiable."""
        mean, std = (torch.tensor(values).view(3, 1, 1).to(images) for values in (self.mean, self.std))
        return (images - mean) / std


def preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """The rules in the content of `open_clip_config.json`.

    Raises:
        ModelError: if it names rules that open_clip does not know, no mean or deviation, or images that are not square.
    """
    given: Mapping[str, Any] = config.get("preprocess_cfg") or {}
    _one_of("mode", given.get("mode") or "RGB", {"RGB": None})
    fit = _one_of("resize_mode", given.get("resize_mode") or "shortest", _FITS)
    interpolation = _one_of("interpolation", given.get("interpolation") or "bicubic", _INTERPOLATIONS)
    return Preprocessing(
        size=_side(config["model_cfg"]["vision_cfg"].get("image_size", 224)),
        framing=Framing(fit=fit, interpolation=interpolation, fill=_fill(given.get("fill_color") or 0)),
        mean=_three("mean", given.get("mean")),
        std=_three("std", given.get("std"), zero=False),
    )


def _one_of(key: str, value: Any, known: Mapping[str, ValueT]) -> ValueT:
    if value not in known:
        raise ModelError(f"preprocess_cfg says {key} = {value!r}: expected one of {', '.join(map(repr, known))}")
    return known[value]


def _side(size: Any) -> int:
    sides = list(size) if isinstance(size, list | tuple) else [size]
    if len({int(side) for side in sides}) != 1:
        raise ModelError(f"the vision tower reads images of {size}: expected squares")
    return int(sides[0])


def _three(key: str, value: Any, *, zero: bool = True) -> tuple[float, ...]:
    # one number stands for all three colours, but open_clip takes a 0 for none given
    several = isinstance(value, list | tuple)
    values = list(value) if several else [value] * 3
    fitting = all(isinstance(one, int | float) and math.isfinite(one) for one in values)
    if len(values) != 3 or not fitting or not (any(values) or several) or not (all(values) or zero):
        raise ModelError(f"preprocess_cfg says {key} = {value!r}: expected three numbers{'' if zero else ', none 0'}")
    return tuple(map(float, values))


def _fill(value: Any) -> int | tuple[int, int, int]:
    try:
        if not isinstance(value, list | tuple):
            return int(value)
        red, green, blue = map(int, value)
    except (TypeError, ValueError) as error:
        raise ModelError(f"preprocess_cfg says fill_color = {value!r}: expected a grey level or three") from error
    return red, green, blue
