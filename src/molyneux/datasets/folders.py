"""A folder per class, `CLASS/IMAGE`: how ImageNet's validation photos and most small collections come."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from molyneux.datasets.imagenet import ClassNames, name_of_wnid
from molyneux.datasets.names import name_key
from molyneux.datasets.windows import SCANS, Kind, Window
from molyneux.errors import DataError
from molyneux.foreign import is_plain

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", *SCANS
)  # fmt: skip

_LISTS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".md", ".html", ".py")
"""What lies beside photos and says something about them."""

_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")

WHOLE = Window()


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and the index of its class."""

    path: Path
    label: int
    later: bool = False
    """Whether its class is not the first with its name: ImageNet has two pairs of classes that share one."""


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
    kinds: frozenset[Kind] = frozenset()
    """What there is among them that a window is for, as far as their headers have been read (`photos.checked`)."""
    notes: tuple[str, ...] = ()
    """What there is to say of them: files that were left out, and why."""

    @property
    def scans(self) -> Window | None:
        """The window, where there are files to look at through it."""
        deep = "deep" in self.kinds and self.window.window_center is not None
        return self.window if deep or any(path.name.lower().endswith(SCANS) for path in self.paths) else None

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
        wanted = {name_key(name) for name in names}
        if not wanted & {name_key(name) for name in self.names}:
            raise DataError(f"{self.root} has no photos of any of {_listed(names)}: it has {_listed(self.names)}")
        kept = ((self.names[photo.label], photo.path) for photo in self.photos)
        later = {photo.path for photo in self.photos if photo.later}
        few = labelled(self.root, (pair for pair in kept if name_key(pair[0]) in wanted), later)
        return replace(few, window=self.window, medical=self.medical, kinds=self.kinds, notes=self.notes)


def labelled(root: Path, photos: Iterable[tuple[str, Path]], later: Collection[Path] = ()) -> PhotoFolder:
    """A data set from the class and the file of each photo; classes stand in the order of their first photos.

    `later` are the photos whose class is not the first with its name.
    """
    classes: dict[str, list[Path]] = {}
    for name, path in photos:
        classes.setdefault(name, []).append(path)
    return PhotoFolder(
        root=Path(root),
        names=tuple(classes),
        photos=tuple(
            Photo(path, label, path in later) for label, paths in enumerate(classes.values()) for path in paths
        ),
    )


def read_folder(root: Path, only: Collection[str] | None = None, class_names: ClassNames = "openai") -> PhotoFolder:
    """List the photos of a folder per class; with `only`, of the classes with these names (in any case).

    Sub-folders are read in sorted order. A WordNet id becomes the ImageNet class's name, as `class_names` has it;
    underscores become spaces, and names are in Unicode's composed form. Two WordNet ids with the same name (ImageNet
    has two such pairs) make one class, in which the photos of the second are marked as `later`. What is left out,
    `notes` count: hidden files, files that end with none of `SUFFIXES`, and photos beside the sub-folders or deeper
    within them.

    Raises:
        DataError: if the folder is missing or none, has no class sub-folders (or none of `only`), a class has
            no photos, or two sub-folders give the same name.
    """
    root = Path(root)
    wanted = None if only is None else {name_key(name) for name in only}
    found: list[tuple[str, Path]] = []
    spelled: dict[str, str] = {}
    later: set[Path] = set()
    left_out: Counter[str] = Counter()
    for folder in _class_folders(root, left_out):
        if wanted is not None and name_key(_known_name(folder.name, class_names) or "") not in wanted:
            continue
        name = class_name(folder.name, class_names)
        first = spelled.setdefault(name_key(name), folder.name)
        if first != folder.name and not (is_wnid(first) and is_wnid(folder.name)):
            raise DataError(f"{root}: the folders {first!r} and {folder.name!r} both mean {name!r}: rename one of them")
        photos = _photos_of(folder, left_out)
        found.extend((name, path) for path in photos)
        later.update(photos if first != folder.name else ())
    if not found:
        raise DataError(
            f"{root} has no sub-folder for any of {_listed(only or ())}: expected one folder for each class"
        )
    return replace(labelled(root, found, later), notes=left_out_notes(root, +left_out))


@dataclass(frozen=True, slots=True)
class Listing:
    """The photos below a folder, and how many other files were left out, by reason."""

    photos: tuple[Path, ...]
    left_out: Mapping[str, int]


def photos_below(root: Path) -> tuple[Path, ...]:
    """All photos in a folder and its sub-folders, linked ones too, by path; hidden ones are left out.

    Raises:
        DataError: if the folder is missing or none, or there are no photos.
    """
    return listing_below(root).photos


