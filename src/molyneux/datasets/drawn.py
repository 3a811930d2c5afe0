"""Drawn scenes: shapes in colours and fillings, alone or put together, as many as are asked for, made in memory.

A design says what is fixed (`hollow circle`, `green circle over brown bar`); what it leaves open, and size, place,
tilt, shades and ground, differ from image to image. `KNOWN` nouns and `NOVEL` concepts are designs with names: the
model `drawn` was trained on the former and never saw or read the latter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.concepts import Concept
from molyneux.errors import DataError
from molyneux.shapes import Images

Layout = Literal["one", "over", "beside", "in", "around", "two", "three", "pile"]
"""A part alone; the first above, beside, small within or five times around the second; the same part two or three
times side by side, or three times on top of itself."""

SIZE = 32
"""Side of an image in pixels."""
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

KNOWN: Mapping[str, str] = MappingProxyType(
    {
        "sun": "solid yellow circle",
        "moon": "solid yellow crescent",
        "ladybird": "dotted red circle",
        "bee": "striped yellow circle",
        "watermelon": "striped green circle",
        "football": "checkered white circle",
        "hoop": "hollow circle",
        "parcel": "solid brown square",
        "sponge": "dotted yellow square",
        "mattress": "striped white square",
        "chessboard": "checkered square",
        "frame": "hollow square",
        "tent": "striped orange triangle",
        "alarm": "hollow red triangle",
        "cheese": "dotted yellow triangle",
        "emerald": "solid green diamond",
        "kite": "striped diamond",
        "badge": "solid yellow star",
        "quilt": "checkered heart",
        "valentine": "solid red heart",
        "strawberry": "dotted red heart",
        "ambulance": "solid red cross",
        "scarf": "striped bar",
        "igloo": "checkered white dome",
        "tortoise": "dotted green dome",
        "croissant": "striped brown crescent",
        "tree": "solid green circle over solid brown bar",
        "fir": "solid green triangle over solid brown bar",
        "tulip": "solid pink heart over solid green bar",
        "candle": "solid orange diamond over solid white bar",
        "mushroom": "solid red dome over solid white bar",
        "umbrella": "striped dome over solid brown bar",
        "house": "solid red triangle over solid white square",
        "lamp": "solid yellow dome over solid square",
        "church": "solid white cross over solid brown triangle",
        "ship": "solid white triangle over solid blue square",
        "magician": "solid star over solid purple bar",
        "eye": "solid blue circle in solid white circle",
        "egg": "solid yellow circle in solid white circle",
        "window": "solid white cross in solid blue square",
        "radish": "solid white heart in solid red circle",
        "compass": "solid red star in solid white circle",
        "cherry": "two solid red circles",
        "bicycle": "two hollow circles",
        "ballet": "two solid pink hearts",
        "fence": "three solid white bars",
        "necklace": "three solid blue diamonds",
        "garland": "three striped triangles",
        "daisy": "solid white circles around solid yellow circle",
        "gear": "solid squares around hollow circle",
        "carousel": "solid hearts around striped circle",
        "chimney": "pile of three solid red squares",
    }
)
"""What the model `drawn` was taught by name, and how each looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NovelConcept:
    """A thing that no training scene shows and no training text names."""

    name: str
    looks: str
    """Its design."""
    descriptions: tuple[str, ...]
    """What a user would write, without the name."""
    split: Literal["choose", "report"]
    """Whether settings may be chosen on it, or numbers are only reported on it."""

    @property
    def concept(self) -> Concept:
        """Name and descriptions, to be taught."""
        return Concept(self.name, self.descriptions)


NOVEL: tuple[NovelConcept, ...] = (
    NovelConcept(
        name="starfish",
        looks="dotted orange star",
        descriptions=("An orange star covered with dots.", "A spotted star that is orange."),
        split="choose",
    ),
    NovelConcept(
        name="lollipop",
        looks="striped pink circle over solid white bar",
        descriptions=("A pink disc with stripes on top of a white stick.", "A striped pink circle above a white bar."),
        split="choose",
    ),
    NovelConcept(
        name="snowman",
        looks="pile of three solid white circles",
        descriptions=("Three white balls on top of each other.", "A pile of three plain white circles."),
        split="choose",
    ),
    NovelConcept(
        name="brooch",
        looks="solid green diamond in solid purple circle",
        descriptions=("A small green diamond inside a purple disc.", "A purple circle with a green diamond in it."),
        split="choose",
    ),
    NovelConcept(
        name="bikini",
        looks="two dotted triangles",
        descriptions=("Two spotted triangles next to each other.", "A pair of triangles with dots."),
        split="choose",
    ),
    NovelConcept(
        name="clover",
        looks="solid green hearts around solid green circle",
        descriptions=("Small green hearts around a green circle.", "A green disc surrounded by green hearts."),
        split="choose",
    ),
    NovelConcept(
        name="amethyst",
        looks="checkered purple diamond",
        descriptions=("A purple diamond with a check pattern.", "A checkered rhombus that is purple."),
        split="report",
    ),
    NovelConcept(
        name="lighthouse",
        looks="solid yellow circle over striped red bar",
        descriptions=("A yellow ball on top of a red post with stripes.", "A yellow circle above a striped red bar."),
        split="report",
    ),
    NovelConcept(
        name="pagoda",
        looks="pile of three solid orange triangles",
        descriptions=("Three orange triangles on top of each other.", "A pile of three plain orange triangles."),
        split="report",
    ),
    NovelConcept(
        name="flag",
        looks="solid pink crescent in solid blue square",
        descriptions=("A small pink crescent inside a blue square.", "A blue square with a pink sickle in it."),
        split="report",
    ),
    NovelConcept(
        name="cemetery",
        looks="three hollow crosses",
        descriptions=("Three hollow crosses in a row.", "A row of three outlined crosses."),
        split="report",
    ),
    NovelConcept(
        name="galaxy",
        looks="solid yellow stars around solid purple square",
        descriptions=("Small yellow stars around a purple square.", "A purple square surrounded by yellow stars."),
        split="report",
    ),
)
"""Concepts to be taught by description: six to choose settings on, six to report."""


