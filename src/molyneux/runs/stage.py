"""Stages: from inputs to files. What is finished is not done again, and what is damaged is made again."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from molyneux.files import sha256, slug, write_json
from molyneux.runs.options import Progress

WORK = ".work"
"""The folder for what is needed while a run lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of a run, which leaves files."""

    name: str
    """What it does and, after a slash, to what: 'teach', 'controls/noise'. Different from all others of the run."""
    inputs: Mapping[str, Any]
    """Everything that decides the files, as plain data."""
    files: tuple[str, ...]
    """The files and folders that it leaves, relative to the run's folder."""
    make: Callable[[], object]
    """Writes them."""
    continued: tuple[str, ...] = ()
    """Those of the files from which an interrupted stage goes on."""
    rewritten: tuple[str, ...] = ()
    """Files among them that a later part of the run writes anew, so they are in no record."""

    @property
    def kind(self) -> str:
        """What it does: stages of one kind share an entry in the timings."""
        return self.name.partition("/")[0]


class StageFolder:
    """A folder that stages leave their files in, with a record of each finished stage.

    A record holds a digest of the stage's inputs and the SHA-256 of each file that it left. A stage is skipped where
    its record and its files say the same. Otherwise its files are removed and it is made. So a stage that was
    interrupted starts again, from whatever checkpoint its own work keeps in `work`, or from the files that it
    continues.
    """

    def __init__(self, root: Path, on_step: Progress | None = None) -> None:
        self.root = Path(root)
        self._on_step = on_step

    @property
    def work(self) -> Path:
        """For what is needed while the run lasts."""
        return self.root / WORK

    def run(self, stages: Iterable[Stage]) -> None:
        """Make the stages in order, except those that are finished."""
        for stage in stages:
            if not self.is_finished(stage):
                with self.timed(stage.kind):
                    self._make(stage)

    def value(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Any], *files: str) -> Any:
        """What `compute` returned, plain data, as a stage that keeps it in `work`; `files` are what else it leaves."""
        path = f"{WORK}/{slug(name)}.json"
        make = partial(_write_value, self.root / path, compute)
        self.run([Stage(name=name, inputs=inputs, files=(path, *files), make=make)])
        return json.loads((self.root / path).read_text(encoding="utf-8"))

    def is_finished(self, stage: Stage) -> bool:
        """Whether the stage's files are there, as it left them, from the same inputs."""
        kept = self._recorded(stage)
        return kept is not None and kept == self._present(stage)

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Called around each stage; a run folder adds up the time."""
        del kind
        yield

    def note(self, text: str) -> None:
        """Tell of something that a person should know."""
        if self._on_step is not None:
            self._on_step(text, 1, 1)

    def _make(self, stage: Stage) -> None:
        kept, present = self._recorded(stage), self._present(stage)
        if kept is not None:
            changed = min(path for path in kept.keys() | present.keys() if kept.get(path) != present.get(path))
            self.note(f"{stage.name} is made again: {changed} is not as it was left")
        going_on = () if kept is not None else stage.continued
        for path in (self._record(stage), *(self.root / name for name in stage.files if name not in going_on)):
            remove(path)
        stage.make()
        left = self._present(stage)
        assert left, f"the stage {stage.name!r} left no files"
        write_json(self._record(stage), {"inputs": _inputs(stage), "files": left})

    def _record(self, stage: Stage) -> Path:
        return self.work / "stages" / f"{slug(stage.name)}.json"

    def _recorded(self, stage: Stage) -> dict[str, str] | None:
        """SHA-256 by file, as the stage left them; None without a record of the same inputs."""
        try:
            record = json.loads(self._record(stage).read_text(encoding="utf-8"))
            return dict(record["files"]) if record["inputs"] == _inputs(stage) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _present(self, stage: Stage) -> dict[str, str]:
        """SHA-256 by file, as they are."""
        found = [
            path
            for name in stage.files
            for path in (self.root / name, *(self.root / name).rglob("*"))
            if path.is_file() and path.relative_to(self.root).as_posix() not in stage.rewritten
        ]
        return {path.relative_to(self.root).as_posix(): sha256(path) for path in sorted(found)}


def digest(value: Any) -> str:
    """A short name for any plain data: the start of the SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write_value(path: Path, compute: Callable[[], Any]) -> None:
    write_json(path, compute())


def _inputs(stage: Stage) -> str:
    return digest([stage.name, stage.inputs, stage.files])
