"""From files that nobody has vouched for to tensors: checked, decoded, resized, in batches."""

import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from molyneux.datasets.folders import WHOLE
from molyneux.datasets.scans import read_scan, scan_size
from molyneux.datasets.windows import Window, is_scan
from molyneux.errors import DataError
from molyneux.framing import LARGEST_PHOTO, Fit, Framing
from molyneux.framing import square as square
from molyneux.shapes import Images

FORMATS = ("JPEG", "PNG", "WEBP")

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


def read_photo(path: Path, window: Window = WHOLE) -> Image.Image:
    """The image in a JPEG, PNG or WebP file as 8-bit RGB, upright as its EXIF orientation says.

    DICOM files and NIfTI volumes are shown through `window` (`read_scan`).

    Transparent parts become white, 16-bit greys are scaled, of an animation the first frame counts.

    Raises:
        DataError: if the file is missing, is no such image, is cut short, or has more than 25 megapixels;
            the size is checked before anything is decoded.
    """
    if is_scan(Path(path).name):
        return read_scan(Path(path), window)
    with _opened(Path(path)) as image:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        upright = _as_rgb(image)
        return upright if turn is None else upright.transpose(turn)


def check_headers(paths: Iterable[Path]) -> None:
    """Open every photo, decoding nothing.

    Raises:
        DataError: naming the first that is missing, no image, or too large.
    """
    for path in map(Path, paths):
        if is_scan(path.name):
            scan_size(path)
            continue
        with _opened(path):
            pass


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of a photo that is upright, from its header.

    Raises:
        DataError: as for `check_headers`.
    """
    if is_scan(Path(path).name):
        return scan_size(Path(path))
    with _opened(Path(path)) as image:
        width, height = image.size
        # the latter four orientations lie on a side
        return (height, width) if image.getexif().get(_ORIENTATION, 1) >= 5 else (width, height)


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
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, of which the header alone has been read; what goes wrong within is a DataError."""
    if not path.is_file():
        raise DataError(f"no photo at {path}: expected a JPEG, PNG or WebP file")
    try:
        with _open(path) as image:
            _check_size(path, image.size)
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"cannot read the photo {path}: it is no JPEG, PNG or WebP image; remove it") from error
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


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(deep.round().clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _pixels(path: Path, size: int | tuple[int, int], crop: float, fit: Fit | Framing, window: Window) -> np.ndarray:
    if isinstance(size, tuple):
        return np.array(read_photo(path, window).resize(size[::-1], Image.Resampling.BICUBIC))
    return np.array(square(read_photo(path), size, crop, fit))


def _as_images(pixels: Sequence[np.ndarray]) -> Images:
    values = torch.from_numpy(np.stack(pixels))
    return values.permute(0, 3, 1, 2).contiguous().float() / 255
