"""docs/use.md can be typed as it stands."""

import doctest
import shutil
from pathlib import Path

import matplotlib

import molyneux

PAGE = Path(__file__).parents[1] / "docs" / "use.md"


def test_the_page_of_what_one_types_next_is_true(tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for photo in (Path(molyneux.__file__).parent / "photos").glob("*.jpg"):
        shutil.copy(photo, tmp_path / "photos")
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 20
    assert found.failed == 0
    matplotlib.pyplot.close("all")
