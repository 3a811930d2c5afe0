"""Images in which an object is marked: what all layouts of such sets come to; nothing is decoded at first."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from molyneux.datasets.folders import left_out_notes, listing_below
from molyneux.datasets.masks import IMAGES, MASKS, read_mask, read_masks
from molyneux.datasets.photos import read_photo
from molyneux.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """An image and the mask of what is sought in it."""

    name: str
    """Different from all others of the set."""
    image: Callable[[], Image.Image]
    truth: Callable[[], Bool[Tensor, "h w"]] | None
    """In the image's size, with at least one pixel set; None where nothing is marked."""
    sought: str | None = None
    """What the mask marks, where the set has a name for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedSet:
    """Marked images."""

    root: Path
    items: tuple[Marked, ...]
    left_out: int
    """Images in which nothing is marked."""
    notes: tuple[str, ...] = ()
    """What there is to say of other files, or marks, that were left out."""

    def __post_init__(self) -> None:
        if not self.items:
            raise DataError(f"{self.root} has no marked images")
        names = Counter(item.name for item in self.items)
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            raise DataError(f"{self.root} has two images called {twice!r}: give each its own name")

    @property
    def categories(self) -> tuple[str, ...]:
        """What the set says is marked, in order, each once."""
        return tuple(dict.fromkeys(item.sought for item in self.items if item.sought is not None))

    @property
    def is_marked(self) -> bool:
        """Whether there is a mask of each image; a folder of plain images has none."""
        return all(item.truth is not None for item in self.items)

    def __len__(self) -> int:
        return len(self.items)


def read_folders(root: Path, images: str = IMAGES, masks: str = MASKS) -> MarkedSet:
    """Two folders of files with the same names; errors as for `read_masks`."""
    found = read_masks(root, images, masks)
    return MarkedSet(
        root=root,
        items=tuple(of_files(pair.name, pair.image, [pair.mask]) for pair in found.pairs),
        left_out=len(found.unmasked),
        notes=found.notes,
    )


def read_plain(root: Path) -> MarkedSet:
    """All photos in a folder and its sub-folders, without marks; errors as for `listing_below`."""
    listing = listing_below(root)
    return MarkedSet(
        root=root,
        items=tuple(
            Marked(name=path.relative_to(root).as_posix(), image=functools.partial(read_photo, path), truth=None)
            for path in listing.photos
        ),
        left_out=0,
        notes=left_out_notes(root, listing.left_out),
    )


def of_files(name: str, image: Path, masks: Iterable[Path]) -> Marked:
    """An image with one mask, or with several that are taken together, in files of its size."""
    return Marked(
        name=name, image=functools.partial(read_photo, image), truth=functools.partial(_united, image, tuple(masks))
    )


def _united(image: Path, masks: tuple[Path, ...]) -> Tensor:
    """The masks of several lesions of an image as one."""
    width, height = read_photo(image).size
    parts = [read_mask(mask, size=(height, width), allow_empty=len(masks) > 1) for mask in masks]
    return not_empty(torch.stack(parts).any(dim=0), str(image))


def not_empty(mask: Tensor, what: str) -> Tensor:
    """The mask.

    Raises:
        DataError: if no pixel of it is set.
    """
    if not mask.any():
        raise DataError(f"nothing is marked in {what}: remove it, or its mask")
    return mask
