"""Where the sample data lies, if it does."""

from pathlib import Path

import pytest


@pytest.fixture
def sample_data() -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the sample data is not beside the project")
    return folder
