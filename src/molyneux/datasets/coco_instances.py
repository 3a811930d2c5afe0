"""Photos with COCO's instances: what each category marks."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molyneux.datasets.folders import alike, left_out_notes, listing_below
from molyneux.datasets.marked import Marked, MarkedSet, not_empty
from molyneux.datasets.masks import IMAGES
from molyneux.datasets.photos import opened, orientation, photo_size, read_photo
from molyneux.datasets.windows import is_scan
from molyneux.errors import DataError
from molyneux.files import leads_out
from molyneux.foreign import LARGEST_ANNOTATIONS, finite, read_json, shown, unprintable, whole

ANNOTATIONS = "annotations.json"

Size = tuple[int, int]
"""Height and width."""

_BESIDE = 1.0
"""Pixels by which a corner may lie outside of a photo whose size the list does not say."""


def read_coco(root: Path) -> MarkedSet:
    """COCO's instances: polygons, or runs, plain or compressed; what is sought is the category's name.

    An image and a category of which an instance has no outline are left out together, since the mask would lack it.

    Raises:
        DataError: if a file is missing or not laid out so, or nothing is marked. Reading an item's truth raises it
            where a mark is no outline, or the photo has not the size that the list says.

    Source: the marks are drawn by pycocotools, as COCO's own evaluation does.
    """
    path = root / ANNOTATIONS
    content = read_json(path, "the annotations", limit=LARGEST_ANNOTATIONS)
    try:
        photos = _by_id(path, content["images"], "images")
        names = {one: _text(entry["name"]) for one, entry in _by_id(path, content["categories"], "categories").items()}
        _check_distinct(path, "categories called", names.values())
        marks: dict[tuple[Any, Any], list[Any]] = {}
        for entry in content["annotations"]:
            for key, known in (("image_id", photos), ("category_id", names)):
                if entry[key] not in known:
                    raise DataError(
                        f"{path} has a mark of the {key} {shown(entry[key])}, which is no id there: give the entry, "
                        "or take the mark out"
                    )
            marks.setdefault((entry["image_id"], entry["category_id"]), []).append(entry.get("segmentation"))
        files = {key: PurePosixPath(_text(photos[key]["file_name"])).as_posix() for key, _ in marks}
        _check_distinct(path, "images of the file", files.values())
        stems = Counter(PurePosixPath(name).with_suffix("").as_posix() for name in set(files.values()))
        items = []
        for photo, category in sorted(marks, key=lambda pair: [(isinstance(one, str), one) for one in pair]):
            if not all(marks[photo, category]):
                continue
            file = _within(root / IMAGES, files[photo])
            stem = PurePosixPath(files[photo]).with_suffix("").as_posix()
            items.append(
                Marked(
                    name=f"{stem if stems[stem] == 1 else files[photo]} {names[category]}",
                    image=functools.partial(read_photo, file),
                    truth=functools.partial(_drawn, path, file, photos[photo], marks[photo, category]),
                    sought=names[category],
                )
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not laid out as COCO's instances are: {shown(error)}") from error
    bare = sum(not all(group) for group in marks.values())
    outlines = (f"{bare} pairs of a photo and a category are left out: an instance has no outline",) if bare else ()
    if not items:
        raise DataError(f"{path} marks nothing{''.join(f': {note}' for note in outlines)}: expected outlines")
    listing = listing_below(root / IMAGES)
    unlisted = {path.relative_to(root / IMAGES).as_posix() for path in listing.photos} - {
        PurePosixPath(str(one.get("file_name"))).as_posix() for one in photos.values()
    }
    strangers = (f"{len(unlisted)} photos in {root / IMAGES} are left out: {ANNOTATIONS} does not name them",)
    return MarkedSet(
        root=root,
        items=tuple(items),
        left_out=len(photos) - len({photo for photo, _ in marks}),
        notes=(*outlines, *(strangers if unlisted else ()), *left_out_notes(root / IMAGES, listing.left_out)),
    )


def _drawn(path: Path, file: Path, entry: Mapping[str, Any], marks: Iterable[Any]) -> Tensor:
    size = _checked_size(path, file, entry)
    said = "width" in entry and "height" in entry
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise DataError("COCO's marks are drawn by pycocotools: pip install 'molyneux[segmentation]'") from error
    mask = np.zeros(size, dtype=bool)
    try:
        for mark in marks:
            if isinstance(mark, Mapping):
                mask |= _runs(mark, size)
                continue
            polygons = [_polygon(one, size, float(max(size)) if said else _BESIDE) for one in _listed(mark)]
            drawn = coco.merge(coco.frPyObjects(polygons, *size))
            mask |= _runs(drawn | {"counts": drawn["counts"].decode()}, size)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise DataError(f"{path} marks {file.name} with what is no outline: {' '.join(str(error).split())}") from error
    return not_empty(torch.from_numpy(mask), f"{file.name} in {path}")


def _checked_size(path: Path, file: Path, entry: Mapping[str, Any]) -> Size:
    """The photo's size upright, which the list must agree with."""
    width, height = photo_size(file)
    turn = 1
    if not is_scan(file.name):
        with opened(file) as image:
            turn = orientation(image)
    if "width" not in entry and "height" not in entry:
        return height, width
    said = (entry.get("width", width), entry.get("height", height))
    if said == (width, height) and (turn == 1 or (turn >= 5 and width != height)):
        return height, width
    if turn != 1:
        raise DataError(
            f"{file} is turned by its EXIF entry, and {path} does not say that its marks are turned too: save the "
            "photo upright, without the entry, and mark that"
        )
    raise DataError(
        f"{file} has {width} x {height} pixels, and {path} marks one of {shown(said[0])} x {shown(said[1])}: expected "
        "the photo that was marked, not resized"
    )


