"""Photos as people have them, paths, folders, PIL images and arrays, to batches of pixels; few are open at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from molyneux.datasets.folders import SUFFIXES, WHOLE
from molyneux.datasets.photos import Deep, read_depth
from molyneux.datasets.windows import Window
from molyneux.errors import DataError
from molyneux.foreign import is_plain
from molyneux.shapes import Images
from molyneux.synthetic import SyntheticImages, as_png

_AT_ONCE = 50
_DECODERS = 2


@dataclass(frozen=True, slots=True)
class Given:
    """One photo: its name, and what it is read from."""

    name: str
    """Its path as it was given, or 'image 1' for one that has none."""
    source: Path | Image.Image | np.ndarray | Tensor

    @property
    def path(self) -> Path | None:
        """Its file, if it lies in one."""
        return self.source if isinstance(self.source, Path) else None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some photos in order: those that could be read with their pixels, and why others could not."""

    photos: tuple[Given, ...]
    pixels: Images
    """(n, 3, size, size) in [0, 1], one for each of `photos`."""
    unreadable: tuple[tuple[str, str], ...]
    """Name and reason."""
    depths: tuple[Deep, ...]
    """Of each photo of 16 bits the highest value."""


def given_photos(photos: object) -> tuple[Given, ...]:
    """All photos that a value stands for; no pixel is read.

    A path is a file, or a folder whose photos are meant, but not those of its sub-folders. An array is one image,
    (h, w), (h, w, 3) or (h, w, 4), or several, (n, h, w, 3); whole numbers run to 255, others to 1. A tensor is one,
    (3, h, w), or several, (n, 3, h, w), in [0, 1]. `SyntheticImages` are their images. An iterable is all its members.

    Raises:
        DataError: if there are none, a file or folder is not there, or a value is of another kind or shape.
    """
    found = tuple(_each(photos))
    if not found:
        raise DataError("no photo was given: expected a file, a folder of photos, a PIL image or an array")
    return tuple(
        Given(f"image {place}", one) if isinstance(one, Image.Image | np.ndarray | Tensor) else one
        for place, one in enumerate(found, start=1)
    )


def photo_batches(
    photos: Sequence[Given],
    framed: Callable[[Image.Image], Image.Image],
    window: Window = WHOLE,
    count: int = _AT_ONCE,
) -> Iterator[Batch]:
    """The photos, made square by `framed`, `count` at a time.

    The next batch is decoded while this one is used; no more than two are held.
    """

    def pixels(photo: Given) -> tuple[np.ndarray, Deep | None]:
        image, depth = _image(photo, window)
        return np.array(framed(image)), depth

    groups = iter(photos)
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="photos") as pool:
        waiting: list[list[tuple[Given, Future[tuple[np.ndarray, Deep | None]]]]] = []
        try:
            while True:
                group = [(photo, pool.submit(pixels, photo)) for photo in islice(groups, count)]
                if group:
                    waiting.append(group)
                if not waiting:
                    return
                if len(waiting) == 2 or not group:
                    yield _batch(waiting.pop(0))
        finally:
            for group in waiting:
                for _, future in group:
                    future.cancel()


def _each(value: object) -> Iterator[Any]:
    match value:
        case Given():
            yield value
        case str() | Path():
            if str(value).startswith(("http://", "https://")):
                raise DataError(f"{value} is an address: download the photo first, and give its file")
            yield from _files(Path(value))
        case Image.Image():
            yield value
        case np.ndarray() | Tensor():
            yield from _arrays(value)
        case SyntheticImages():
            yield from map(as_png, value.pixels)
        case Iterable() if not isinstance(value, bytes | Mapping):
            for one in value:
                yield from _each(one)
        case _:
            raise DataError(
                f"{type(value).__name__} is no photo: expected a path, a folder, a PIL image, an array, or several"
            )


def _files(path: Path) -> Iterator[Given]:
    if not is_plain(str(path)):
        raise DataError(f"{str(path)!r} has control characters in its name, or no UTF-8: rename it")
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"no photo at {path}: expected a file or a folder of photos")
        yield Given(str(path), path)
        return
    entries = sorted(path.iterdir())
    photos = [entry for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.is_file()]
    photos = [photo for photo in photos if not photo.name.startswith(".") and is_plain(photo.name)]
    if not photos:
        folders = sum(entry.is_dir() and not entry.name.startswith(".") for entry in entries)
        if folders:
            some = "its sub-folder" if folders == 1 else f"its {folders} sub-folders one by one"
            raise DataError(f"{path} has no photos in it, and those of sub-folders are not read: name {some}")
        raise DataError(f"{path} has no photos: expected {', '.join(SUFFIXES)} files in it")
    yield from (Given(str(photo), photo) for photo in photos)


def _arrays(value: np.ndarray | Tensor) -> Iterator[np.ndarray | Tensor]:
    shape = tuple(value.shape)
    if isinstance(value, Tensor):
        whole, parts = value.ndim == 3 and shape[0] == 3, value.ndim == 4 and shape[1] == 3
        expected = "(3, h, w) or (n, 3, h, w)"
    else:
        whole = value.ndim == 2 or (value.ndim == 3 and shape[2] in (3, 4))
        parts = value.ndim == 4 and shape[3] in (3, 4)
        expected = "(h, w), (h, w, 3), (h, w, 4) or (n, h, w, 3)"
    if not (whole or parts) or 0 in shape:
        raise DataError(
            f"an {'tensor' if isinstance(value, Tensor) else 'array'} of shape {shape} is no image: "
            f"expected {expected}".replace("an tensor", "a tensor")
        )
    yield from value if parts else (value,)


def _image(photo: Given, window: Window) -> tuple[Image.Image, Deep | None]:
    """The photo, and of a file of 16 bits the highest value."""
    match photo.source:
        case Path():
            return read_depth(photo.source, window)
        case Image.Image():
            return _on_white(ImageOps.exif_transpose(photo.source)), None
        case Tensor():
            return as_png(_checked(photo.source.detach().float().cpu())), None
        case array:
            values = array if array.dtype == np.uint8 else _bytes(array)
            return _on_white(Image.fromarray(np.ascontiguousarray(values))), None


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _bytes(array: np.ndarray) -> np.ndarray:
    if np.issubdtype(array.dtype, np.floating):
        values = _checked(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))).numpy()
        return (values * 255).round().astype(np.uint8)
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.min() < 0 or array.max() > 255:
        raise DataError(f"the values lie between {array.min()} and {array.max()}: expected 0 to 255")
    return array.astype(np.uint8)


def _checked(values: Tensor) -> Tensor:
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise DataError(f"the values lie between {low:g} and {high:g}: expected 0 to 1")
    return values.clamp(0, 1)


def _batch(group: Sequence[tuple[Given, Future[tuple[np.ndarray, Deep | None]]]]) -> Batch:
    photos, pixels, unreadable, depths = [], [], [], []
    for photo, future in group:
        try:
            square, depth = future.result()
            pixels.append(square)
            photos.append(photo)
            depths += [] if depth is None else [depth]
        except DataError as error:
            unreadable.append((photo.name, str(error)))
    values = torch.from_numpy(np.stack(pixels)) if pixels else torch.zeros(0, 1, 1, 3, dtype=torch.uint8)
    images = values.permute(0, 3, 1, 2).contiguous().float() / 255
    return Batch(tuple(photos), images, tuple(unreadable), tuple(depths))
