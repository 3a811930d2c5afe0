"""The layouts in which sets of marked images are read, by name or by what their files show."""

from collections.abc import Callable, Mapping
from pathlib import Path

from molyneux.datasets.coco_instances import ANNOTATIONS, read_coco
from molyneux.datasets.folders import SUFFIXES, files_below
from molyneux.datasets.marked import MarkedSet, read_folders, read_plain
from molyneux.datasets.masks import IMAGES, MASKS
from molyneux.datasets.medical_masks import BRATS_MASK, SIIM_TABLE, read_brats, read_busi, read_siim
from molyneux.datasets.sets import data_set
from molyneux.errors import DataError

UDIAT = {"images": "original", "masks": "GT"}
"""UDIAT's own names of the two folders."""


def _read_udiat(root: Path) -> MarkedSet:
    """UDIAT as its authors send it, or renamed to `images` and `masks`."""
    return read_folders(root) if (root / MASKS).is_dir() else read_folders(root, **UDIAT)


READERS: Mapping[str, Callable[[Path], MarkedSet]] = {
    "masks": read_folders,
    "coco-instances": read_coco,
    "busi": read_busi,
    "udiat": _read_udiat,
    "unitochest": read_folders,
    "siim": read_siim,
    "brats23": read_brats,
    "plain": read_plain,
}


def read_marked(marked: str | Path) -> MarkedSet:
    """The set that 'NAME:FOLDER' names, or a folder in whichever of the layouts its files show.

    A folder that shows none is one of plain images, in which nothing is marked.

    Raises:
        DataError: naming what is missing, what was expected, and where the set can be had.
    """
    name, colon, folder = str(marked).partition(":")
    root = Path(folder if colon and name in READERS else marked)
    if not root.is_dir():
        raise DataError(f"{root} is {'a file' if root.exists() else 'not there'}: expected a folder of marked images")
    kind = name if colon and name in READERS else _shown(root)
    try:
        return READERS[kind](root)
    except DataError as error:
        if kind == "plain":
            raise
        found = data_set(kind)
        assert found is not None
        raise DataError(
            f"{str(error).rstrip('.')}; {kind} is expected as {found.layout}, and can be had from {found.source}"
        ) from error


def _shown(root: Path) -> str:
    """The layout that a set's files show."""
    signs: Mapping[str, Callable[[], bool]] = {
        "siim": (root / SIIM_TABLE).is_file,
        "coco-instances": (root / ANNOTATIONS).is_file,
        "masks": (root / MASKS).is_dir,
        "udiat": (root / UDIAT["masks"]).is_dir,
        "brats23": lambda: any(root.rglob(f"*{BRATS_MASK}")),
        "busi": lambda: any(root.rglob("*_mask.*")),
    }
    found = next((name for name, sign in signs.items() if sign()), None)
    if found is None and (root / IMAGES).is_dir():
        raise DataError(
            f"{root} holds {IMAGES}/, and neither {MASKS}/ nor {ANNOTATIONS} beside it: add one, or give "
            f"{root / IMAGES} for heat maps without scores"
        )
    if found is None and not any(path.name.lower().endswith(SUFFIXES) for path in files_below(root)):
        raise DataError(
            f"{root} is in none of the layouts of marked images ({', '.join(READERS)}): expected images/ and masks/ "
            "with the same file names, or another that 'molyneux list datasets' explains"
        )
    return found or "plain"
