"""From a photo of any shape to the square that a model reads, as the model's makers do it."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

LARGEST_PHOTO = 25_000_000
"""Pixels; a larger image is refused before it is decoded."""

Fit = Literal["crop", "pad", "longest", "squash"]
"""How an image becomes square: see `square`."""

Interpolation = Literal["bilinear", "bicubic"]

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_NATIVE_BILINEAR = ("AVX2", "AVX512")
_SAID = {
    "crop": "shorter side to {shorter}, {how}, then the middle {size} x {size}",
    "pad": "on a black square as wide as the longer side, then to {size} x {size}, {how}",
    "longest": "longer side to {size}, {how}, then on a square of {size} x {size} filled with {fill}",
    "squash": "to {size} x {size}, {how}, whatever the shape",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a model wants its photos framed; the default is that of OpenAI's CLIP."""

    fit: Fit = "crop"
    interpolation: Interpolation = "bicubic"
    fill: int | tuple[int, int, int] = 0
    """Grey level or colour, 0 to 255, beside a photo whose longer side fits ('longest')."""
    kernel: Literal["pillow", "torch"] = "pillow"
    """Whose resampling of bytes: the two differ by a grey level here and there."""
    odd_margin: Literal["even", "down"] = "even"
    """Where the cut begins when the margin is odd: torchvision rounds half of it to the even number, transformers
    rounds it down."""

    def said(self, size: int, crop: float) -> str:
        """In words."""
        shorter = _shorter(size, crop)
        return _SAID[self.fit].format(size=size, shorter=shorter, how=self.interpolation, fill=self.fill)


def square(image: Image.Image, size: int, crop: float = 0.875, fit: Fit | Framing = "crop") -> Image.Image:
    """The image as (size, size).

    'crop' is its middle: shorter side to round(size / crop), then cut.

    'pad' is all of it, in the middle of a black square whose side is its longer side (but at least `size`, so
    that small images are not enlarged), then resized.

    'longest' is all of it: longer side to `size`, then put in the middle of a square of one colour.

    'squash' is all of it, resized, whatever its shape. With these three `crop` has no effect.
    """
    framing = Framing(fit=fit) if isinstance(fit, str) else fit
    if framing.fit == "squash":
        return _resized(image, (size, size), framing)
    if framing.fit == "pad":
        return _padded(image, size, framing)
    if framing.fit == "longest":
        return _longest(image, size, framing)
    return _cropped(image, size, _shorter(size, crop), framing)


def _shorter(size: int, crop: float) -> int:
    return max(size, round(size / crop))


def _cropped(image: Image.Image, size: int, shorter: int, framing: Framing) -> Image.Image:
    width, height = image.size
    wide, high = (
        (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
    )
    left, top = (_margin(length - size, framing) for length in (wide, high))
    if wide * high <= LARGEST_PHOTO:
        return _resized(image, (wide, high), framing).crop((left, top, left + size, top + size))
    # a very long image costs no more than others: both steps in one, of the part that remains
    across, down = width / wide, height / high
    box = (left * across, top * down, min((left + size) * across, width), min((top + size) * down, height))
    return image.resize((size, size), _PILLOW[framing.interpolation], box=box)


def _margin(both: int, framing: Framing) -> int:
    return round(both / 2) if framing.odd_margin == "even" else both // 2


def _longest(image: Image.Image, size: int, framing: Framing) -> Image.Image:
    ratio = max(image.height / size, image.width / size)
    wide, high = (max(1, round(length / ratio)) for length in image.size)
    fill = framing.fill if isinstance(framing.fill, tuple) else (framing.fill,) * 3
    canvas = Image.new("RGB", (size, size), fill)
    canvas.paste(_resized(image, (wide, high), framing), ((size - wide) // 2, (size - high) // 2))
    return canvas


def _padded(image: Image.Image, size: int, framing: Framing) -> Image.Image:
    side = max(size, *image.size)
    largest = max(size, math.isqrt(LARGEST_PHOTO))
    if side > largest:
        # the black square would need more memory than any photo
        width, height = (max(1, round(length * largest / side)) for length in image.size)
        image, side = image.resize((width, height), _PILLOW[framing.interpolation]), largest
    canvas = Image.new(image.mode, (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return _resized(canvas, (size, size), framing)


def _resized(image: Image.Image, wanted: tuple[int, int], framing: Framing) -> Image.Image:
    """To (width, height)."""
    if framing.kernel == "pillow":
        return image.resize(wanted, _PILLOW[framing.interpolation])
    if image.size == wanted:
        return image
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous()
    # as torchvision does it: without these instructions its bilinear bytes go by way of floats
    by_bytes = framing.interpolation == "bicubic" or torch.backends.cpu.get_cpu_capability() in _NATIVE_BILINEAR
    found = interpolate(
        pixels if by_bytes else pixels.float(), wanted[::-1], mode=framing.interpolation, antialias=True
    )
    if not by_bytes:
        found = found.round()
    return Image.fromarray(found[0].byte().permute(1, 2, 0).contiguous().numpy())
