"""Images with a mask each: `images/` and `masks/`, paired by file name and never by order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from molyneux.datasets.folders import photos_below
from molyneux.datasets.photos import read_photo
from molyneux.errors import DataError

IMAGES, MASKS = "images", "masks"

BRIGHT = 127
"""A mask's pixels above this are the object; published masks hold 0 and 255, resized ones shades between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedImage:
    """An image and its mask; nothing is decoded yet."""

    name: str
    """What the two files have in common: the path below their folder, without the suffix."""
    image: Path
    mask: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFolder:
    """The pairs of a folder, by name."""

    root: Path
    pairs: tuple[MaskedImage, ...]
    unmasked: tuple[str, ...]
    """Images that have no mask and are left out."""

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def images(self) -> tuple[Path, ...]:
        """The images' files."""
        return tuple(pair.image for pair in self.pairs)


def read_masks(root: Path, images: str = IMAGES, masks: str = MASKS) -> MaskFolder:
    """Pair the images in `root/images` with the masks of the same name in `root/masks`; suffixes may differ.

    Raises:
        DataError: if a folder is missing or empty, a mask has no image, or two files of a folder share a name.
    """
    root = Path(root)
    by_name, found = (_by_name(root / folder) for folder in (images, masks))
    lonely = [name for name in found if name not in by_name]
    if lonely:
        raise DataError(
            f"{len(lonely)} of {len(found)} masks in {root / masks} have no image in {root / images}, "
            f"the first is {lonely[0]!r}: expected the same file names"
        )
    return MaskFolder(
        root=root,
        pairs=tuple(MaskedImage(name=name, image=by_name[name], mask=mask) for name, mask in found.items()),
        unmasked=tuple(name for name in by_name if name not in found),
    )


def read_mask(
    path: Path, *, bright: int = BRIGHT, size: tuple[int, int] | None = None, allow_empty: bool = False
) -> Bool[Tensor, "h w"]:
    """A mask image as truths: pixels whose grey is above `bright` (0 to 254; the paper's code takes 200).

    With `size` (height, width) the mask must have it: that of its image, say.

    Raises:
        DataError: if the file cannot be read, has another size, or has no pixel above `bright` unless `allow_empty`.
    """
    grey = np.asarray(read_photo(path).convert("L"))
    if size is not None and grey.shape != tuple(size):
        raise DataError(
            f"the mask {path} has {grey.shape[1]} x {grey.shape[0]} pixels: expected its image's {size[1]} x {size[0]}"
        )
    mask = grey > bright
    if not allow_empty and not mask.any():
        raise DataError(
            f"the mask {path} is empty: its brightest pixel is {int(grey.max())}, expected some above {bright}; "
            "remove it with its image, or allow empty masks"
        )
    return torch.from_numpy(mask)


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in photos_below(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        first = found.setdefault(name, path)
        if first != path:
            raise DataError(f"{folder} holds {first.name!r} and {path.name!r}: expected one file for each name")
    return found