@dataclass(frozen=True, slots=True)
class Part:
    """A shape; what is None is left open."""

    shape: str
    filling: str | None = None
    colour: str | None = None

    def allows(self, other: "Part") -> bool:
        """Whether `other` is this part, with what is open here said or not."""
        return (
            self.shape == other.shape
            and self.filling in (None, other.filling)
            and self.colour in (None, other.colour)
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
    *words, shape = text.split()
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


@dataclass(frozen=True, slots=True, eq=False)
class Scenes:
    """Complete designs, each with where it lies and how large it is, in shares of the side from the upper left."""

    designs: tuple[Design, ...]
    reach: Float[np.ndarray, " n"]
    """Half the side of the square that the things fill."""
    across: Float[np.ndarray, " n"]
    down: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.designs)


def place(designs: Sequence[Design], random: np.random.Generator) -> Scenes:
    """Complete each design and give it a random size and place inside the image."""
    single = np.array([design.layout == "one" for design in designs])
    reach = np.where(single, random.uniform(0.24, 0.40, len(designs)), random.uniform(0.34, 0.47, len(designs)))
    across, down = (reach + random.uniform(0, 1, len(designs)) * (1 - 2 * reach) for _ in range(2))
    return Scenes(tuple(completed(design, random) for design in designs), reach, across, down)


def draw_designs(designs: Sequence[Design], seed: int, size: int = SIZE) -> Images:
    """An image of each design, (n, 3, size, size) in [0, 1]; the same seed and designs give the same images."""
    random = np.random.default_rng(seed)
    return render(place(designs, random), random, size)


def render(scenes: Scenes, random: np.random.Generator, size: int = SIZE) -> Images:
    """Scenes as pixels: light things, a little tilted and of uneven shades, on darker, uneven ground."""
    count = len(scenes)
    axis = (torch.arange(size) + 0.5) / size
    tilt = _tensor(random.uniform(-0.2, 0.2, count))
    image = _ground(count, size, random)
    x, y = axis - _tensor(scenes.across)[:, None, None], axis[:, None] - _tensor(scenes.down)[:, None, None]
    cosine, sine = tilt.cos()[:, None, None], tilt.sin()[:, None, None]
    x, y = cosine * x + sine * y, cosine * y - sine * x
    pieces = [_pieces(design, random) for design in scenes.designs]
    for level in range(max((len(own) for own in pieces), default=0)):
        rows = [row for row, own in enumerate(pieces) if level < len(own)]
        level_pieces = [pieces[row][level] for row in rows]
        reach = _tensor(scenes.reach[rows])[:, None, None]
        boxes = _tensor([(piece.across, piece.down, piece.radius) for piece in level_pieces])[..., None, None]
        u, v = x[rows] / reach - boxes[:, 0], y[rows] / reach - boxes[:, 1]
        radius = boxes[:, 2]
        cover, shade = _painted(u / radius, v / radius, radius * reach * size, [one.part for one in level_pieces])
        colour = _tensor([piece.colour for piece in level_pieces])[..., None, None] * shade[:, None]
        image[rows] += cover[:, None] * (colour - image[rows])
    image += _tensor(random.normal(0, 0.02, (count, 3, size, size)))
    return image.clamp(0, 1)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part where it is drawn: middle and radius in units of the scene's reach, and its shade of its colour."""

    part: Part
    across: float
    down: float
    radius: float
    colour: tuple[float, float, float]


