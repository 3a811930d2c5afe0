"""Folders as other programs save them."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def foreign_folders() -> Iterator[None]:
    """Saved folders have no SHA-256 of their files, so what is wrong with a changed file is told by who reads it.

    Digests have their own tests, in `tests/runs/test_digests.py`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("molyneux.backends.base.write_digests", lambda folder: None)
        yield