def listing_below(root: Path) -> Listing:
    """`photos_below`, and what was left out; errors as there."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is {'a file' if root.exists() else 'not there'}: expected a folder of photos")
    left_out: Counter[str] = Counter()
    photos = [path for path in files_below(root) if not _reason(path, root, left_out)]
    if not photos:
        raise DataError(f"{root} has no photos: expected {', '.join(SUFFIXES)} files in it{_instead(left_out)}")
    return Listing(tuple(sorted(photos)), +left_out)


def flat_left_out(root: Path) -> Counter[str]:
    """Files right in a folder that are no photos that are read, counted by reason."""
    left_out: Counter[str] = Counter()
    for path in _entries(root):
        if not path.is_dir():
            _reason(path, root, left_out)
    return +left_out


def left_out_notes(root: Path, left_out: Mapping[str, int]) -> tuple[str, ...]:
    """What to say of files that were left out; nothing where there are none.

    >>> left_out_notes(Path("photos"), {"hidden": 1, "of no format that is read (.heic)": 3})
    ('4 files in photos are left out: 1 hidden, 3 of no format that is read (.heic)',)
    """
    count = sum(left_out.values())
    if not count:
        return ()
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(left_out.items()))
    files = "file in {} is" if count == 1 else "files in {} are"
    return (f"{count} {files.format(root)} left out: {reasons}",)


def alike(root: Path, name: str) -> str:
    """What to say of a missing file where another's name looks the same, or differs in case; else nothing."""
    wanted = Path(root, name)
    try:
        found = [path.name for path in wanted.parent.iterdir() if _looks(path.name) == _looks(wanted.name)]
    except (OSError, ValueError):
        return ""
    return f"; {found[0]!a} is there, which is written differently: give both the same name" if found else ""


def _looks(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def class_name(folder: str, class_names: ClassNames = "openai") -> str:
    """The class that a sub-folder's name stands for.

    Raises:
        DataError: for a WordNet id outside ImageNet-1k, whose name is not known here, or a control character.

    >>> class_name("n01440764"), class_name("great_white__shark")
    ('tench', 'great white shark')
    """
    name = _known_name(folder, class_names)
    if not is_plain(folder):
        raise DataError(f"the folder {folder!r} has control characters in its name, or no UTF-8: rename it")
    if name is None:
        raise DataError(f"the folder {folder!r} is a WordNet id outside ImageNet-1k: rename it to the class's name")
    return name


def _known_name(folder: str, class_names: ClassNames) -> str | None:
    if is_wnid(folder):
        return name_of_wnid(folder, class_names)
    return " ".join(unicodedata.normalize("NFC", folder).replace("_", " ").split()) or folder


def is_wnid(folder: str) -> bool:
    """Whether a name has the form of a WordNet id."""
    return re.fullmatch(r"n\d{8}", folder) is not None


def _class_folders(root: Path, left_out: Counter[str]) -> list[Path]:
    if not root.exists():
        raise DataError(f"no folder at {root}: expected a folder per class (CLASS/IMAGE)")
    if not root.is_dir():
        raise DataError(f"{root} is a file: expected a folder per class (CLASS/IMAGE)")
    folders = []
    for entry in _entries(root):
        if not entry.is_dir():
            if not _reason(entry, root, left_out):
                left_out["beside the folders of the classes"] += 1
        elif entry.name.startswith((".", "__")):
            left_out["hidden"] += sum(_is_photo(path) for path in files_below(entry))
        else:
            folders.append(entry)
    if not folders:
        raise DataError(f"{root} has no sub-folders: expected one for each class, with its photos (CLASS/IMAGE)")
    return folders


def _photos_of(folder: Path, left_out: Counter[str]) -> list[Path]:
    photos = []
    inside: Counter[str] = Counter()
    for path in _entries(folder):
        if path.is_dir():
            inside["in a folder within a class"] += sum(_is_photo(one) for one in files_below(path))
        elif not _reason(path, folder, inside):
            photos.append(path)
    if not photos:
        raise DataError(
            f"the class folder {folder} has no photos: expected {', '.join(SUFFIXES)} files in it{_instead(inside)}"
        )
    left_out.update(inside)
    return photos


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror or error}") from error


def files_below(root: Path) -> Iterator[Path]:
    """All that is no folder below a folder; a linked folder is followed once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in files)


def _reason(path: Path, root: Path, left_out: Counter[str]) -> bool:
    """Whether a file is no photo; why it is left out is counted, unless nobody would take it for one."""
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    strange = not is_plain(str(path.relative_to(root)))
    if _is_photo(path):
        left_out["hidden" if hidden else "of a name with control characters, or not in UTF-8"] += hidden or strange
        return hidden or strange
    name = path.name.lower()
    if name.endswith(SUFFIXES):
        left_out["no regular file, or a link to nothing"] += 1
    elif not hidden and not name.endswith(_LISTS) and name not in _OF_THE_SYSTEM:
        left_out[f"of no format that is read ({path.suffix.lower() or 'no suffix'})"] += 1
    return True


def _instead(left_out: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(left_out.items()) if number)
    return f"; left out: {reasons}" if reasons else ""


def _is_photo(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
