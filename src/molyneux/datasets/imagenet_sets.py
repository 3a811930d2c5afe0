"""ImageNet's validation photos in the layouts in which they are published."""

import re
from collections.abc import Iterator
from pathlib import Path

from molyneux.datasets.folders import PhotoFolder, is_wnid, labelled, photos_below, read_folder
from molyneux.datasets.imagenet import ClassNames, imagenet_wnids, name_of_wnid
from molyneux.errors import DataError
from molyneux.foreign import read_text

CLASSES = 1000
HUNDRED = 100

_LISTS = (".txt", ".csv")


def read_imagenet(root: Path, class_names: ClassNames = "openai") -> PhotoFolder:
    """The validation photos: `root/WNID/FILE`, or `root/FILE` or `root/val/FILE` beside one list of their classes.

    The list is a text or CSV file in `root` with one photo a line: its file and its class, a WordNet id or a place
    in model order (`val.txt`, Kaggle's `LOC_val_solution.csv`), or its WordNet id alone, in the order of the photos'
    numbers (`imagenet_2012_validation_synset_labels.txt`).

    Raises:
        DataError: if neither layout is there, a class is missing, or list and photos do not fit each other.
    """
    root = Path(root)
    lists = [path for path in sorted(root.glob("*")) if path.suffix.lower() in _LISTS] if root.is_dir() else []
    if not lists:
        return _whole(read_folder(root, class_names=class_names), CLASSES)
    if len(lists) > 1:
        raise DataError(f"{root} holds {len(lists)} lists, {lists[0].name} and {lists[1].name} among them: leave one")
    photos = {path.stem: path for path in photos_below(root)}
    wnids = dict(_listed_classes(lists[0]))
    missing = [stem for stem in wnids if stem not in photos]
    if missing:
        raise DataError(f"{len(missing)} of the photos in {lists[0]} are not in {root}, the first is {missing[0]!r}")
    if stray := sorted(photos.keys() - wnids.keys()):
        raise DataError(f"{lists[0]} has no class for {len(stray)} of the photos in {root}, the first is {stray[0]!r}")
    places = {wnid: place for place, wnid in enumerate(imagenet_wnids())}
    ordered = sorted(wnids.items(), key=lambda pair: (places[pair[1]], pair[0]))
    names = [(name_of_wnid(wnid, class_names) or wnid, photos[stem]) for stem, wnid in ordered]
    first = {name: wnid for (name, _), (_, wnid) in reversed(list(zip(names, ordered, strict=True)))}
    later = {path for (name, path), (_, wnid) in zip(names, ordered, strict=True) if first[name] != wnid}
    return _whole(labelled(root, names, later), CLASSES, found=len(set(wnids.values())))


def read_imagenet_100(root: Path, class_names: ClassNames = "openai") -> PhotoFolder:
    """The validation photos of ImageNet-100: `root/val.X/WNID/FILE` or `root/WNID/FILE`, 100 classes.

    Raises:
        DataError: if there is no such folder, or another number of classes.
    """
    root = Path(root)
    inner = root / "val.X"
    return _whole(read_folder(inner if inner.is_dir() else root, class_names=class_names), HUNDRED)


def _whole(photos: PhotoFolder, expected: int, found: int | None = None) -> PhotoFolder:
    if found is None:
        folders = {path.parent.name for path in photos.paths}
        strange = sorted(name for name in folders if not is_wnid(name))
        if strange:
            raise DataError(f"{photos.root} holds the folder {strange[0]!r}, which is no WordNet id")
        found = len(folders)
    if found != expected:
        raise DataError(f"{photos.root} holds photos of {found} classes, not of {expected}")
    return photos


def _listed_classes(path: Path) -> Iterator[tuple[str, str]]:
    """A photo's file name without its suffix, and its class's WordNet id."""
    lines = read_text(path, "the list").split("\n")
    wnids = imagenet_wnids()
    known = set(wnids)
    number = 0
    for line in lines:
        words = re.split(r"[\s,]+", line.strip())
        if words == [""] or words[0] == "ImageId":
            continue
        number += 1
        if len(words) == 1 and words[0].isdecimal():
            raise DataError(
                f"{path} holds bare numbers: the development kit's count the classes in an order of their own, so "
                "a list with WordNet ids is needed"
            )
        alone = len(words) == 1
        name, label = (f"ILSVRC2012_val_{number:08d}", words[0]) if alone else (Path(words[0]).stem, words[1])
        if label.isdecimal() and int(label) < CLASSES:
            label = wnids[int(label)]
        if label not in known:
            raise DataError(f"{path}: expected a photo and its WordNet id, got {line.strip()!r:.80}")
        yield name, label
