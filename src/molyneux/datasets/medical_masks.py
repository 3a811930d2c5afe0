"""Medical images in which something is marked, in the layouts in which they are published. For research only."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from molyneux.datasets.folders import photos_below
from molyneux.datasets.marked import Marked, MarkedSet, not_empty, of_files
from molyneux.datasets.photos import read_photo
from molyneux.errors import DataError
from molyneux.foreign import LARGEST_ANNOTATIONS, read_table

SIIM_TABLE = "train-rle.csv"
BRATS_MASK = "-seg.nii.gz"

_BUSI_MASK = re.compile(r"(.+)_mask(_\d+)?")
_BRIGHTEST = 0.995


def read_busi(root: Path) -> MarkedSet:
    """BUSI, breast ultrasound: a lesion's masks beside the image; 'normal' ones, whose mask is empty, are left out.

    Raises:
        DataError: if there are no such masks, or one has no image.

    Source: Al-Dhabyani et al. (2020), Dataset of breast ultrasound images.
    """
    masks: dict[Path, list[Path]] = {}
    others: set[Path] = set()
    for path in photos_below(root):
        match = _BUSI_MASK.fullmatch(path.stem)
        if match:
            masks.setdefault(path.with_name(f"{match[1]}{path.suffix}"), []).append(path)
        else:
            others.add(path)
    lonely = sorted(masks.keys() - others)
    if lonely:
        raise DataError(f"{root} has a mask for {lonely[0].name!r}, but not the image: put it beside its mask")
    lesions = sorted(path for path in masks if not path.name.startswith("normal"))
    items = [of_files(path.relative_to(root).with_suffix("").as_posix(), path, masks[path]) for path in lesions]
    return MarkedSet(root=root, items=tuple(items), left_out=len(others) - len(items))


def read_siim(root: Path, side: int = 1024) -> MarkedSet:
    """SIIM-ACR pneumothorax: runs that count down the columns of a `side` x `side` mask, each from the last one's end.

    Radiographs whose runs are -1 show no pneumothorax and are left out.

    Raises:
        DataError: if the table or a radiograph is missing, or not as expected.

    Source: Zawacki et al. (2019), SIIM-ACR Pneumothorax Segmentation.
    """
    path = root / SIIM_TABLE
    runs: dict[str, list[str]] = {}
    try:
        for _, row in read_table(path, "the runs in", ("ImageId", "EncodedPixels"), limit=LARGEST_ANNOTATIONS):
            runs.setdefault(row["ImageId"], []).append(row["EncodedPixels"])
    except DataError as error:
        raise DataError(f"{path} is no table of ImageId and EncodedPixels: {error}") from error
    images = {found.stem: found for found in photos_below(root)}
    shown = sorted(name for name, codes in runs.items() if codes != ["-1"])
    missing = [name for name in shown if name not in images]
    if missing:
        raise DataError(
            f"{root} has no image of {missing[0]!r} ({len(missing)} in all): expected {missing[0]}.dcm or .png"
        )
    items = [
        Marked(
            name=name,
            image=functools.partial(read_photo, images[name]),
            truth=functools.partial(_run_lengths, path, name, runs[name], side, images[name]),
        )
        for name in shown
    ]
    return MarkedSet(root=root, items=tuple(items), left_out=len(runs) - len(items))


def read_brats(root: Path, modality: str = "t2f") -> MarkedSet:
    """BraTS 2023 gliomas: the slices across the body's axis in which a tumour, of any of its labels, is marked.

    A slice is shown from 0 to the 99.5th percentile of its volume's values above 0, as grey; its name says the slice.
    All segmentations are read at once, which for the whole set takes minutes.

    Raises:
        DataError: if a volume is missing or cannot be read, or nibabel is not installed.

    Source: Adewole et al. (2023), The Brain Tumor Segmentation Challenge 2023.
    """
    items = []
    slices = 0
    for segmentation in sorted(root.rglob(f"*{BRATS_MASK}")):
        case = segmentation.name.removesuffix(BRATS_MASK)
        volume = segmentation.with_name(f"{case}-{modality}.nii.gz")
        if not volume.is_file():
            raise DataError(f"{segmentation.parent} has no {volume.name}: expected it beside {segmentation.name}")
        marked = _volume(segmentation) > 0
        slices += marked.shape[2]
        for index in np.flatnonzero(marked.any(axis=(0, 1))):
            items.append(
                Marked(
                    name=f"{case}-{index:03d}",
                    image=functools.partial(_grey_slice, volume, int(index)),
                    truth=functools.partial(_marked_slice, segmentation, int(index)),
                )
            )
    return MarkedSet(root=root, items=tuple(items), left_out=slices - len(items))


def _run_lengths(path: Path, name: str, codes: Iterable[str], side: int, image: Path) -> Tensor:
    mask = np.zeros(side * side, dtype=bool)
    try:
        for code in codes:
            numbers = np.asarray(code.split(), dtype=np.int64).reshape(-1, 2)
            ends = numbers.sum(axis=1).cumsum()
            if (numbers < 0).any() or ends.max() > mask.size:
                raise ValueError("a run leads out of the image")
            for start, end in zip(ends - numbers[:, 1], ends, strict=True):
                mask[start:end] = True
    except ValueError as error:
        raise DataError(f"{path} has runs for {name!r} that cannot be read: {error}") from error
    grid = Image.fromarray(mask.reshape(side, side).T.astype(np.uint8) * 255)
    resized = grid.resize(read_photo(image).size, Image.Resampling.NEAREST)
    return not_empty(torch.from_numpy(np.asarray(resized) > 0), f"{name!r} in {path}")


@functools.lru_cache(maxsize=2)
def _volume(path: Path) -> np.ndarray:
    try:
        import nibabel
    except ImportError as error:
        raise DataError("NIfTI volumes need nibabel: pip install 'molyneux[medical]'") from error
    try:
        volume: np.ndarray = np.asanyarray(nibabel.load(path).dataobj)
    except Exception as error:  # a broken file is met with errors of every kind
        raise DataError(f"cannot read the volume {path}: {' '.join(str(error).split())}") from error
    if volume.ndim != 3:
        raise DataError(f"{path} has the shape {volume.shape}: expected a volume")
    return volume


def _grey_slice(path: Path, index: int) -> Image.Image:
    volume = _volume(path)
    above = volume[volume > 0]
    top = float(np.quantile(above, _BRIGHTEST)) if above.size else 1.0
    grey = (volume[:, :, index] / top).clip(0, 1) * 255
    return Image.fromarray(_upright(grey).round().astype(np.uint8)).convert("RGB")


def _marked_slice(path: Path, index: int) -> Tensor:
    return torch.from_numpy(_upright(_volume(path)[:, :, index] > 0).copy())


def _upright(values: np.ndarray) -> np.ndarray:
    """BraTS's axes (to the left, to the back) as rows and columns."""
    return values.T
