"""A run's folder: new, to be continued, or taken; a marker tells a run that is not finished."""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import yaml

from molyneux.digests import write_digests
from molyneux.errors import ConfigError, DataError, ModelError, OutputError
from molyneux.files import check_link, is_empty, new_folder, write_json, write_text
from molyneux.foreign import LARGEST_TEXT, read_json, read_yaml
from molyneux.records import CONFIG, DIGESTS
from molyneux.runs.options import Progress
from molyneux.runs.stage import WORK, Stage, StageFolder, digest, remove

MARKER = ".unfinished"


def check_out(root: Path, resolved: Mapping[str, Any]) -> bool:
    """Whether `root` holds an unfinished run to be continued.

    That is one with the same configuration, or one that ended in an error: with a corrected configuration it goes on
    from the stages that are the same.

    Raises:
        OutputError: if it holds anything else, or cannot be written.
    """
    root = Path(root)
    check_link(root)
    if not root.exists():
        _check_writable(root)
        return False
    if not root.is_dir():
        raise OutputError(f"{root} is a file: choose a new folder for the run")
    if is_empty(root):
        _check_writable(root)
        return False
    if not (root / CONFIG).is_file():
        raise OutputError(f"{root} already exists and is not empty: choose another folder or remove it")
    marker = _read_marker(root) if (root / MARKER).is_file() else {"ended": True}
    if marker.get("ended", False):
        _clear(root)
        raise OutputError(f"{root} already holds a finished run: choose another folder or remove it")
    if not _same(root, marker, resolved) and not marker.get("failed", False):
        raise OutputError(
            f"{root} holds an unfinished run with other settings: repeat its command, choose another folder, "
            "or remove it"
        )
    return True


@final
class RunFolder(StageFolder):
    """An open run: its stages, how long each kind of them took so far, and what there is to say about it."""

    def __init__(self, root: Path, marker: Mapping[str, Any], on_step: Progress | None = None) -> None:
        super().__init__(root, on_step)
        self.weights: dict[str, str] = dict(marker.get("weights", {}))
        """For each model by its name the SHA-256 of its weights."""
        self.timings: dict[str, float] = dict(marker.get("timings", {}))
        self.notes: list[str] = list(marker.get("notes", []))
        self.config: str = marker.get("config", "")
        """Digest of the configuration's text, by which it is known where its file was damaged."""
        self.threads: int = marker.get("threads") or threads()
        """Of the process that began the run: sums in another order end in other last digits."""
        self.failed = False
        """Whether a stage ended in an error, so that the run as it was asked for cannot be finished."""
        self.ended = False
        """Whether all is done but the clearing up, which whoever finds the folder next completes after a kill."""
        self.kept = False
        """Whether the folder was there before the run."""
        self._gone = False
        self._inner = 0.0
        self._lock = locked(
            self.work / "lock",
            f"another process is working on the run in {self.root}: wait for it to end, or choose another folder",
        )

    def run(self, stages: Iterable[Stage]) -> None:
        """As in any folder of stages; a stage's error is kept, so that a corrected command may go on."""
        try:
            super().run(stages)
        except (ConfigError, DataError, ModelError):
            self.failed = True
            if not self._discard():
                self._write_marker()
            raise

    def use(self, weights: Mapping[str, str]) -> None:
        """Keep the digests of the weights that the run uses, by model.

        Raises:
            OutputError: if the run began with other weights of one of the models.
        """
        for name, found in weights.items():
            if self.weights.setdefault(name, found) != found:
                raise OutputError(
                    f"{self.root} holds an unfinished run of other weights of {name!r}: remove it or choose "
                    "another folder"
                )
        self._write_marker()

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Add the time spent within to the kind's, also when it is interrupted; what is timed inside counts there."""
        outer, self._inner = self._inner, 0.0
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.add_time(kind, seconds - self._inner)
            self._inner = outer + seconds

    def add_time(self, kind: str, seconds: float) -> None:
        """Keep the time spent on a kind of stage, on top of what an interrupted run spent on it."""
        self.timings[kind] = round(self.timings.get(kind, 0.0) + seconds, 3)
        self._write_marker()

    def note(self, text: str) -> None:
        """Tell, and keep for the record of the run."""
        super().note(text)
        self.notes.append(text)
        self._write_marker()

    def finish(self) -> None:
        """Remove what only an unfinished run needs, the marker last, once each file has a digest beside it."""
        self.ended = True
        self._write_marker()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        _clear(self.root)

    def _discard(self) -> bool:
        """Remove the run again if there is nothing in it to go on from; the folder itself stays if it was there."""
        own = {self.root / name for name in (MARKER, CONFIG, WORK)}
        if {*self.root.iterdir()} - own or any(path.is_file() and path.name != "lock" for path in self.work.rglob("*")):
            return False
        self._gone = True
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        for path in own:
            remove(path)
        if not self.kept:
            with suppress(OSError):
                self.root.rmdir()
        return True

    def _write_marker(self) -> None:
        if self._gone:
            return
        _mark(
            self.root,
            {
                "weights": self.weights,
                "timings": self.timings,
                "notes": self.notes,
                "config": self.config,
                "threads": self.threads,
                "failed": self.failed,
                "ended": self.ended,
            },
        )