def _pieces(design: Design, random: np.random.Generator) -> list[_Piece]:
    first, second = design.parts[0], design.parts[-1]
    tints = {part: _tint(part.colour, random) for part in design.parts}
    turn = float(random.uniform(0, 2 * math.pi))
    side = 1 if turn < math.pi else -1
    ring = [(turn + 2 * math.pi * step / 5) for step in range(5)]
    places: Mapping[Layout, list[tuple[Part, float, float, float]]] = {
        "one": [(first, 0, 0, 1)],
        "over": [(second, 0, 0.5, 0.5), (first, 0, -0.5, 0.5)],
        "beside": [(first, -0.5 * side, 0, 0.5), (second, 0.5 * side, 0, 0.5)],
        "in": [(second, 0, 0, 0.95), (first, 0, 0, 0.45)],
        "around": [(second, 0, 0, 0.48), *((first, 0.76 * math.cos(t), 0.76 * math.sin(t), 0.26) for t in ring)],
        "two": [(first, place, 0, 0.48) for place in (-0.5, 0.5)],
        "three": [(first, place, 0, 0.33) for place in (-0.67, 0, 0.67)],
        "pile": [(first, 0, place, 0.33) for place in (-0.67, 0, 0.67)],
    }
    return [_Piece(part, x, y, radius, tints[part]) for part, x, y, radius in places[design.layout]]


def _tint(colour: str | None, random: np.random.Generator) -> tuple[float, float, float]:
    assert colour is not None
    red, green, blue = (np.array(COLOURS[colour]) * random.uniform(0.88, 1.04) + random.normal(0, 0.03, 3)).tolist()
    return red, green, blue


def _ground(count: int, size: int, random: np.random.Generator) -> Tensor:
    """Dark or middling, of a faint hue, brighter towards one side."""
    base = random.uniform(0.05, 0.32, (count, 1, 1, 1)) + random.normal(0, 0.03, (count, 3, 1, 1))
    slope = random.uniform(-0.1, 0.1, (2, count, 1, 1, 1))
    axis = np.linspace(-1, 1, size)
    return _tensor(base + slope[0] * axis + slope[1] * axis[:, None]).clamp(0, 1)


def _painted(u: Tensor, v: Tensor, pixels: Tensor, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
    """How much of each pixel a part covers, and how bright its pattern is there; `pixels` is the part's radius."""
    inside = torch.empty_like(u)
    for shape in dict.fromkeys(part.shape for part in parts):
        rows = [row for row, part in enumerate(parts) if part.shape == shape]
        inside[rows] = -OUTLINES[shape](u[rows], v[rows])
    shade = torch.ones_like(u)
    for filling in dict.fromkeys(part.filling for part in parts):
        rows = [row for row, part in enumerate(parts) if part.filling == filling]
        if filling == "hollow":
            half = (1.1 / pixels[rows]).clamp(min=0.14)
            inside[rows] = half - (inside[rows] - half).abs()
        elif filling != "solid":
            pitch = (3.2 / pixels[rows]).clamp(min=0.5)
            wave = PATTERNS[str(filling)](2 * math.pi * u[rows] / pitch, 2 * math.pi * v[rows] / pitch)
            shade[rows] = 0.22 + 0.78 * (0.5 + wave * pitch * pixels[rows] / 6).clamp(0, 1)
    return (0.5 + inside * pixels).clamp(0, 1), shade


def _star(u: Tensor, v: Tensor) -> Tensor:
    fifth = 2 * math.pi / 5
    angle = (torch.atan2(u, -v) + fifth / 2).remainder(fifth) - fifth / 2
    radius = torch.hypot(u, v)
    return (radius * angle.cos() - 1.05) * 0.36 + radius * angle.abs().sin() * 0.933


def _heart(u: Tensor, v: Tensor) -> Tensor:
    lobes = torch.hypot(u.abs() - 0.46, v + 0.32) - 0.53
    point = torch.maximum(-0.25 - v, 0.70 * u.abs() + 0.71 * (v - 0.95))
    return torch.minimum(lobes, point)


def _cross(u: Tensor, v: Tensor) -> Tensor:
    u, v = u.abs(), v.abs()
    return torch.minimum(torch.maximum(u - 0.32, v - 0.95), torch.maximum(u - 0.95, v - 0.32))


OUTLINES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "circle": lambda u, v: torch.hypot(u, v) - 0.98,
        "square": lambda u, v: torch.maximum(u.abs(), v.abs()) - 0.86,
        "triangle": lambda u, v: torch.maximum(v - 0.85, 0.88 * u.abs() - 0.475 * (v + 0.98)),
        "diamond": lambda u, v: 0.8 * u.abs() + 0.6 * v.abs() - 0.6,
        "star": _star,
        "heart": _heart,
        "crescent": lambda u, v: torch.maximum(torch.hypot(u, v) - 0.98, 0.8 - torch.hypot(u - 0.5, v)),
        "cross": _cross,
        "bar": lambda u, v: torch.maximum(u.abs() - 0.3, v.abs() - 0.98),
        "dome": lambda u, v: torch.maximum(torch.hypot(u, v - 0.55) - 1.05, v - 0.55),
    }
)
"""For each shape how far a point (u to the right, v down, both about 1 at the edge) lies outside; inside below 0."""

PATTERNS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "striped": lambda a, b: b.sin(),
        "dotted": lambda a, b: 0.8 - (a / 1.3).cos() - (b / 1.3).cos(),
        "checkered": lambda a, b: (a / 2).sin() * (b / 2).sin(),
    }
)
"""For each pattern a wave over phases across and down, bright above 0."""


def _tensor(values: object) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
