"""From files that nobody has vouched for to tensors: checked, decoded, resized, in batches."""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from molyneux.datasets.folders import WHOLE, PhotoFolder
from molyneux.datasets.scans import read_scan, scan_size, slice_count, windowed
from molyneux.datasets.windows import Kind, Window, is_scan
from molyneux.errors import ConfigError, DataError
from molyneux.framing import LARGEST_PHOTO, Fit, Framing
from molyneux.framing import square as square
from molyneux.shapes import Images

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")

_DARK = 2**14
"""16-bit values of a set that all lie below this are taken for values of fewer bits."""

_FORMATS_SAID = "JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image"

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DECODERS = 2
_MEGAPIXELS = f"{LARGEST_PHOTO // 1_000_000} megapixels"
_WARNING_FILTERS = threading.Lock()


class Deep(NamedTuple):
    """What an image of 16 bits a channel holds."""

    highest: int
    """Its highest value; of colours at most, since Pillow keeps the upper eight bits."""
    is_colour: bool


def read_photo(path: Path, window: Window = WHOLE) -> Image.Image:
    """The image in a file of one of `FORMATS` as 8-bit RGB, upright as its EXIF orientation says.

    DICOM files and NIfTI volumes are shown through `window` (`read_scan`), and so are 16-bit greys where it is given;
    else their 0 to 65535 becomes 0 to 255. Transparent parts become white. Of an animation the first frame counts.

    Raises:
        DataError: if the file is missing, is no such image, is cut short, has several pages or values of 32 bits, or
            more than 25 megapixels; the size is checked before anything is decoded.
    """
    return read_depth(path, window)[0]


def read_depth(path: Path, window: Window = WHOLE) -> tuple[Image.Image, Deep | None]:
    """What `read_photo` returns, and the highest value of an image of 16 bits; None for any other."""
    if is_scan(Path(path).name):
        return read_scan(Path(path), window), None
    with opened(Path(path)) as image:
        found = deep(image)  # looking for the orientation may decode, after which nothing tells of 16 bits
        turn = _TURNS.get(orientation(image))
        upright = _as_rgb(Path(path), image, window)
        return upright if turn is None else upright.transpose(turn), found


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """Rows and columns as `read_photo` turns an image with that EXIF orientation.

    >>> turned(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    """
    turns: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
        2: lambda one: one[:, ::-1],
        3: lambda one: one[::-1, ::-1],
        4: lambda one: one[::-1],
        5: lambda one: one.T,
        6: lambda one: one[::-1].T,
        7: lambda one: one[::-1, ::-1].T,
        8: lambda one: one[:, ::-1].T,
    }
    return turns[orientation](values) if orientation in turns else values


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where nothing is said, or something else."""
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def check_headers(paths: Iterable[Path], window: Window = WHOLE) -> frozenset[Kind]:
    """Open every photo, decoding nothing; what there is among them that a window is for.

    Raises:
        DataError: naming the first that is missing, no image, too large, or has no such slice.
    """
    return frozenset(kind for path in map(Path, paths) for kind in _kinds(path, window))


def checked(folder: PhotoFolder) -> PhotoFolder:
    """The folder, once its photos' headers have been read, with what they show.

    Raises:
        DataError: as `check_headers`.
    """
    kinds = check_headers(folder.paths, folder.window)
    dark = dark_notes(_depths(folder.paths), folder.window) if kinds & {"deep", "deep colour"} else ()
    return replace(folder, kinds=kinds, notes=(*folder.notes, *dark))


def check_window(window: Window, kinds: Iterable[Kind]) -> None:
    """Raise ConfigError if a window or a slice is given, and nothing among the photos can be shown through it."""
    found = set(kinds)
    if window.window_center is not None and not found & {"scan", "deep"}:
        raise ConfigError(
            "--window-center and --window-width change nothing: none of the photos is a DICOM file, a NIfTI volume or "
            "of 16-bit greys; leave them out"
        )
    if window.slice is not None and "volume" not in found:
        raise ConfigError("--slice changes nothing: none of the photos has several slices; leave it out")


def _kinds(path: Path, window: Window) -> Iterator[Kind]:
    if not is_scan(path.name):
        with opened(path) as image:
            if is_deep(image):
                yield "deep"
            elif _is_deep_colour(image):
                yield "deep colour"
        return
    scan_size(path)
    yield "scan"
    count = slice_count(path)
    if count > 1:
        yield "volume"
        if window.slice is not None and window.slice >= count:
            raise DataError(f"{path} has {count} slices, counted from 0: there is no slice {window.slice}")


def is_deep(image: Image.Image) -> bool:
    """Whether an image has greys of 16 bits."""
    return str(image.mode).startswith("I;16")


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether an image has 16 bits in more than one channel, of which Pillow keeps the upper eight."""
    return image.format in ("PNG", "TIFF") and not is_deep(image) and ";16" in str(image.tile)


def deep(image: Image.Image) -> Deep | None:
    """The highest value of an image of 16 bits a channel; None for any other."""
    if is_deep(image):
        return Deep(int(np.asarray(image).max()), is_colour=False)
    if _is_deep_colour(image):
        return Deep(max(high for _, high in image.convert("RGB").getextrema()) * 256 + 255, is_colour=True)
    return None


