"""Lists of class names: ImageNet's, or a person's own file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from molyneux.datasets.imagenet import ClassNames, imagenet_names
from molyneux.errors import DataError

IMAGENET = "imagenet-1k"


def read_names(spec: str, class_names: ClassNames = "openai") -> tuple[str, ...]:
    """ImageNet's 1,000 names for 'imagenet-1k', of the set `class_names`, else a text file's, one name a line.

    Surrounding space and empty lines do not count. ImageNet's own list names two classes twice.

    Raises:
        DataError: if the file cannot be read, holds no name, or holds one twice (in whatever case).

    >>> read_names("imagenet-1k")[0]
    'tench'
    """
    if spec == IMAGENET:
        return imagenet_names(class_names)
    path = Path(spec)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(
            f"cannot read the names in {path}: {reason}; expected {IMAGENET!r} or a text file with one name a line"
        ) from error
    seen: dict[str, int] = {}
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        name = " ".join(line.split())
        if not name:
            continue
        earlier = seen.setdefault(name.casefold(), number)
        if earlier != number:
            raise DataError(f"{path}: {name!r} stands on line {earlier} and on line {number}: remove one of them")
        names.append(name)
    if not names:
        raise DataError(f"{path} holds no names: expected one name a line")
    return tuple(names)


def name_key(name: str) -> str:
    """What two spellings of one name have in common: no case, no surplus space."""
    return " ".join(name.split()).casefold()


def without(names: Sequence[str], left_out: Iterable[str]) -> tuple[str, ...]:
    """The distinct names, in order, without those of `left_out` (in any case)."""
    keys = {name_key(name) for name in left_out}
    return tuple(name for name in dict.fromkeys(names) if name_key(name) not in keys)
