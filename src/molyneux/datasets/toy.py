"""Images drawn in memory, each from a seed: for tests, and where no photos are at hand."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from molyneux.errors import DataError
from molyneux.files import new_folder
from molyneux.shapes import Images

Colour = tuple[int, int, int]
Point = tuple[float, float]

SHAPES = ("circle", "square", "triangle", "cross", "ring", "stripes")

_FINER = 3  # drawn at three times the size and averaged, for smooth edges


def draw_shapes(kind: str, count: int, size: int, seed: int) -> list[Image.Image]:
    """`count` images, (size, size) RGB, of one coloured shape each, at random places, sizes and colours.

    The image at an index does not depend on `count`; with one seed, kinds differ in shape alone.

    Raises:
        DataError: if `kind` is none of `SHAPES`.
    """
    if kind not in SHAPES:
        raise DataError(f"cannot draw a {kind!r}: expected one of {', '.join(SHAPES)}")
    return [_shape(kind, size, np.random.default_rng((seed, index))) for index in range(count)]


def draw_sunflower(seed: int, size: int = 256) -> Image.Image:
    """A sunflower under the sky, (size, size) RGB: yellow petals round dark seeds, stem, leaves, field.

    Pose, scale, colours and light vary with the seed.
    """
    random = np.random.default_rng(seed)
    side = size * _FINER
    image = _landscape(side, random)
    canvas = ImageDraw.Draw(image)
    _distant_flowers(canvas, side, random)
    x, y = side * random.uniform(0.4, 0.6), side * random.uniform(0.36, 0.52)
    radius = side * random.uniform(0.26, 0.38)
    _stem(canvas, (x, y), radius, side, random)
    image.paste(*_head(radius, random, at=(x, y)))
    return _developed(image, size, random)


def draw_sunflowers(count: int, size: int, seed: int) -> list[Image.Image]:
    """`count` different sunflowers; the image at an index does not depend on `count`."""
    seeds = np.random.SeedSequence(seed).generate_state(count, dtype=np.uint32) if count else ()
    return [draw_sunflower(int(one), size) for one in seeds]


def as_tensor(images: Sequence[Image.Image]) -> Images:
    """Images of one size as a tensor in [0, 1], (n, 3, h, w)."""
    values = torch.from_numpy(np.stack([np.array(image.convert("RGB")) for image in images]))
    return values.permute(0, 3, 1, 2).contiguous().float() / 255


def write_folder(root: Path, classes: Mapping[str, Sequence[Image.Image]]) -> Path:
    """Write a folder per class, `CLASS/NN.png` (spaces in names become underscores), and return `root`.

    Raises:
        OutputError: if `root` exists and is not empty, or cannot be written.

    Example: `write_folder(root, {kind: draw_shapes(kind, 5, 64, seed=0) for kind in SHAPES})`
    """
    root = Path(root)
    with new_folder(root) as target:
        for name, images in classes.items():
            folder = target / name.replace(" ", "_")
            folder.mkdir()
            for index, image in enumerate(images):
                image.save(folder / f"{index:02d}.png")
    return root


def _shape(kind: str, size: int, random: np.random.Generator) -> Image.Image:
    side = size * _FINER
    ground, colour = _two_colours(random)
    image = Image.new("RGB", (side, side), ground)
    radius = side * random.uniform(0.22, 0.36)
    x, y = (float(value) for value in random.uniform(radius, side - radius, size=2))
    _OUTLINES[kind](ImageDraw.Draw(image), x, y, radius, colour, ground)
    return image.resize((size, size), Image.Resampling.BOX)


def _two_colours(random: np.random.Generator) -> tuple[Colour, Colour]:
    """A background and a colour that stands out from it."""
    while True:
        ground, colour = random.integers(0, 256, size=(2, 3))
        if np.abs(ground - colour).sum() > 240:
            return _colour(ground), _colour(colour)


def _circle(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour, _: Colour) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _square(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour, _: Colour) -> None:
    draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)


def _triangle(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour, _: Colour) -> None:
    draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)


def _cross(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour, _: Colour) -> None:
    draw.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=colour)
    draw.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=colour)


def _ring(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour, ground: Colour) -> None:
    _circle(draw, x, y, r, colour, ground)
    _circle(draw, x, y, r * 0.6, ground, ground)


def _stripes(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: Colour, _: Colour) -> None:
    for step in range(4):
        top = y - r + step * r * 0.55
        draw.rectangle((x - r, top, x + r, top + r * 0.28), fill=colour)


_OUTLINES: Mapping[str, Callable[[ImageDraw.ImageDraw, float, float, float, Colour, Colour], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
    "stripes": _stripes,
}


def _landscape(side: int, random: np.random.Generator) -> Image.Image:
    """A sky that pales towards the horizon, soft clouds, and a field of many greens."""
    horizon = int(side * random.uniform(0.55, 0.78))
    height = np.linspace(0, 1, side)[:, None, None]
    top = np.array([70, 130, 205]) + random.uniform(-25, 25, 3)
    sky = top + (np.array([205, 226, 240]) - top) * height
    clouds = _clouds(side, random)[..., None] * random.uniform(0.2, 0.8)
    sky = sky * (1 - clouds) + 248 * clouds
    near = np.array([58, 96, 34]) + random.uniform(-18, 18, 3)
    far = np.array([120, 150, 70]) + random.uniform(-18, 18, 3)
    depth = (np.arange(side)[:, None, None] - horizon) / max(side - horizon, 1)
    field = far + (near - far) * depth.clip(0, 1) + (_noise(side, 48, random) * 46)[..., None]
    field = field + (_noise(side, 160, random) * 40)[..., None]
    pixels = np.where(np.arange(side)[:, None, None] < horizon, sky, field)
    blur = side * random.uniform(0.004, 0.012)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))


def _noise(side: int, cells: int, random: np.random.Generator) -> np.ndarray:
    """Smooth noise with about `cells` bumps a side, in [-0.5, 0.5]."""
    coarse = Image.fromarray(random.uniform(-0.5, 0.5, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def _clouds(side: int, random: np.random.Generator) -> np.ndarray:
    layers = np.stack([_noise(side, cells, random) / share for cells, share in ((4, 1), (9, 2), (20, 4))])
    return np.asarray(np.clip(layers.sum(axis=0) * 2, 0, 1))


def _distant_flowers(canvas: ImageDraw.ImageDraw, side: int, random: np.random.Generator) -> None:
    """Small heads over the field, larger the nearer they stand."""
    for y in np.sort(random.uniform(0.72, 1.0, size=int(random.integers(0, 60)))):
        x, r = side * random.uniform(0, 1), side * (0.006 + 0.05 * (y - 0.7))
        canvas.ellipse((x - r, y * side - r, x + r, y * side + r), fill=_colour(_jitter((226, 176, 28), 18, random)))
        canvas.ellipse((x - r * 0.45, y * side - r * 0.4, x + r * 0.45, y * side + r * 0.45), fill=(82, 52, 22))


def _stem(canvas: ImageDraw.ImageDraw, top: Point, radius: float, side: int, random: np.random.Generator) -> None:
    """A bent stem from the head to the lower edge, with two or three heart-shaped leaves."""
    green = _jitter((86, 128, 44), 16, random)
    foot = (top[0] + side * random.uniform(-0.14, 0.14), side * 1.05)
    bend = ((top[0] + foot[0]) / 2 + side * random.uniform(-0.08, 0.08), (top[1] + foot[1]) / 2)
    times = np.linspace(0, 1, 60)[:, None]
    path = (1 - times) ** 2 * np.array(top) + 2 * times * (1 - times) * np.array(bend) + times**2 * np.array(foot)
    thickness = radius * random.uniform(0.06, 0.09)
    for shift, shade in ((0.0, 0.8), (-0.35, 1.0), (-0.55, 1.15)):
        for x, y in path:
            r = thickness * (1 + shift)
            x = x + shift * thickness * 0.5
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=_colour(green * shade))
    first = -1 if random.uniform() < 0.5 else 1
    for index, share in enumerate(np.sort(random.uniform(0.5, 0.9, size=int(random.integers(2, 4))))):
        joint = path[int(share * 59)]
        reach = radius * random.uniform(0.75, 1.15)
        angle = first * (-1) ** index * random.uniform(0.9, 1.35) - math.pi / 2
        _leaf(canvas, (joint[0], joint[1]), angle, reach, _jitter((74, 122, 42), 16, random))


def _leaf(canvas: ImageDraw.ImageDraw, joint: Point, angle: float, reach: float, green: np.ndarray) -> None:
    along = np.linspace(0, 1, 24)
    width = 0.36 * np.sin(np.pi * along**0.62) ** 0.9
    for sign, shade in ((1, 0.88), (-1, 1.08)):
        edge = list(zip(along, sign * width, strict=True))
        canvas.polygon(_turned([*edge, (1.0, 0.0), (0.0, 0.0)], joint, angle, reach), fill=_colour(green * shade))
    vein = _turned([(0.0, 0.0), (0.96, 0.0)], joint, angle, reach)
    canvas.line(vein, fill=_colour(green * 1.35), width=max(1, int(reach * 0.018)))
    for share in (0.2, 0.35, 0.5, 0.65):
        for sign in (-1, 1):
            rib = _turned([(share, 0.0), (share + 0.14, sign * 0.2)], joint, angle, reach)
            canvas.line(rib, fill=_colour(green * 1.2), width=max(1, int(reach * 0.008)))


def _head(radius: float, random: np.random.Generator, at: Point) -> tuple[Image.Image, tuple[int, int], Image.Image]:
    """The flower head, seen a little from the side: image, corner and mask to paste."""
    room = int(radius * 2.6)
    layer = Image.new("RGBA", (room, room), (150, 110, 10, 0))
    canvas = ImageDraw.Draw(layer)
    middle = (room / 2, room / 2)
    inner = radius * random.uniform(0.4, 0.52)
    yellow = np.array(random.choice([(250, 196, 14), (255, 208, 24), (247, 180, 8)]), dtype=np.float64)
    count = int(random.integers(17, 26))
    for ring, (reach, shade) in enumerate(((1.0, 0.82), (0.97, 0.93), (0.88, 1.04))):
        offset = random.uniform(0, 2 * math.pi)
        for index in random.permutation(count):
            angle = offset + 2 * math.pi * (index + 0.33 * ring) / count + random.normal(0, 0.05)
            length = radius * reach * random.uniform(0.88, 1.05)
            tint = yellow * shade * random.uniform(0.93, 1.05)
            _petal(canvas, middle, angle, inner * 0.8, length, length * random.uniform(0.15, 0.2), tint)
    _disc(canvas, middle, inner, random)
    squash, tilt = random.uniform(0.8, 1.0), random.uniform(0, 180)
    layer = layer.resize((room, int(room * squash)), Image.Resampling.BICUBIC)
    layer = layer.rotate(tilt, resample=Image.Resampling.BICUBIC, expand=True)
    corner = (int(at[0] - layer.width / 2), int(at[1] - layer.height / 2))
    return layer.convert("RGB"), corner, layer.getchannel("A")


def _petal(
    canvas: ImageDraw.ImageDraw,
    middle: Point,
    angle: float,
    start: float,
    end: float,
    width: float,
    tint: np.ndarray,
) -> None:
    """A pointed petal, darker and more orange at its foot, with a few furrows."""
    along = np.linspace(0, 1, 16)
    half = np.sin(np.pi * (0.16 + 0.84 * along)) ** 0.8 * (1 - along**6)
    outline = [(start + (end - start) * a, h * width) for a, h in zip(along, half, strict=True)]
    mirrored = [(x, -y) for x, y in reversed(outline)]
    canvas.polygon(_turned(outline + mirrored, middle, angle, 1.0), fill=_colour(tint * 0.84))
    for share, shade in ((0.86, 0.96), (0.55, 1.03)):
        slim = [(x, y * share) for x, y in outline + mirrored]
        canvas.polygon(_turned(slim, middle, angle, 1.0), fill=_colour(tint * shade))
    for side in (-0.35, 0.0, 0.35):
        furrow = _turned([(start, side * width * 0.7), (start + (end - start) * 0.8, side * width)], middle, angle, 1.0)
        canvas.line(furrow, fill=_colour(tint * np.array([0.9, 0.8, 0.6])), width=max(1, int(width * 0.07)))


def _disc(canvas: ImageDraw.ImageDraw, middle: Point, radius: float, random: np.random.Generator) -> None:
    """Seeds on a golden-angle spiral: a dark rim of florets, brown seeds, a paler heart."""
    x, y = middle
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(52, 30, 12))
    heart = random.uniform(0.22, 0.42)
    count = int(random.integers(420, 620))
    for index in range(count):
        share = math.sqrt((index + 0.5) / count)
        angle = index * math.pi * (3 - math.sqrt(5))
        px, py = x + radius * share * math.cos(angle), y + radius * share * math.sin(angle)
        base = (112, 98, 40) if share < heart else (74, 44, 18) if share < 0.72 else (132, 84, 22)
        r = radius * (0.026 + 0.014 * share)
        canvas.ellipse((px - r, py - r, px + r, py + r), fill=_colour(_jitter(base, 20, random)))


def _developed(image: Image.Image, size: int, random: np.random.Generator) -> Image.Image:
    """Averaged to size, with slanting light, exposure, a little blur and grain."""
    small = image.resize((size, size), Image.Resampling.LANCZOS)
    small = small.filter(ImageFilter.GaussianBlur(size * random.uniform(0.0, 0.0035)))
    pixels = np.asarray(small).astype(np.float64)
    angle = random.uniform(0, 2 * math.pi)
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    light = 1 + 0.12 * (math.cos(angle) * across + math.sin(angle) * down)
    pixels = pixels * light[..., None] * random.uniform(0.88, 1.1) * random.uniform(0.96, 1.04, 3)
    pixels = pixels + random.normal(0, random.uniform(1, 5), pixels.shape)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _turned(points: Sequence[Point], origin: Point, angle: float, scale: float) -> list[Point]:
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    return [(origin[0] + x * cosine - y * sine, origin[1] + x * sine + y * cosine) for x, y in points]


def _jitter(colour: Colour, amount: int, random: np.random.Generator) -> np.ndarray:
    return np.array(colour) * random.uniform(0.94, 1.06) + random.uniform(-amount, amount, 3)


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (int(value) for value in values.clip(0, 255))
    return red, green, blue