def dark_notes(found: Iterable[Deep], window: Window = WHOLE) -> tuple[str, ...]:
    """What to say of images of 16 bits that use little of their range, greys and colours apart."""
    found = list(found)
    greys, colours = ([one.highest for one in found if one.is_colour is kind] for kind in (False, True))
    notes = []
    if window.window_center is None and max(greys, default=_DARK) < _DARK:
        bits = max(1, max(greys).bit_length())
        notes.append(
            f"images of 16-bit greys ({len(greys)}) hold no value above {max(greys)} of 65535 and are shown nearly "
            f"black: for values of {bits} bits give --window-center {2 ** (bits - 1)} --window-width {2**bits}"
        )
    if max(colours, default=_DARK) < _DARK:
        notes.append(
            f"images of 16 bits in colour ({len(colours)}) hold no value above {max(colours)} of 65535 and are shown "
            "nearly black: save them with 8 bits, or over the whole range"
        )
    return tuple(notes)


def _depths(paths: Iterable[Path]) -> Iterator[Deep]:
    for path in paths:
        if not is_scan(path.name):
            with opened(path) as image:
                found = deep(image)
            if found is not None:
                yield found


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of a photo that is upright, from its header.

    Raises:
        DataError: as for `check_headers`.
    """
    if is_scan(Path(path).name):
        return scan_size(Path(path))
    with opened(Path(path)) as image:
        width, height = image.size
        # the latter four orientations lie on a side
        return (height, width) if orientation(image) >= 5 else (width, height)


def load_batch(
    paths: Sequence[Path], size: int, crop: float = 0.875, fit: Fit | Framing = "crop", window: Window = WHOLE
) -> Images:
    """The photos as `square` makes them, (n, 3, size, size) in [0, 1], in the order of `paths`.

    Raises:
        DataError: if a photo cannot be read.
    """
    if not paths:
        return torch.zeros(0, 3, size, size)
    return _as_images([_pixels(path, size, crop, fit, window) for path in paths])


def batches(
    paths: Sequence[Path],
    size: int | tuple[int, int],
    crop: float = 0.875,
    count: int = 50,
    fit: Fit | Framing = "crop",
    window: Window = WHOLE,
) -> Iterator[Images]:
    """`load_batch` for `count` photos at a time, the next batch being decoded while this one is used.

    A `size` of (height, width) resizes photos to that, bicubic and uncut.

    Raises:
        DataError: if a photo cannot be read.
    """
    groups = [paths[start : start + count] for start in range(0, len(paths), count)]
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="photos") as pool:
        waiting: list[list[Future[np.ndarray]]] = []
        try:
            for group in groups:
                waiting.append([pool.submit(_pixels, path, size, crop, fit, window) for path in group])
                if len(waiting) == 2:
                    yield _as_images([future.result() for future in waiting.pop(0)])
            if waiting:
                yield _as_images([future.result() for future in waiting.pop(0)])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image in a file, of which the header alone has been read; what goes wrong within is a DataError."""
    if not path.is_file():
        raise DataError(f"no photo at {path}: expected {_FORMATS_SAID}")
    try:
        with _open(path) as image:
            _check_size(path, image.size)
            if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
                raise DataError(f"the photo {path} has {image.n_frames} pages: expected one; save each as a photo")
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"cannot read the photo {path}: it is no {_FORMATS_SAID}; remove it") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"the photo {path} has far more than {_MEGAPIXELS}: make it smaller") from error
    except Exception as error:  # decoders meet broken files with errors of every kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot read the photo {path}: {reason}; replace or remove it") from error


def _open(path: Path) -> Image.Image:
    # Warning filters belong to the whole process: one thread at a time. Opening reads the header only.
    with _WARNING_FILTERS, warnings.catch_warnings():
        # the size is checked right after
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=FORMATS)


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > LARGEST_PHOTO:
        raise DataError(
            f"the photo {path} has {width} x {height} pixels: expected at most {_MEGAPIXELS}; make it smaller"
        )
    if width < 1 or height < 1:
        raise DataError(f"the photo {path} has {width} x {height} pixels: expected at least one; remove it")


def _as_rgb(path: Path, image: Image.Image, window: Window) -> Image.Image:
    if image.mode in ("I", "F"):
        raise DataError(
            f"the photo {path} holds values of 32 bits, whose range nothing says: save it with 8 or 16 bits"
        )
    if is_deep(image):
        values = np.asarray(image).astype(np.float64)
        deep = values / 257 if window.window_center is None else windowed(values, *window.bounds)
        image = Image.fromarray(deep.round().clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _pixels(path: Path, size: int | tuple[int, int], crop: float, fit: Fit | Framing, window: Window) -> np.ndarray:
    if isinstance(size, tuple):
        return np.array(read_photo(path, window).resize(size[::-1], Image.Resampling.BICUBIC))
    return np.array(square(read_photo(path, window), size, crop, fit))


def _as_images(pixels: Sequence[np.ndarray]) -> Images:
    values = torch.from_numpy(np.stack(pixels))
    return values.permute(0, 3, 1, 2).contiguous().float() / 255
