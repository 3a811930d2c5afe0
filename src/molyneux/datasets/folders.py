"""A folder per class, `CLASS/IMAGE`: how ImageNet's validation photos and most small collections come."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from molyneux.datasets.imagenet import ClassNames, name_of_wnid
from molyneux.datasets.windows import SCANS, Window, is_scan
from molyneux.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", *SCANS)


WHOLE = Window()


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFolder:
    """What a folder per class holds; nothing is decoded yet."""

    root: Path
    names: tuple[str, ...]
    """Distinct, in the order of the sub-folders."""
    photos: tuple[Photo, ...]
    """Class by class, by file name within a class."""
    window: Window = WHOLE
    """How the DICOM and NIfTI files among them become images."""
    medical: bool = False
    """Whether what is computed on them is for research only."""

    @property
    def scans(self) -> Window | None:
        """The window, where there are DICOM or NIfTI files to look at through it."""
        return self.window if any(is_scan(path.name) for path in self.paths) else None

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The photos' files."""
        return tuple(photo.path for photo in self.photos)

    @property
    def relative_paths(self) -> tuple[str, ...]:
        """The same relative to `root`, with forward slashes."""
        return tuple(path.relative_to(self.root).as_posix() for path in self.paths)

    def only(self, names: Collection[str]) -> "PhotoFolder":
        """The photos of the classes with these names (in any case).

        Raises:
            DataError: if no class has one of them.
        """
        wanted = {" ".join(name.split()).casefold() for name in names}
        if not wanted & {name.casefold() for name in self.names}:
            raise DataError(f"{self.root} has no photos of any of {_listed(names)}: it has {_listed(self.names)}")
        kept = ((self.names[photo.label], photo.path) for photo in self.photos)
        few = labelled(self.root, (pair for pair in kept if pair[0].casefold() in wanted))
        return replace(few, window=self.window, medical=self.medical)


def labelled(root: Path, photos: Iterable[tuple[str, Path]]) -> PhotoFolder:
    """A data set from the class and the file of each photo; classes stand in the order of their first photos."""
    classes: dict[str, list[Path]] = {}
    for name, path in photos:
        classes.setdefault(name, []).append(path)
    return PhotoFolder(
        root=Path(root),
        names=tuple(classes),
        photos=tuple(Photo(path, label) for label, paths in enumerate(classes.values()) for path in paths),
    )


def read_folder(root: Path, only: Collection[str] | None = None, class_names: ClassNames = "openai") -> PhotoFolder:
    """List the photos of a folder per class; with `only`, of the classes with these names (in any case).

    Sub-folders are read in sorted order. A WordNet id becomes the ImageNet class's name, as `class_names` has it;
    underscores become spaces. Two WordNet ids with the same name (ImageNet has two such pairs) make one class.
    Hidden files, and files that end with none of `SUFFIXES`, are ignored.

    Raises:
        DataError: if the folder is missing or none, has no class sub-folders (or none of `only`), a class has
            no photos, or two sub-folders give the same name.
    """
    root = Path(root)
    wanted = None if only is None else {" ".join(name.split()).casefold() for name in only}
    found: list[tuple[str, Path]] = []
    spelled: dict[str, str] = {}
    for folder in _class_folders(root):
        if wanted is not None and (_known_name(folder.name, class_names) or "").casefold() not in wanted:
            continue
        name = class_name(folder.name, class_names)
        first = spelled.setdefault(name.casefold(), folder.name)
        if first != folder.name and not (is_wnid(first) and is_wnid(folder.name)):
            raise DataError(f"{root}: the folders {first!r} and {folder.name!r} both mean {name!r}: rename one of them")
        found.extend((name, path) for path in _photos_of(folder))
    if not found:
        raise DataError(
            f"{root} has no sub-folder for any of {_listed(only or ())}: expected one folder for each class"
        )
    return labelled(root, found)


def photos_below(root: Path) -> tuple[Path, ...]:
    """All photos in a folder and its sub-folders, by path; hidden ones are ignored.

    Raises:
        DataError: if the folder is missing or none, or there are no photos.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is {'a file' if root.exists() else 'not there'}: expected a folder of photos")
    found = sorted(path for path in root.rglob("*") if _is_photo(path) and not _is_hidden(path.relative_to(root)))
    if not found:
        raise DataError(f"{root} has no photos: expected {', '.join(SUFFIXES)} files in it")
    return tuple(found)


def class_name(folder: str, class_names: ClassNames = "openai") -> str:
    """The class that a sub-folder's name stands for.

    Raises:
        DataError: for a WordNet id outside ImageNet-1k, whose name is not known here.

    >>> class_name("n01440764"), class_name("great_white__shark")
    ('tench', 'great white shark')
    """
    name = _known_name(folder, class_names)
    if name is None:
        raise DataError(f"the folder {folder!r} is a WordNet id outside ImageNet-1k: rename it to the class's name")
    return name


def _known_name(folder: str, class_names: ClassNames) -> str | None:
    if is_wnid(folder):
        return name_of_wnid(folder, class_names)
    return " ".join(folder.replace("_", " ").split()) or folder


def is_wnid(folder: str) -> bool:
    """Whether a name has the form of a WordNet id."""
    return re.fullmatch(r"n\d{8}", folder) is not None


def _class_folders(root: Path) -> list[Path]:
    if not root.exists():
        raise DataError(f"no folder at {root}: expected a folder per class (CLASS/IMAGE)")
    if not root.is_dir():
        raise DataError(f"{root} is a file: expected a folder per class (CLASS/IMAGE)")
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise DataError(f"cannot list {root}: {error.strerror or error}") from error
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__"))]
    if not folders:
        raise DataError(f"{root} has no sub-folders: expected one for each class, with its photos (CLASS/IMAGE)")
    return folders


def _photos_of(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror or error}") from error
    photos = [path for path in entries if _is_photo(path) and not _is_hidden(path.relative_to(folder))]
    if not photos:
        raise DataError(f"the class folder {folder} has no photos: expected {', '.join(SUFFIXES)} files in it")
    return photos


def _is_photo(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
