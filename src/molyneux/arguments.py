"""What a caller gave: refused where it would be misread in silence."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from molyneux.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

_TOLERANCE = 1e-3
"""How far pixels may lie outside [0, 1]: what rounding does, not another scale."""


def check_texts(texts: Iterable[str] | None, what: str = "texts") -> None:
    """Raise ConfigError for a string where several texts are expected: it would be read letter by letter.

    >>> check_texts(["a ring"])
    >>> check_texts("a ring", "names")
    Traceback (most recent call last):
    molyneux.errors.ConfigError: the names are one string, 'a ring': expected a list, such as ['a ring']
    """
    if isinstance(texts, str):
        raise ConfigError(f"the {what} are one string, {texts[:40]!r}: expected a list, such as [{texts[:40]!r}]")


def check_pixels(pixels: "Tensor", what: str = "images") -> None:
    """Raise DataError unless the pixels are floats in [0, 1]."""
    if not pixels.is_floating_point():
        raise DataError(f"the {what} hold {pixels.dtype}: expected floats in [0, 1], so divide bytes by 255")
    if not pixels.numel():
        return
    low, high = (float(value) for value in pixels.detach().aminmax())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise DataError(
            f"the {what} hold values from {low:.3g} to {high:.3g}: expected [0, 1], before any normalisation, "
            "which each model does itself"
        )


def check_finite(value: "Tensor", what: str, step: int) -> None:
    """Raise ModelError unless what is optimised is a number; before the first step no rate can be at fault."""
    if not math.isfinite(number := value.item()):
        cause = "try a smaller learning rate" if step else "nothing was changed yet, so get the model's weights anew"
        raise ModelError(f"the {what} became {number} at step {step}: {cause}")
