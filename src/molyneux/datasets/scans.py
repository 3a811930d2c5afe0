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

_TRANSFORMS = (
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
)

_QUIET = threading.RLock()

ValueT = TypeVar("ValueT")


def read_scan(path: Path, window: Window) -> Image.Image:
    """The image as 8-bit RGB.

    The modality's table, or slope and intercept, are applied; then the given window's values become 0 to 255,
    linearly. Without one, the file's table or window does that, else the image's whole range. MONOCHROME1 is inverted.
    Padding is black and no part of the range. Volumes are turned so that their slices lie as radiologists look at them.

    Raises:
        DataError: if the file cannot be read, is too large, has no such slice, or its library is not installed. The
            message holds nothing of the file's content.

    Source: DICOM PS3.3, C.11.1 and C.11.2; pydicom's functions for tables.
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


def slice_count(path: Path) -> int:
    """Slices of a NIfTI volume, or frames of a DICOM file, from the header.

    Raises:
        DataError: as `read_scan`.
    """
    if path.name.lower().endswith(DICOM):
        return max(1, int(_guarded(path, lambda: _dicom_header(path).get("NumberOfFrames") or 1)))
    return int(_upright(path).shape[2])


def windowed(values: np.ndarray, center: float | None, width: float | None, function: str = "LINEAR") -> np.ndarray:
    """Greys in [0, 255] over a window, or over all values where there is none; a flat image is black.

    The `function` is DICOM's: 'LINEAR', 'LINEAR_EXACT' or 'SIGMOID'.

    Raises:
        ValueError: if it is another.

    Source: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.

    >>> windowed(np.array([-200.0, 39.5, 240.0]), 40.0, 400.0).tolist()
    [0.0, 127.5, 255.0]
    """
    if center is None or width is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / (high - low) * 255 if high > low else np.zeros_like(values)
    if function == "SIGMOID":
        # beyond 700 the exponential is no longer a number
        risen: np.ndarray = 255 / (1 + np.exp((-4 * (values - center) / width).clip(-700, 700)))
        return risen
    if function == "LINEAR_EXACT":
        return ((values - center) / width + 0.5).clip(0, 1) * 255
    if function != "LINEAR":
        raise ValueError(function)
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

    def decode() -> tuple[np.ndarray, np.ndarray]:
        whole = dcmread(path)
        stored = np.asarray(whole.pixel_array)
        place = _place(path, len(stored), window) if stored.ndim == 3 else 0
        frame = stored[place] if stored.ndim == 3 else stored
        said = _said_of_frame(whole, place)
        padding = _padding(frame, whole)
        return _greys(path, _real_values(path, frame, said), padding, said, window), padding

    grey, padding = _guarded(path, decode)
    return _image(np.where(padding, 0, 255 - grey if kind == "MONOCHROME1" else grey))


def _said_of_frame(whole: Any, place: int) -> Any:
    """What turns stored values into greys, of one frame: its own, else what all frames share, else the file's.

    Source: DICOM PS3.3, C.7.6.16 (functional groups).
    """
    from pydicom.dataset import Dataset

    said = Dataset()
    said.file_meta = whole.file_meta
    groups = [whole]
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = whole.get(name) or []
        item = items[place if name.startswith("Per") else 0] if len(items) else None
        for group in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            groups += list(item.get(group) or []) if item is not None else []
    for group in groups:
        for keyword in _TRANSFORMS:
            # an element without a value says as much as none
            if keyword in group and group.get(keyword) not in (None, ""):
                said[keyword] = group[keyword]
    return said


def _padding(frame: np.ndarray, whole: Any) -> np.ndarray:
    """Which pixels are no part of the image, and only fill the square."""
    first = whole.get("PixelPaddingValue")
    if first is None or first == "":
        return np.zeros(frame.shape, dtype=bool)
    last = whole.get("PixelPaddingRangeLimit")
    # many files say a signed value as the unsigned one of the same bits, or the other way round
    ends = np.array([int(first), int(first if last is None or last == "" else last)]).astype(frame.dtype)
    return np.asarray((frame >= ends.min()) & (frame <= ends.max()))


def _real_values(path: Path, frame: np.ndarray, said: Any) -> np.ndarray:
    """Stored values through the modality's table, or its slope and intercept."""
    from pydicom.pixels import apply_modality_lut
    from pydicom.valuerep import DSfloat

    if not said.get("ModalityLUTSequence"):
        slope, intercept = float(said.get("RescaleSlope", 1)), float(said.get("RescaleIntercept", 0))
        if not np.isfinite([slope, intercept]).all() or slope == 0:
            raise DataError(f"{path} has a slope or intercept that makes no image: mend or remove it")
        said.RescaleSlope, said.RescaleIntercept = DSfloat(slope), DSfloat(intercept)
    return np.asarray(apply_modality_lut(frame, said))


def _greys(path: Path, values: np.ndarray, padding: np.ndarray, said: Any, window: Window) -> np.ndarray:
    from pydicom.pixels import apply_voi_lut

    if window.window_center is not None:
        return windowed(values.astype(np.float64), window.window_center, window.window_width)
    if said.get("VOILUTSequence"):
        count, first, bits = (int(part) for part in said.VOILUTSequence[0].LUTDescriptor)
        count = count or 2**16
        if bits == 8 and count > 256:
            # pydicom looks up 8-bit tables by 8-bit places
            raise DataError(f"{path} has a table of {count} places for 8-bit greys, which is not read: convert it")
        places = values.round().clip(first, first + count - 1).astype(np.int64)
        found: np.ndarray = np.asarray(apply_voi_lut(places, said), dtype=np.float64) / (2**bits - 1) * 255
        return found
    center, width = _first(said.get("WindowCenter")), _first(said.get("WindowWidth"))
    function = str(said.get("VOILUTFunction", "LINEAR")).upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise DataError(f"{path} has a window of a kind that is not known: give --window-center and --window-width")
    values = values.astype(np.float64)
    if center is not None and width is not None and (width >= 1 or (width > 0 and function != "LINEAR")):
        if not np.isfinite([center, width]).all():
            raise DataError(f"{path} has a window that is no number: give --window-center and --window-width")
        return windowed(values, center, width, function)
    inside = values[~padding]
    if inside.size == 0:
        return np.zeros_like(values)
    return windowed(values.clip(inside.min(), inside.max()), None, None)


def _nifti(path: Path, window: Window) -> Image.Image:
    volume = _upright(path)
    if volume.get_data_dtype().kind not in "iuf":
        raise DataError(f"{path} holds values that are no greys: expected whole or real numbers; convert it")
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
        raise DataError(f"{path} is read with {name}, which is missing: pip install 'molyneux[medical]'") from error


def _guarded(path: Path, read: Callable[[], ValueT]) -> ValueT:
    """What `read` gives; whatever goes wrong within is told by its kind, for messages may quote what identifies."""
    if not path.is_file():
        raise DataError(f"no file at {path}: expected a DICOM file or a NIfTI volume")
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"cannot read {path}: {type(error).__name__}; expected a whole, uncompressed DICOM file or NIfTI volume"
        ) from None
