"""What a caller gave: refused where it would be misread in silence."""

import math
import reprlib
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from molyneux.errors import ConfigError, DataError, ModelError, MolyneuxError

if TYPE_CHECKING:
    from torch import Tensor

_TOLERANCE = 1e-3
"""How far pixels may lie outside [0, 1]: what rounding does, not another scale."""


def check_kind(
    value: object,
    kinds: type | tuple[type, ...],
    what: str,
    expected: str,
    error: type[MolyneuxError] = ConfigError,
) -> None:
    """Raise an error unless the value is of one of these kinds.

    >>> check_kind("a ring", str, "the name", "text")
    >>> check_kind(None, str, "the name", "text")
    Traceback (most recent call last):
    molyneux.errors.ConfigError: the name is None: expected text
    """
    if not isinstance(value, kinds):
        raise error(f"{what} is {_short(value)}: expected {expected}")


def several(value: object) -> list[Any]:
    """One value or several as a list; a text is one.

    >>> several("okapi"), several(("okapi", "ewer")), several(7)
    (['okapi'], ['okapi', 'ewer'], [7])
    """
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def check_fields(config: object, prefix: str) -> None:
    """Raise ConfigError for a field of a dataclass that is no number, flag, text or word of its list, as annotated."""
    for name, kind in get_type_hints(type(config)).items():
        value, what = getattr(config, name), f"{prefix}.{name}"
        if get_origin(kind) is Literal:
            words = get_args(kind)
            if value not in words:
                raise ConfigError(f"{what} is {_short(value)}: expected one of {', '.join(map(repr, words))}")
        elif kind in _KINDS:
            wanted, expected = _KINDS[kind]
            if isinstance(value, bool) and kind is not bool:
                wanted = ()
            check_kind(value, wanted, what, expected)


_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"),
    str: ((str,), "text"),
}


def _short(value: object) -> str:
    return " ".join(reprlib.repr(value).split())


def check_texts(texts: Iterable[str] | None, what: str = "texts") -> None:
    """Raise ConfigError for what are no texts, and for a string: it would be read letter by letter.

    >>> check_texts(["a ring"])
    >>> check_texts("a ring", "names")
    Traceback (most recent call last):
    molyneux.errors.ConfigError: the names are one string, 'a ring': expected a list, such as ['a ring']
    """
    if isinstance(texts, str):
        raise ConfigError(f"the {what} are one string, {texts[:40]!r}: expected a list, such as [{texts[:40]!r}]")
    if texts is None:
        return
    check_kind(texts, Iterable, f"the list of {what}", "several texts")
    if isinstance(texts, Collection):
        for one in texts:
            check_kind(one, str, f"one of the {what}", "text")


def check_pixels(pixels: "Tensor", what: str = "images") -> None:
    """Raise DataError unless the pixels are floats in [0, 1]."""
    if not hasattr(pixels, "is_floating_point"):
        raise DataError(
            f"the {what} are {_short(pixels)}: expected a tensor (n, 3, h, w) in [0, 1]; model.recognise takes photos"
        )
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
