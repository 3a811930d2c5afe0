"""Photos with COCO's instances: what each category marks."""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from molyneux.datasets.marked import Marked, MarkedSet, not_empty
from molyneux.datasets.masks import IMAGES
from molyneux.datasets.photos import read_photo
from molyneux.errors import DataError

ANNOTATIONS = "annotations.json"


def read_coco(root: Path) -> MarkedSet:
    """COCO's instances: polygons, or the runs that mark crowds; what is sought is the category's name.

    Raises:
        DataError: if a file is missing or not laid out so, or nothing is marked.
    """
    path = root / ANNOTATIONS
    content = _json(path)
    try:
        photos = {photo["id"]: photo for photo in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        marks: dict[tuple[Any, Any], list[Any]] = {}
        for entry in content["annotations"]:
            if entry.get("segmentation"):
                marks.setdefault((entry["image_id"], entry["category_id"]), []).append(entry["segmentation"])
        items = []
        for photo, category in sorted(marks):
            file = _within(root / IMAGES, photos[photo]["file_name"])
            draw = functools.partial(_drawn, path, file, marks[photo, category])
            name = f"{Path(photos[photo]['file_name']).stem} {names[category]}"
            items.append(
                Marked(name=name, image=functools.partial(read_photo, file), truth=draw, sought=names[category])
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not laid out as COCO's instances are: {error!r} is not to be found") from error
    return MarkedSet(root=root, items=tuple(items), left_out=len(photos) - len({photo for photo, _ in marks}))


def _drawn(path: Path, file: Path, marks: Iterable[Any]) -> Tensor:
    width, height = read_photo(file).size
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    mask = np.zeros((height, width), dtype=bool)
    try:
        for mark in marks:
            if isinstance(mark, dict):
                mask |= _coco_runs(mark["counts"], (height, width))
                continue
            for polygon in mark:
                draw.polygon(polygon, fill=1)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} marks {file.name} with what is neither a polygon nor plain runs ({error}): compressed runs have "
            "to be made into plain ones first"
        ) from error
    return not_empty(torch.from_numpy(mask | np.asarray(canvas)), f"{file.name} in {path}")


def _coco_runs(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Runs that are outside and inside by turns, down the columns."""
    lengths = np.asarray(counts, dtype=np.int64)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(size[::-1]).T


def _within(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise DataError(f"{root} has no file {name!r}: expected every photo that the annotations name")
    return path


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}: expected an object")
    return content
