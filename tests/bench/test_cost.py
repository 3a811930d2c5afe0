import json
import sys
from importlib import util
from pathlib import Path

import open_clip
import pytest

from helpers.families_open_clip import VIT
from helpers.runs import use_few_classes

SCRIPT = Path(__file__).parents[2] / "bench" / "cost.py"
NAME = "open_clip:cost-of-a-tiny-one"
pytestmark = pytest.mark.slow


@pytest.fixture
def cost(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = util.spec_from_file_location("cost", SCRIPT)
    module = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "cache"))
    use_few_classes(monkeypatch)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{NAME.partition(':')[2]}.json").write_text(json.dumps(VIT["model_cfg"]))
    open_clip.add_model_config(tmp_path / "models")
    return module


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_each_stage_has_its_seconds_and_its_memory_and_a_part_is_scaled_to_the_whole(cost, monkeypatch, capsys):
    real, spent = cost.timed, []

    def timed(function):
        spent.append(real(function))
        return float(len(spent))

    monkeypatch.setattr(cost, "timed", timed)
    cost.measure(NAME, quick=True)
    rows = cells(capsys.readouterr().out)
    assert [(row[1], row[2]) for row in rows] == [
        ("the model alone", ""),
        ("once: known texts", "1.0"),
        # two more steps take a second more: 1 + 59 / 2 for 6 steps of 20 classes in portions of 2
        ("once: replay images, told from 2 of 20", "31.5"),
        ("a first concept", "4.0"),
        ("a second concept", "5.0"),
        ("images of a concept, told from 1 and 3 steps", "55.5"),
        ("a concept with these images", "8.0"),
    ]
    assert all(row[0] == NAME and float(row[3].replace(",", "")) > 100 for row in rows)
    assert all(seconds > 0 for seconds in spent)


@pytest.mark.parametrize("part", ["tower", "projection"])
def test_an_update_stands_beside_the_bare_pass(cost, part, capsys):
    cost.measure_update(NAME, part, 64)
    ((name, moves, images, step, bare, ratio, lesson, peak, told),) = cells(capsys.readouterr().out)
    assert (name, moves, images) == (NAME, part, "64")
    assert float(step) > 0
    assert float(lesson.replace(",", "")) >= 0
    assert float(peak.replace(",", "")) > 100
    assert told
    if part == "projection":  # it reads no pixels
        assert bare == ratio == ""
    else:
        assert float(bare) > 0
        assert float(ratio) > 0