def _polygon(corners: Any, size: Size, beside: float) -> list[float]:
    numbers = _listed(corners)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"a polygon of {len(numbers)} numbers: expected x and y of three or more corners")
    if not all(map(finite, numbers)):
        raise ValueError("a polygon with a corner that is no finite number")
    for values, side in ((numbers[::2], size[1]), (numbers[1::2], size[0])):
        if min(values) < -beside or max(values) > side + beside:
            raise ValueError(f"a polygon with a corner at {min(values):g} or {max(values):g} of {side} pixels")
    return [float(value) for value in numbers]


def _runs(mark: Mapping[str, Any], size: Size) -> np.ndarray:
    """Runs that are outside and inside by turns, down the columns."""
    if list(_listed(mark["size"])) != list(size):
        raise ValueError(f"runs of a mask of {shown(mark['size'])}: expected the photo's {list(size)}")
    counts = mark["counts"]
    lengths = list(_unpacked(counts)) if isinstance(counts, str) else list(_listed(counts))
    most = size[0] * size[1]
    if not all(whole(length, 0, most) for length in lengths) or sum(lengths) != most:
        raise ValueError(f"runs that are not {most} pixels in all")
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.asarray(values.reshape(size[::-1]).T)


def _unpacked(text: str) -> Iterator[int]:
    """COCO's compressed runs: six bits a character, the lowest first; from the fourth on, less the one two before.

    Source: pycocotools, `rleFrString`.
    """
    found: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("compressed runs that cannot be read")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        found.append(value + found[-2] if len(found) > 2 else value)
        yield found[-1]
        value = shift = 0
    if shift:
        raise ValueError("compressed runs that break off")


def _by_id(path: Path, entries: Any, what: str) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for entry in _listed(entries):
        one = entry["id"]
        if isinstance(one, bool) or (not isinstance(one, int | str) and not (finite(one) and one == int(one))):
            raise DataError(f"{path} has the id {shown(one)} among its {what}: expected a whole number or a text")
        if found.setdefault(one, entry) is not entry:
            raise DataError(f"{path} has two {what} of the id {shown(one)}: give each its own")
    return found


def _check_distinct(path: Path, what: str, names: Iterable[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two {what} {twice!r}: expected one of each")


def _listed(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{shown(value)} where a list is expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or unprintable(value):
        raise TypeError(f"{shown(value)} where a name is expected")
    return value


def _within(root: Path, name: str) -> Path:
    if leads_out(name) or not (root / name).is_file():
        raise DataError(
            f"{root} has no file {name!r}: expected every photo that the annotations name{alike(root, name)}"
        )
    return root / name
