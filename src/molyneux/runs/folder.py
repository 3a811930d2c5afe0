"""A run's folder: new, to be continued, or taken; a marker tells a run that is not finished."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from molyneux.errors import OutputError
from molyneux.files import new_folder, write_json

MARKER = ".unfinished"
CONFIG = "config.yaml"
WORK = ".work"


def check_out(root: Path, resolved: Mapping[str, Any]) -> bool:
    """Whether `root` holds an unfinished run with the same configuration, to be continued.

    Raises:
        OutputError: if it holds anything else, or cannot be written.
    """
    root = Path(root)
    if not root.exists():
        _check_writable(root)
        return False
    if not root.is_dir():
        raise OutputError(f"{root} is a file: choose a new folder for the run")
    if not any(root.iterdir()):
        _check_writable(root)
        return False
    if not (root / CONFIG).is_file():
        raise OutputError(f"{root} already exists and is not empty: choose another folder or remove it")
    if not (root / MARKER).is_file():
        raise OutputError(f"{root} already holds a finished run: choose another folder or remove it")
    if _config(root) != resolved:
        raise OutputError(
            f"{root} holds an unfinished run with other settings: repeat its command, choose another folder, "
            "or remove it"
        )
    return True


class RunFolder:
    """An open run: where its files go, and how long each stage took so far."""

    def __init__(self, root: Path, weights: str, timings: dict[str, float]) -> None:
        self.root = Path(root)
        self.weights = weights
        self.timings = timings

    @property
    def work(self) -> Path:
        """For what is needed while the run lasts; it goes at the end."""
        return self.root / WORK

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent within to the stage's, also when it is interrupted."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add_time(stage, time.perf_counter() - started)

    def add_time(self, stage: str, seconds: float) -> None:
        """Keep the time spent on a stage, on top of what an interrupted run spent on it."""
        self.timings[stage] = round(self.timings.get(stage, 0.0) + seconds, 3)
        write_json(self.root / MARKER, _marker(self.weights, self.timings))

    def finish(self) -> None:
        """Remove what only an unfinished run needs, the marker last."""
        shutil.rmtree(self.work, ignore_errors=True)
        for hidden in sorted(self.root.rglob(".*")):
            # what a killed process was writing under a temporary name
            if re.fullmatch(r"\..+-[a-z0-9_]{8}", hidden.name):
                _remove(hidden)
        (self.root / MARKER).unlink(missing_ok=True)


def open_run(root: Path, resolved: Mapping[str, Any], weights: str) -> RunFolder:
    """Begin a run in `root`, or continue the unfinished one there.

    Raises:
        OutputError: as `check_out`, or if the unfinished run began with other weights of its base model.
    """
    if not check_out(root, resolved):
        with new_folder(root) as target:
            write_json(target / MARKER, _marker(weights, {}))
            text = yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True, width=100)
            (target / CONFIG).write_text(text, encoding="utf-8")
        return RunFolder(root, weights, {})
    kept = _read_marker(root)
    if kept.get("weights", weights) != weights:
        raise OutputError(f"{root} holds an unfinished run of other weights: remove it or choose another folder")
    return RunFolder(root, weights, dict(kept.get("timings", {})))


def is_unfinished(root: Path) -> bool:
    """Whether `root` holds a run that can be continued."""
    return (Path(root) / MARKER).is_file()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _marker(weights: str, timings: Mapping[str, float]) -> dict[str, Any]:
    return {"weights": weights, "timings": dict(timings)}


def _read_marker(root: Path) -> dict[str, Any]:
    try:
        content = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{root / MARKER} cannot be read ({error}): remove the folder") from error
    return content if isinstance(content, dict) else {}


def _config(root: Path) -> Any:
    try:
        return yaml.safe_load((root / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _check_writable(root: Path) -> None:
    """Raise OutputError unless `root` is, or could be made, a folder that files can be written to."""
    place = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise OutputError(f"cannot write into {root}: {place} is a file; choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {place}: choose another folder")
