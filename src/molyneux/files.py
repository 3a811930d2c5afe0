"""Writing so that nothing on disk is ever half there, and names that are safe as paths."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from molyneux.errors import OutputError

_STALE = 600
"""Seconds without a change after which nobody is writing a temporary file any more, where that cannot be known."""


def slug(text: str) -> str:
    """A short, safe, distinct file name for any text: readable letters and a hash of the whole.

    >>> slug("moongate"), slug("Moongate")
    ('moongate', 'moongate-91f47c')
    >>> slug("../etc")
    'etc-f7f912'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:48].strip("-")
    # a name that looks like a hashed one is hashed too, so that no two names share a slug
    if text and readable == text and not re.search(r"-[0-9a-f]{6}$", text):
        return readable
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{readable or 'name'}-{digest}"


def fresh(folder: Path) -> Path:
    """The folder's name, or with the first number behind it that is not taken."""
    return next(path for path in numbered(folder) if not path.exists())


def numbered(folder: Path) -> Iterator[Path]:
    """The folder's name, then with 2, 3 and so on behind it.

    >>> [path.name for path, _ in zip(numbered(Path("runs/demo")), range(3))]
    ['demo', 'demo-2', 'demo-3']
    """
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in count(2))


def leads_out(name: str) -> bool:
    """Whether a path that a file names, with forward slashes, may lie outside the folder it is meant to be in.

    >>> leads_out("train/1.jpg"), leads_out("../1.jpg"), leads_out("/1.jpg")
    (False, True, True)
    """
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success its content is at `target`, on failure it goes.

    `target` may be an empty folder: a mount point, a link or '.' too, since its content moves in and it stays itself.
    What is in it gets the permissions of plain new files, whichever library wrote it (safetensors' are private).

    Raises:
        OutputError: if `target` exists and is not empty, it cannot be written to, or there is no room.
    """
    target = Path(target)
    _clear_leftovers(target)
    check_link(target)
    if target.exists() and not (target.is_dir() and is_empty(target)):
        raise OutputError(f"{target} already exists and is not empty: choose another folder or remove it")
    inside = target.exists()
    place = target if inside else target.parent
    lock = None
    try:
        place.mkdir(parents=True, exist_ok=True)
        temporary, lock = _locked_folder(place, f".{target.name or 'new'}-")
    except OSError as error:
        raise OutputError(_cannot_write(f"into {place}", error)) from error
    try:
        yield temporary
        mask = _umask()
        for path in (temporary, *temporary.rglob("*")):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
        if inside:
            for path in sorted(temporary.iterdir()):
                path.replace(target / path.name)
            temporary.rmdir()
        else:
            temporary.replace(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(_cannot_write(target, error)) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a file system puts at its root."""
    return all(path.name == "lost+found" for path in folder.iterdir())


def check_link(target: Path) -> None:
    """Raise OutputError if `target` is a link to nothing."""
    if target.is_symlink() and not target.exists():
        raise OutputError(f"{target} is a link to nothing: make the folder that it names, or choose another")


def _locked_folder(place: Path, prefix: str) -> tuple[Path, int | None]:
    """A new temporary folder, and a lock on it that tells that somebody is writing it, if there are such locks."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        try:
            lock = os.open(made, os.O_RDONLY)
        except OSError:  # Windows opens no folders; or it was cleared away before it was locked
            if made.exists():
                return made, None
            continue
        flock(lock, wait=True)
        if made.exists():
            return made, lock
        os.close(lock)


def _clear_leftovers(target: Path) -> None:
    """Remove what a process that was killed was writing beside `target`: what nobody holds a lock on any more."""
    start, length = f".{target.name or 'new'}-", len(target.name or "new") + 10
    for place in (target.parent, target):
        try:
            # names alone: a folder may hold thousands of files
            found = [name for name in os.listdir(place) if name.startswith(start) and len(name) == length]  # noqa: PTH208
        except OSError:  # there is no such folder
            continue
        for name in found:
            if re.fullmatch("[a-z0-9_]{8}", name[-8:]):
                _clear(place / name)


def _clear(path: Path) -> None:
    try:
        old = time.time() - path.lstat().st_mtime > _STALE
        lock = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return
    try:
        if old if (mine := flock(lock)) is None else mine:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def flock(file: int, *, wait: bool = False) -> bool | None:
    """Lock an open file or folder until it is closed; False if another has it, None where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _cannot_write(path: Path | str, error: OSError) -> str:
    """One line that says what is in the way, and what to do about it."""
    said = f"cannot write {path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{said}: make room, and repeat the command"
    if error.errno == errno.EFBIG:
        return f"{said}: allow larger files (ulimit -f), or choose another disk, and repeat the command"
    if error.errno == errno.ENAMETOOLONG:
        return f"{said}: choose a folder with a shorter path"
    return f"{said}: choose another folder"


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name and rename, so that `path` is either old or whole."""
    write_pieces(path, [content])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """`write_bytes` for content that comes piece by piece, of which one is held at a time.

    Raises:
        OutputError: if it cannot be written, or there is no room.
    """
    path = Path(path)
    _clear_leftovers(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary, lock = _locked_file(path)
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())  # or a rename could be on disk before what it names
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OutputError(_cannot_write(path, error)) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _locked_file(path: Path) -> tuple[int, str, int | None]:
    """A new temporary file beside `path`, open, and a lock on it, which outlives its closing, if there are such."""
    while True:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        lock = os.dup(handle) if flock(handle, wait=True) else None
        if Path(temporary).exists():
            return handle, temporary, lock
        for one in (handle, lock):  # cleared away before it was locked
            if one is not None:
                os.close(one)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON as `write_bytes` does; not-a-number is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class GrowingFile:
    """A file of what is finished so far: a first line that says of what, then pieces added one by one.

    Before each piece stand its length and its SHA-256. So the part of a piece that a killed process leaves is not
    taken for one, nor is a piece that is not as it was written.
    """

    def __init__(self, path: Path, about: str) -> None:
        self.path = Path(path)
        self._head = f"{json.dumps(about)}\n".encode()

    def read(self) -> list[bytes]:
        """The pieces so far, up to the first that is not whole; the file is cut to these.

        There are none, and the file is made anew, if it is of something else.

        Raises:
            OutputError: if the file cannot be read or written.
        """
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            said = error.strerror or error
            raise OutputError(f"cannot read {self.path}: {said}; let it be read, or remove it to begin anew") from error
        body = content.removeprefix(self._head) if content.startswith(self._head) else b""
        pieces = list(_pieces(body))
        whole = self._head + b"".join(map(_framed, pieces))
        if content != whole:
            write_bytes(self.path, whole)
        return pieces

    def add(self, piece: bytes) -> None:
        """Put a piece behind those that are there, which `read` has looked at.

        Raises:
            OutputError: if it cannot be written.
        """
        try:
            with self.path.open("ab") as file:
                file.write(_framed(piece))
        except OSError as error:
            raise OutputError(_cannot_write(self.path, error)) from error


def _framed(piece: bytes) -> bytes:
    return len(piece).to_bytes(8, "big") + hashlib.sha256(piece).digest() + piece


def _pieces(body: bytes) -> Iterator[bytes]:
    while body:
        piece = body[40 : 40 + int.from_bytes(body[:8], "big")]
        framed = _framed(piece)
        if not body.startswith(framed):
            return
        yield piece
        body = body[len(framed) :]


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
