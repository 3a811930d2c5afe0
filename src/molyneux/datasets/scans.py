"""DICOM files and NIfTI volumes to images; of their headers nothing but what makes the image is ever used."""

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from molyneux.datasets.windows import DICOM, Window
from molyneux.errors import DataError

LARGEST_SLICE = 25_000_000
"""Pixels."""

LARGEST_VOLUME = 1_000_000_000
"""Bytes that a volume says it holds."""

_QUIET = threading.Lock()

ValueT = TypeVar("ValueT")


def read_scan(path: Path, window: Window) -> Image.Image:
    """The image as 8-bit RGB.

    Slope and intercept are applied; the window's values (its own, the file's, else the image's whole range) become 0
    to 255, linearly; MONOCHROME1 is inverted. Volumes are turned so that their slices lie as radiologists look at them.

    Raises:
        DataError: if the file cannot be read, is too large, has no such slice, or its library is not installed. The
            message holds nothing of the file's content.

    Source: DICOM PS3.3, C.11.2.1.2 (windowing).
    """
    return _dicom(path, window) if path.name.lower().endswith(DICOM) else _nifti(path, window)


def scan_size(path: Path) -> tuple[int, int]:
    """Width and height, from the header.

    Raises:
        DataError: as `read_scan`.
    """
    if path.name.lower().endswith(DICOM):
        header = _dicom_header(path)
        return int(header.Columns), int(header.Rows)
    shape = _upright(path).shape
    return shape[0], shape[1]


def windowed(values: np.ndarray, center: float | None, width: float | None) -> np.ndarray:
    """Greys in [0, 255]: linear over the window, or over all values where there is none; a flat image is black.

    >>> windowed(np.array([-200.0, 39.5, 240.0]), 40.0, 400.0).tolist()
    [0.0, 127.5, 255.0]
    """
    if center is None or width is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / (high - low) * 255 if high > low else np.zeros_like(values)
    if width == 1:
        return np.where(values > center - 0.5, 255.0, 0.0)
    scaled: np.ndarray = ((values - (center - 0.5)) / (width - 1) + 0.5).clip(0, 1) * 255
    return scaled


def _dicom_header(path: Path) -> Any:
    dcmread = _library("pydicom", path).dcmread
    header = _guarded(path, lambda: dcmread(path, stop_before_pixels=True))
    rows, columns = (header.get(key) for key in ("Rows", "Columns"))
    if not rows or not columns:
        raise DataError(f"{path} holds no image: expected a DICOM image; remove it")
    if rows * columns > LARGEST_SLICE:
        raise DataError(f"{path} has {columns} x {rows} pixels: expected at most {LARGEST_SLICE:,}; make it smaller")
    return header


def _dicom(path: Path, window: Window) -> Image.Image:
    kind = str(_dicom_header(path).get("PhotometricInterpretation", ""))
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{path} is {kind or 'of no known kind'}: expected MONOCHROME1 or MONOCHROME2; convert it")
    dcmread = _library("pydicom", path).dcmread

    def decode() -> tuple[np.ndarray, float | None, float | None]:
        whole = dcmread(path)
        values = np.asarray(whole.pixel_array, dtype=np.float64)
        values = values * float(whole.get("RescaleSlope", 1)) + float(whole.get("RescaleIntercept", 0))
        return values, _first(whole.get("WindowCenter")), _first(whole.get("WindowWidth"))

    values, center, width = _guarded(path, decode)
    if values.ndim == 3:
        values = values[_place(path, len(values), window)]
    if window.window_center is not None:
        center, width = window.window_center, window.window_width
    grey = windowed(values, center, width if width is not None and width >= 1 else None)
    return _image(255 - grey if kind == "MONOCHROME1" else grey)


def _nifti(path: Path, window: Window) -> Image.Image:
    volume = _upright(path)
    place = _place(path, volume.shape[2], window)
    values = _guarded(path, lambda: np.asarray(volume.dataobj[:, :, place], dtype=np.float64))
    if not np.isfinite(values).all():
        raise DataError(f"{path} holds values that are no numbers: mend or remove it")
    # canonical axes lead to the right, the front and the head
    return _image(windowed(values[::-1, ::-1].T, window.window_center, window.window_width))


def _upright(path: Path) -> Any:
    nibabel = _library("nibabel", path)
    volume = _guarded(path, lambda: nibabel.load(path))
    shape = volume.shape
    if len(shape) != 3 or 0 in shape or shape[0] * shape[1] > LARGEST_SLICE:
        raise DataError(f"{path} has the shape {tuple(shape)}: expected one volume of slices")
    if np.prod(shape, dtype=np.int64) * volume.get_data_dtype().itemsize > LARGEST_VOLUME:
        raise DataError(f"{path} has the shape {tuple(shape)}: expected at most {LARGEST_VOLUME:,} bytes")
    return _guarded(path, lambda: nibabel.as_closest_canonical(volume))


def _place(path: Path, count: int, window: Window) -> int:
    place = count // 2 if window.slice is None else window.slice
    if place >= count:
        raise DataError(f"{path} has {count} slices, counted from 0: there is no slice {place}")
    return place


def _image(grey: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(grey.round().clip(0, 255).astype(np.uint8))).convert("RGB")


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value) if isinstance(value, str | int | float) else float(value[0]) if len(value) else None


def _library(name: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(f"{path} is read with {name}, which is missing: install molyneux[medical]") from error


def _guarded(path: Path, read: Callable[[], ValueT]) -> ValueT:
    """What `read` gives; whatever goes wrong within is told by its kind, for messages may quote what identifies."""
    if not path.is_file():
        raise DataError(f"no file at {path}: expected a DICOM file or a NIfTI volume")
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except Exception as error:
        raise DataError(
            f"cannot read {path}: {type(error).__name__}; expected an uncompressed DICOM file or a NIfTI volume"
        ) from None
