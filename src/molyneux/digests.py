"""A SHA-256 beside each file of a folder: damage is met before it becomes a result."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from molyneux.errors import DataError, MolyneuxError
from molyneux.files import leads_out, sha256, write_bytes
from molyneux.foreign import is_file, said
from molyneux.records import DIGESTS, Digests, read_record

AGAIN = "put the file back, or repeat what made the folder in a new one"

_PAGES = (".html", ".md")
"""For people, and written anew by `report` and for hubs; nothing is read from them."""


def write_digests(folder: Path) -> None:
    """Write `digests.json` into a folder: the SHA-256 of every file there but pages for people.

    A sub-folder with a `digests.json` of its own, such as a saved model in a run, is left to that. Each file is read
    once, which takes about a second for each gigabyte.

    Raises:
        OutputError: if it cannot be written.
    """
    folder = Path(folder)
    apart = {path.parent for path in folder.rglob(f"*/{DIGESTS}")}
    files = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in place.parts)
        if path.is_file() and not hidden and path.suffix not in _PAGES and apart.isdisjoint(path.parents):
            files[place.as_posix()] = sha256(path)
    files.pop(DIGESTS, None)
    write_bytes(folder / DIGESTS, digests_file(files))


def digests_file(files: Mapping[str, str]) -> bytes:
    """What `digests.json` holds, from the SHA-256 of each file."""
    content = Digests(version=1, files=files).as_dict()
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()


def check_digests(
    folder: Path, within: Sequence[str] = ("",), *, again: str = AGAIN, error: type[MolyneuxError] = DataError
) -> dict[str, str]:
    """Compare the files of a folder with what `write_digests` wrote there; a folder without `digests.json` passes.

    Each file is read once, which takes about a second for each gigabyte. Files that were added are not looked at.

    Args:
        folder: the one that `write_digests` was given.
        within: how the paths begin that are compared.
        again: what the error advises where the change was not meant.
        error: its type.

    Returns:
        The SHA-256 of each file that was compared.

    Raises:
        MolyneuxError: of the type `error`, for the first file that is missing or not what it was, or if
            `digests.json` cannot be read.
    """
    path = Path(folder) / DIGESTS
    if not path.is_file():
        return {}
    meant = f"if the change is meant, remove {path}"
    try:
        listed = read_record(Digests, path).files
    except DataError as reason:
        raise error(f"{path} is not what was saved, so nothing can be compared with it: {again}; {meant}") from reason
    files = {name: digest for name, digest in listed.items() if name.startswith(tuple(within))}
    for name, digest in files.items():
        file = path.parent / name
        if leads_out(name) or not is_file(file):
            raise error(f"{file} is missing, which was saved: {again}; {meant}")
        try:
            found = sha256(file)
        except OSError as reason:
            raise error(f"cannot read {file}: {said(reason)}") from reason
        if found != digest:
            raise error(
                f"{file} is not what was saved (SHA-256 {found[:12]}, expected {digest[:12]}): damaged, or changed by "
                f"another program; {again}; {meant}"
            )
    return files
