"""What holds for all tests."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory):
    """Nothing that tests compute is kept in the user's cache, nor read from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLYNEUX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
