"""Lists of class names: ImageNet's, or a person's own file."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from molyneux.datasets.imagenet import ClassNames, imagenet_names
from molyneux.errors import DataError
from molyneux.foreign import JOINERS, read_text

IMAGENET = "imagenet-1k"

_UNSEEN = dict.fromkeys(map(ord, JOINERS))

LONGEST = 500
"""Characters of a name that is chosen from; ImageNet's longest, all synonyms of a class, has about 120."""


def read_names(spec: str, class_names: ClassNames = "openai") -> tuple[str, ...]:
    """ImageNet's 1,000 names for 'imagenet-1k', of the set `class_names`, else a text file's, one name a line.

    Surrounding space and empty lines do not count. ImageNet's own list names two classes twice.

    Raises:
        DataError: if the file cannot be read, holds no name, holds one twice (in whatever case), or one is too long.

    >>> read_names("imagenet-1k")[0]
    'tench'
    """
    if spec == IMAGENET:
        return imagenet_names(class_names)
    path = Path(spec)
    try:
        lines = read_text(path, "the names in").splitlines()
    except DataError as error:
        raise DataError(f"{error}; expected {IMAGENET!r} or a text file with one name a line") from error
    seen: dict[str, int] = {}
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        name = " ".join(unicodedata.normalize("NFC", line).split())
        if not name:
            continue
        earlier = seen.setdefault(name_key(name), number)
        if earlier != number:
            raise DataError(f"{path}: {name!r} stands on line {earlier} and on line {number}: remove one of them")
        names.append(checked_name(name, f"line {number} of {path}"))
    if not names:
        raise DataError(f"{path} holds no names: expected one name a line")
    return tuple(names)


def checked_name(name: str, where: str) -> str:
    """The name as it is.

    Raises:
        DataError: if it has more than `LONGEST` characters.
    """
    if len(name) > LONGEST:
        raise DataError(f"{where} has {len(name):,} characters: expected a name of at most {LONGEST}")
    return name


def name_key(name: str) -> str:
    """What two spellings of one name have in common: no case, surplus space or joiner, Unicode's composed form."""
    return " ".join(unicodedata.normalize("NFC", name.translate(_UNSEEN)).split()).casefold()


def without(names: Sequence[str], left_out: Iterable[str]) -> tuple[str, ...]:
    """The distinct names, in order, without those of `left_out` (in any case)."""
    keys = {name_key(name) for name in left_out}
    return tuple(name for name in dict.fromkeys(names) if name_key(name) not in keys)
