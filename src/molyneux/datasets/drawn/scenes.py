"""From designs to pixels, as many as are asked for, in memory and all at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from molyneux.datasets.drawn.designs import COLOURS, SHAPES, Design, Layout, Part, completed
from molyneux.shapes import Images

SIZE = 32
"""Side of an image in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part where it is drawn, in shares of the side from the upper left."""

    part: Part
    across: float
    down: float
    radius: float
    tilt: float
    """Radians, clockwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A complete design, where it lies and how large it is, in shares of the side, before small things of any kind."""

    design: Design
    across: float
    down: float
    reach: float
    """Half the side of the square that the design fills."""
    tilt: float = 0.0
    turn: float = 0.0
    """Where the first of several parts around another is, in radians; for parts side by side, which is on the left."""
    clutter: tuple[Piece, ...] = ()

    def pieces(self) -> list[Piece]:
        """All that is drawn, what lies behind first."""
        cosine, sine = math.cos(self.tilt), math.sin(self.tilt)
        return [
            *self.clutter,
            *(
                Piece(
                    part=part,
                    across=self.across + self.reach * (cosine * x - sine * y),
                    down=self.down + self.reach * (sine * x + cosine * y),
                    radius=self.reach * radius,
                    tilt=self.tilt,
                )
                for part, x, y, radius in _arranged(self.design, self.turn)
            ),
        ]


def place(designs: Sequence[Design], random: np.random.Generator) -> list[Scene]:
    """Complete each design, and give it a random size, place and tilt inside the image, and clutter behind it."""
    scenes = []
    for design in designs:
        low, high = (0.24, 0.40) if design.layout == "one" else (0.34, 0.47)
        reach, x, y = random.uniform((low, 0, 0), (high, 1, 1)).tolist()
        tilt, turn = random.uniform((-0.2, 0), (0.2, 2 * math.pi)).tolist()
        scenes.append(
            Scene(
                design=completed(design, random),
                across=reach + x * (1 - 2 * reach),
                down=reach + y * (1 - 2 * reach),
                reach=reach,
                tilt=tilt,
                turn=turn,
                clutter=tuple(_small_thing(random) for _ in range(int(random.choice((0, 1, 2, 3))))),
            )
        )
    return scenes


def draw_designs(designs: Sequence[Design], seed: int, size: int = SIZE) -> Images:
    """An image of each design, (n, 3, size, size) in [0, 1]; the same seed and designs give the same images."""
    random = np.random.default_rng(seed)
    return render(place(designs, random), random, size)


def render(scenes: Sequence[Scene], random: np.random.Generator, size: int = SIZE) -> Images:
    """Scenes as pixels, (n, 3, size, size): light things of uneven shades on darker, uneven ground."""
    count = len(scenes)
    image = _ground(count, size, random)
    light, shift = _tensor(random.uniform(0.88, 1.04, (count, 1))), _tensor(random.normal(0, 0.03, (count, 3)))
    axis = (torch.arange(size) + 0.5) / size
    all_pieces = [scene.pieces() for scene in scenes]
    for level in range(max(map(len, all_pieces), default=0)):
        rows = [row for row, own in enumerate(all_pieces) if level < len(own)]
        pieces = [all_pieces[row][level] for row in rows]
        where = [(one.across, one.down, one.radius, math.cos(one.tilt), math.sin(one.tilt)) for one in pieces]
        across, down, radius, cosine, sine = _tensor(where).T[..., None, None]
        x, y = (axis - across) / radius, (axis[:, None] - down) / radius
        cover, shade = _painted(cosine * x + sine * y, cosine * y - sine * x, radius * size, [p.part for p in pieces])
        colours = _tensor([COLOURS[str(one.part.colour)] for one in pieces]) * light[rows] + shift[rows]
        image[rows] += cover[:, None] * (colours[..., None, None] * shade[:, None] - image[rows])
    return (image + _tensor(random.normal(0, 0.02, image.shape))).clamp(0, 1)


def _arranged(design: Design, turn: float) -> list[tuple[Part, float, float, float]]:
    """Parts with middle and radius in units of the scene's reach, what lies behind first."""
    first, second = design.parts[0], design.parts[-1]
    side = 1 if turn < math.pi else -1
    ring = [turn + 2 * math.pi * step / 5 for step in range(5)]
    places: Mapping[Layout, list[tuple[Part, float, float, float]]] = {
        "one": [(first, 0.0, 0.0, 1.0)],
        "over": [(second, 0.0, 0.5, 0.5), (first, 0.0, -0.5, 0.5)],
        "beside": [(first, -0.5 * side, 0.0, 0.5), (second, 0.5 * side, 0.0, 0.5)],
        "in": [(second, 0.0, 0.0, 0.95), (first, 0.0, 0.0, 0.45)],
        "around": [(second, 0.0, 0.0, 0.48), *((first, 0.76 * math.cos(t), 0.76 * math.sin(t), 0.26) for t in ring)],
        "two": [(first, place, 0.0, 0.48) for place in (-0.5, 0.5)],
        "three": [(first, place, 0.0, 0.33) for place in (-0.67, 0.0, 0.67)],
        "pile": [(first, 0.0, place, 0.33) for place in (-0.67, 0.0, 0.67)],
    }
    return places[design.layout]


def _small_thing(random: np.random.Generator) -> Piece:
    """Any shape, too small for a filling to be seen, anywhere."""
    radius, across, down, tilt = random.uniform((0.05, 0, 0, -3), (0.1, 1, 1, 3)).tolist()
    part = Part(str(random.choice(SHAPES)), "solid", str(random.choice(list(COLOURS))))
    return Piece(part=part, across=across, down=down, radius=radius, tilt=tilt)


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
            half = (0.7 / pixels[rows]).clamp(min=0.09)
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