def open_run(
    root: Path, resolved: Mapping[str, Any], weights: Mapping[str, str], on_step: Progress | None = None
) -> RunFolder:
    """Begin a run in `root`, or continue the unfinished one there; `weights` are digests by model.

    Raises:
        OutputError: as `check_out`, or if the unfinished run began with other weights of a model, or with another
            number of threads.
    """
    text = _text(resolved)
    kept = Path(root).exists()
    if not check_out(root, resolved):
        with new_folder(root) as target:
            _mark(target, {"config": digest(text)})
            (target / CONFIG).write_text(text, encoding="utf-8")
    else:
        remove(root / DIGESTS)  # of a run that was killed while it ended
        marker = _read_marker(root)
        if not _same(root, marker, resolved):
            kept_of_it: dict[str, Any] = {name: marker[name] for name in ("threads", "timings") if name in marker}
            _mark(root, {**kept_of_it, "config": digest(text)})
        if (root / CONFIG).read_bytes() != text.encode():
            write_text(root / CONFIG, text)
    folder = RunFolder(root, _read_marker(root), on_step)
    folder.kept = kept
    if folder.threads != threads():
        raise OutputError(
            f"{root} holds an unfinished run on {folder.threads} threads, and this process has {threads()}, which "
            f"gives other results: continue it with OMP_NUM_THREADS={folder.threads}, or choose another folder"
        )
    folder.use(weights)
    return folder


def locked(path: Path, taken: str) -> int | None:
    """A lock on a file, until the process ends or closes this file descriptor; None where there are no such locks.

    Raises:
        OutputError: with what `taken` says, if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return None  # a file system without locks
        raise OutputError(taken) from error
    return file


def threads() -> int:
    """How many threads torch computes with on the CPU, which decides the last digits of every sum."""
    import torch

    return torch.get_num_threads()


def is_unfinished(root: Path) -> bool:
    """Whether `root` holds a run that can be continued."""
    return (Path(root) / MARKER).is_file()


def _clear(root: Path) -> None:
    if not (root / MARKER).is_file():
        return
    shutil.rmtree(root / WORK, ignore_errors=True)
    for hidden in sorted(root.rglob(".*")):
        # what a killed process was writing under a temporary name
        if re.fullmatch(r"\..+-[a-z0-9_]{8}", hidden.name):
            remove(hidden)
    write_digests(root)
    (root / MARKER).unlink(missing_ok=True)


def _mark(root: Path, content: Mapping[str, Any]) -> None:
    write_json(root / MARKER, {**content, "digest": digest(dict(content))})


def _read_marker(root: Path) -> dict[str, Any]:
    """What the mark says; OutputError if it is not as it was written."""
    try:
        content = read_json(root / MARKER, "the mark of a run")
        if not isinstance(content, dict) or (content and content.pop("digest", None) != digest(content)):
            raise DataError(f"the mark of a run {root / MARKER} is not as it was written")
    except DataError as error:
        raise OutputError(
            f"{error}, so the run there cannot be continued: remove the folder {root}, and repeat the command"
        ) from error
    return content


def _text(resolved: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True, width=100)


def _same(root: Path, marker: Mapping[str, Any], resolved: Mapping[str, Any]) -> bool:
    """Whether an unfinished run has this configuration; its file may have been damaged since."""
    stated = marker.get("config")
    return bool(stated == digest(_text(resolved)) if stated else _config(root) == resolved)


def _config(root: Path) -> Any:
    try:
        return read_yaml(root / CONFIG, "the configuration", limit=LARGEST_TEXT)
    except DataError:
        return None


def _check_writable(root: Path) -> None:
    """Raise OutputError unless `root` is, or could be made, a folder that files can be written to."""
    place = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise OutputError(f"cannot write into {root}: {place} is a file; choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {place}: choose another folder")
