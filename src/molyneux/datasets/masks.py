"""Images with a mask each: `images/` and `masks/`, paired by file name and never by order."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from molyneux.datasets.folders import left_out_notes, listing_below
from molyneux.datasets.photos import is_deep, opened, orientation, read_photo, turned
from molyneux.datasets.windows import is_scan
from molyneux.errors import DataError

IMAGES, MASKS = "images", "masks"

BRIGHT = 127
"""Of 255: a mask's pixels above this are the object, where it has shades."""


_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif")

_NOISE = 16 / 255
"""By how much of the range a lossy format changes black and white."""

_SURE = 0.75
"""Of the range: what a lossy format has made of an object lies above half of it where the brightest is above this."""

_TINT = 24
"""How far a lossy format drives the channels of a grey apart."""


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
    notes: tuple[str, ...] = ()
    """What there is to say of other files that were left out."""

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
    (by_name, left_out), (found, others) = (_by_name(root / folder) for folder in (images, masks))
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
        notes=(*left_out, *others),
    )


def read_mask(
    path: Path, *, bright: int | None = None, size: tuple[int, int] | None = None, allow_empty: bool = False
) -> Bool[Tensor, "h w"]:
    """A mask image as truths.

    Of two values, 0 and another, the other is the object. Else pixels whose grey is above half of the range are, as the
    shades of a mask that was resized; with `bright` (0 to 254; the paper's code takes 200) those above that. Where the
    image is transparent in parts, what is visible must be of one colour, and is the object. Of two colours one must be
    black.

    With `size` (height, width) the mask must have it: that of its image, say.

    Raises:
        DataError: if the file cannot be read, has another size, has no pixel of the object unless `allow_empty`, or
            shows more than an object and what is around it: several colours, areas of several greys, or transparency
            over several colours.
    """
    path = Path(path)
    greys, top = _scan_greys(path) if is_scan(path.name) else _greys(path)
    if size is not None and greys.shape != tuple(size):
        raise DataError(
            f"the mask {path} has {greys.shape[1]} x {greys.shape[0]} pixels: expected its image's "
            f"{size[1]} x {size[0]}"
        )
    mask = greys > bright * top / 255 if bright is not None else _object(path, greys, top)
    if not allow_empty and not mask.any():
        raise DataError(
            f"the mask {path} is empty: its brightest pixel is {greys.max():g}, expected some above "
            f"{BRIGHT if bright is None else bright}; mark the object, or remove the mask with its image"
        )
    return torch.from_numpy(np.ascontiguousarray(mask))


def _object(path: Path, greys: np.ndarray, top: float) -> np.ndarray:
    """Which pixels are the object; `top` is the brightest that the file's values go."""
    values = np.unique(greys)
    lossy = path.suffix.lower() in _LOSSY
    if len(values) == 2 and values[0] == 0 and not lossy:
        return np.asarray(greys > 0)
    if len(values) == 1 and 0 < values[0] <= top / 2:
        raise DataError(
            f"the mask {path} is {values[0]:g} everywhere, of at most {top:g}, which says neither object nor not: "
            f"expected 0 around the object and {top:g} in it"
        )
    if lossy and _NOISE * top < values[-1] <= _SURE * top:
        raise DataError(
            f"the mask {path} has values of 0 to {values[-1]:g} in a format that changes them: expected {top:g} in the "
            "object; save it as PNG"
        )
    flat = _flat_values(greys, top, _NOISE if lossy else 0.0)
    if len(flat):
        listed = ", ".join(f"{value:g}" for value in values[:4]) + (", ..." if len(values) > 4 else "")
        raise DataError(
            f"the mask {path} has the values {listed}, with whole areas of {flat[0]:g}: several labels, of which it "
            f"does not say which is the object; expected 0 around the object and {top:g} in it"
        )
    if not lossy and 0 < values[-1] <= BRIGHT * top / 255:
        raise DataError(
            f"the mask {path} has no value above half of its range: the highest is {values[-1]:g}, of at most {top:g}; "
            f"expected 0 around the object and {top:g} in it"
        )
    return np.asarray(greys > BRIGHT * top / 255)


def _flat_values(greys: np.ndarray, top: float, noise: float) -> np.ndarray:
    """Values between the darkest and the brightest that fill areas; the shades of an edge do not."""
    if min(greys.shape) < 3:
        return greys[:0, 0]
    inner = greys[1:-1, 1:-1]
    high, wide = inner.shape
    around = [greys[down : down + high, across : across + wide] for down in range(3) for across in range(3)]
    same = np.logical_and.reduce([part == inner for part in around])
    return np.unique(inner[same & (inner > noise * top) & (inner < greys.max() - noise * top)])


def _greys(path: Path) -> tuple[np.ndarray, float]:
    """A mask file's greys, upright, and the brightest that its values go."""
    with opened(path) as image:
        if image.has_transparency_data:
            greys, top = _visible(path, image), 255.0
        elif image.mode == "1":
            greys, top = np.asarray(image).astype(np.float64) * 255, 255.0
        elif image.mode in ("I", "F") or is_deep(image):
            greys, top = np.asarray(image).astype(np.float64), 65535.0
            if not np.isfinite(greys).all() or greys.min() < 0 or (greys.max() > top and len(np.unique(greys)) > 2):
                raise DataError(f"the mask {path} has values outside of 0 to 65535: save it with 0 and 255")
        else:
            greys, top = _of_colours(path, np.asarray(image.convert("RGB"))), 255.0
        return turned(greys, orientation(image)), top


def _scan_greys(path: Path) -> tuple[np.ndarray, float]:
    return np.asarray(read_photo(path).convert("L")).astype(np.float64), 255.0


def _visible(path: Path, image: Image.Image) -> np.ndarray:
    """What is not transparent, of one colour: the object, by its opacity."""
    layers = np.asarray(image.convert("RGBA"))
    opacity = layers[..., 3]
    if (opacity == 255).all():
        return _of_colours(path, layers[..., :3])
    colours = np.unique(layers[opacity > opacity.max() / 2][:, :3], axis=0)
    if len(colours) == 1 and not colours.any() and layers[opacity == 0][:, :3].any():
        raise DataError(
            f"the mask {path} is black where it can be seen and has other colours where it is transparent, so it does "
            "not say which is the object: save it without transparency, black around the object and white in it"
        )
    if len(colours) > 1:
        raise DataError(
            f"the mask {path} is transparent in parts and has {len(colours)} colours in the others, so it does not say "
            "which is the object: save it without transparency, black around the object and white in it"
        )
    return opacity.astype(np.float64)


def _of_colours(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Greys of colours: as they are; or of two, of which one is black, 255 for the other."""
    apart = pixels.max(axis=2).astype(int) - pixels.min(axis=2)
    lossy = path.suffix.lower() in _LOSSY
    if (apart <= (_TINT if lossy else 0)).all():
        return np.asarray(Image.fromarray(pixels).convert("L")).astype(np.float64)
    colours = np.unique(pixels.reshape(-1, 3), axis=0)
    if len(colours) == 2 and not colours[0].any() and not lossy:
        return np.asarray(pixels.any(axis=2)).astype(np.float64) * 255
    raise DataError(
        f"the mask {path} is in colour, with {len(colours)} colours, so it does not say which is the object: save it "
        "as PNG, black around the object and white in it"
    )


def _by_name(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    found: dict[str, Path] = {}
    listing = listing_below(folder)
    for path in listing.photos:
        name = unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
        first = found.setdefault(name, path)
        if first != path:
            raise DataError(f"{folder} holds {first.name!r} and {path.name!r}: expected one file for each name")
    return found, left_out_notes(folder, listing.left_out)
