"""The tables of choices: CONTRIBUTING.md says that a row and what it names are all that a new entry takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from molyneux.backends.abilities import ABILITIES
from molyneux.backends.families import Ability
from molyneux.images.choices import CONTROLS, SOURCES
from molyneux.images.config import Control
from molyneux.tables import imported
from molyneux.teaching.choices import OBJECTIVES, UPDATES
from molyneux.teaching.objectives.base import Objective
from molyneux.teaching.updates import Update

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("invented")
    paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": paths, "MOLYNEUX_CACHE": str(root / "cache"), "COLUMNS": "400"}
    command = [sys.executable, "-m", "helpers.invented", str(root)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.slow
def test_an_invented_objective_is_taught_with_and_in_the_help(found):
    assert "pull" in found["help"]


@pytest.mark.slow
def test_an_invented_control_is_run_scored_and_told_of(found):
    assert found["controls"] == ["noise", "shuffled", "description_prompt", "grey"]
    assert found["control"] == [0.5]
    assert "Taught on plain grey" in found["report"]
    assert "The same teaching on plain grey" in found["report"]
    assert "'grey' (plain grey)" in found["help"]
    assert "--control.grey FOLDER" not in found["help"]  # of other verbs


@pytest.mark.slow
def test_an_invented_source_of_images_is_taught_on_and_told_of(found):
    assert found["source"] == "drawn"
    assert "Taught on drawings" in found["report"]
    assert "3 images drawn by a program." in found["report"]
    assert "drawn: drawings of rings." in found["help"]


@pytest.mark.slow
def test_an_invented_family_is_loaded_by_name_and_from_its_folder_and_listed(found):
    assert "Invented" in found["families"]
    assert found["model"].endswith("model")


def test_every_row_names_what_there_is():
    for kind in OBJECTIVES.values():
        assert issubclass(imported("molyneux.teaching.objectives", kind.implementation), Objective)
        assert callable(imported("molyneux.teaching", kind.taught_by))
        assert set(kind.updates) <= UPDATES.keys()
    for kind in UPDATES.values():
        assert issubclass(imported("molyneux.teaching", kind.implementation), Update)
    places = [place for kind in SOURCES.values() for place in (kind.images, kind.check)]
    for place in [*places, *(kind.images for kind in CONTROLS.values())]:
        assert not place or callable(imported("molyneux.images", place))
    assert set(ABILITIES) == set(get_args(Ability))
    assert set(get_args(Control)) == {name for name, kind in CONTROLS.items() if kind.images}
