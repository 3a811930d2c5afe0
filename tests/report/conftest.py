from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.run_folder import write_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder and return it; see `write_run`."""

    def make(*args: Any, **options: Any) -> Path:
        return write_run(tmp_path / "run", *args, **options)

    return make
