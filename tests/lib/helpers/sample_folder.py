"""Where the sample data lies, if it does, and parts of it."""

from collections.abc import Iterable
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "data"

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample data is not beside the project")


def linked(target: Path, folders: Iterable[Path]) -> Path:
    """A folder with links to these class folders: a part of a set is scored sooner."""
    target.mkdir()
    for folder in folders:
        (target / folder.name).symlink_to(folder)
    return target


def some_known(target: Path, every: int) -> Path:
    """One photo of every so many of ImageNet's classes."""
    return linked(target, sorted((SAMPLES / "imagenet1k-sample").iterdir())[::every])
