"""Small runs on the tiny model: settings, interruptions, and what two runs must have in common."""

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from helpers.small_models import load_tiny
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import described_classes
from molyneux.datasets.toy import draw_shapes, write_folder
from molyneux.images.config import ReplayConfig
from molyneux.inversion.config import InversionConfig
from molyneux.pipeline.settings import TeachSettings
from molyneux.teaching.config import Full, TeachingConfig

RING = Concept("ring", "A round band of one colour with a hole.")
CROSS = Concept("cross", ["Two bars that meet in the middle.", "A plus sign."])
QUICK = InversionConfig(images=2, steps=6, trace_every=3)
SHORT = TeachingConfig(loss="bank", update=Full(part="projection"), steps=4, learning_rate=0.01, replay_batch=2)
REPLAY = ReplayConfig(count=3, together=2, inversion=InversionConfig(steps=2))


def use_tiny(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let the pipeline load the tiny model by the name 'tiny', and cache in a folder of its own."""
    for module in ("pipeline.teach_run", "pipeline.invert_run", "tasks.classification.run"):
        patch.setattr(f"molyneux.{module}.load", load_tiny)
    patch.setenv("MOLYNEUX_CACHE", str(cache))


def use_few_classes(patch: pytest.MonkeyPatch, count: int = 40) -> None:
    """Let edits compare a description with those of a few known classes, not of a thousand."""
    few = dict(islice(described_classes().items(), count))
    patch.setattr("molyneux.teaching.descriptions.described_classes", lambda: few)


def write_photos(root: Path) -> Path:
    """`novel/` with rings and crosses, `known/` with three other shapes, and `names.txt`."""
    write_folder(root / "novel", {kind: draw_shapes(kind, 4, 24, seed=1) for kind in ("ring", "cross")})
    write_folder(root / "known", {kind: draw_shapes(kind, 3, 24, seed=2) for kind in ("circle", "square")})
    (root / "names.txt").write_text("circle\nsquare\ntriangle\n")
    return root


def settings_for(out: Path, photos: Path | None, **changed: Any) -> TeachSettings:
    """A run of milliseconds, scored where `photos` are given."""
    given = {
        "concepts": (RING,),
        "out": out,
        "model": "tiny",
        "inversion": QUICK,
        "teaching": SHORT,
        "replay": REPLAY,
    }
    if photos is not None:
        given |= {"novel": photos / "novel", "known": photos / "known", "names": str(photos / "names.txt")}
    return TeachSettings(**(given | changed))


class Killed(BaseException):
    """An end that no part of the program takes notice of."""


class Counter:
    """Counts the calls of `on_step`, and ends the run at one of them."""

    def __init__(self, end: int = -1, how: type[BaseException] = KeyboardInterrupt) -> None:
        self.calls, self.end, self.how = 0, end, how

    def __call__(self, what: str, done: int, total: int) -> None:
        assert 0 < done <= total, what
        self.calls += 1
        if self.calls == self.end:
            raise self.how


def contents(root: Path) -> dict[str, str]:
    """A digest of every file of a run but the report and the environment, which tell times, and their digests."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_dir() or path.name in ("report.html", "environment.json") or path == root / "digests.json":
            continue
        data = path.read_bytes()
        if path.name == "images.json":
            about = json.loads(data)
            del about["seconds"]
            data = json.dumps(about).encode()
        found[path.relative_to(root).as_posix()] = hashlib.sha256(data).hexdigest()
    return found
