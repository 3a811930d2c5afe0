"""What can be drawn: shapes in colours and fillings, alone or two in a layout, with anything of it left open."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from molyneux.errors import DataError

Layout = Literal["one", "over", "beside", "in", "around", "two", "three", "pile"]
"""A part alone; the first above, beside, small within or five times around the second; the same part two or three
times side by side, or three times on top of itself."""

COLOURS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "red": (0.86, 0.12, 0.12),
        "orange": (0.96, 0.52, 0.08),
        "yellow": (0.96, 0.88, 0.18),
        "green": (0.18, 0.68, 0.22),
        "blue": (0.16, 0.36, 0.90),
        "purple": (0.55, 0.22, 0.74),
        "pink": (0.98, 0.58, 0.76),
        "brown": (0.60, 0.37, 0.18),
        "white": (0.96, 0.96, 0.96),
    }
)
FILLINGS = ("solid", "hollow", "striped", "dotted", "checkered")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart", "crescent", "cross", "bar", "dome")


@dataclass(frozen=True, slots=True)
class Part:
    """A shape; what is None is left open."""

    shape: str
    filling: str | None = None
    colour: str | None = None

    def allows(self, other: "Part") -> bool:
        """Whether `other` is this part, with what is open here said or not."""
        return (
            self.shape == other.shape and self.filling in (None, other.filling) and self.colour in (None, other.colour)
        )


@dataclass(frozen=True, slots=True)
class Design:
    """One part, or two in a layout."""

    layout: Layout
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        wanted = 2 if self.layout in PAIRED else 1
        if len(self.parts) != wanted:
            raise DataError(f"the layout {self.layout!r} has {len(self.parts)} parts: expected {wanted}")

    def allows(self, other: "Design") -> bool:
        """Whether each scene of `other` is one of this design, too."""
        orders = [other.parts, other.parts[::-1]] if self.layout == "beside" else [other.parts]
        return self.layout == other.layout and any(
            all(own.allows(part) for own, part in zip(self.parts, parts, strict=True)) for parts in orders
        )


PAIRED = ("over", "beside", "in", "around")
"""Layouts of two parts."""
_COUNTED: tuple[tuple[str, Layout], ...] = (("two ", "two"), ("three ", "three"), ("pile of three ", "pile"))


def parse_design(text: str) -> Design:
    """Read a design such as 'hollow circle', 'red star over bar', 'two red circles', 'bars around dotted square'.

    Raises:
        DataError: if a word is no shape, filling, colour or layout.
    """
    for layout in get_args(Layout):
        first, found, second = text.partition(f" {layout} ")
        if found and layout in PAIRED:
            return Design(layout, (_parse_part(first), _parse_part(second)))
    for start, counted in _COUNTED:
        if text.startswith(start):
            return Design(counted, (_parse_part(text.removeprefix(start)),))
    return Design("one", (_parse_part(text),))


def _parse_part(text: str) -> Part:
    *words, shape = text.split() or [""]
    shape = next((one for one in SHAPES if shape in (one, f"{one}s", f"{one}es")), shape)
    filling = next((word for word in words if word in FILLINGS), None)
    colour = next((word for word in words if word in COLOURS), None)
    if shape not in SHAPES or len(words) != (filling is not None) + (colour is not None):
        raise DataError(f"the part {text!r} is not '[FILLING] [COLOUR] SHAPE' with a shape of {', '.join(SHAPES)}")
    return Part(shape, filling, colour)


def random_design(random: np.random.Generator) -> Design:
    """Any parts in any layout, with every filling and colour open."""
    layout: Layout = random.choice(get_args(Layout), p=(0.4, 0.15, 0.08, 0.12, 0.07, 0.06, 0.06, 0.06))
    shapes = random.choice(SHAPES, size=2 if layout in PAIRED else 1)
    return Design(layout, tuple(Part(str(shape)) for shape in shapes))


def completed(design: Design, random: np.random.Generator) -> Design:
    """The design with what it leaves open drawn at random; two parts that touch differ in colour where one is open."""
    parts: list[Part] = []
    for part in design.parts:
        taken = {one.colour for one in (*parts, *design.parts) if one is not part}
        free = [colour for colour in COLOURS if colour not in taken]
        filling = part.filling or str(random.choice(FILLINGS, p=(0.4, 0.15, 0.15, 0.15, 0.15)))
        parts.append(Part(part.shape, filling, part.colour or str(random.choice(free))))
    return Design(design.layout, tuple(parts))
