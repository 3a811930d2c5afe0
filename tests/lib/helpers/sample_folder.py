"""Where the sample data lies, if it does."""

from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "data"

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample data is not beside the project")
