import json

import numpy as np
import pytest
from PIL import Image

from helpers.command import Command, check_refused
from helpers.small_models import ConvModel, load_tiny
from molyneux.tasks.localisation import run as segmentation

FLAGS = ("--model=tiny", "--saliency.steps=1", "--saliency.draws=1", "--quiet")


@pytest.fixture
def molyneux(capsys, monkeypatch):
    def load(name, **running):
        return ConvModel(seed=3, name="base") if name == "base" else load_tiny(name, **running)

    monkeypatch.setattr(segmentation, "load", load)
    return Command(capsys)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("marked")
    pixels = np.zeros((24, 32), dtype=np.uint8)
    pixels[4:12, 6:20] = 255
    for folder in ("images", "masks"):
        (root / folder).mkdir()
        for index in range(3):
            Image.fromarray(np.roll(pixels, index)).save(root / folder / f"{index}.png")
    return root


def test_json_is_what_is_written_down(molyneux, images, tmp_path):
    flags = (*FLAGS, "--images", images, "--text=a ring", "--text=a block", "--limit=2", "--out", tmp_path / "out")
    ended = molyneux("localise", *flags, "--json")
    assert (ended.code, ended.err) == (0, "")
    scores = json.loads(ended.out)
    assert scores == json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["protocol"]["texts"] == ["a ring", "a block"]
    assert scores["protocol"]["images"] == 2
    check_refused(molyneux("localise", *flags), "finished run")


def test_a_table_shows_before_and_after_beside_gibberish(molyneux, images, tmp_path):
    models = ("--base=base", "--control.noise=base", "--text=a ring")
    lines = molyneux("localise", *FLAGS, *models, "--images", images, "--out", tmp_path / "out").out.splitlines()
    assert lines[0].split() == ["before", "minus", "gibberish", "after", "minus", "gibberish"]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["heat: energy ratio", "heat: pointing", "mask: dice"]
    assert "research only" in lines[-2]
    assert lines[-1] == str(tmp_path / "out" / "report.html")


def test_what_cannot_be_done_is_one_clear_line(molyneux, images, tmp_path):
    out = ("--out", tmp_path / "out")
    check_refused(molyneux("localise", *FLAGS, "--images", images, *out), "give a text")
    check_refused(molyneux("localise", *FLAGS, "--text=a", "--images", tmp_path, *out), "none of the layouts")
    check_refused(molyneux("localise", *FLAGS, "--text=a", "--images", images, "--sam", tmp_path, *out), "config.json")
    check_refused(molyneux("localise", *FLAGS, "--text=a", "--images", images, "--saliency.draws=0", *out), "draws")


def test_a_preset_is_where_the_settings_start_from(molyneux, images, tmp_path):
    flags = (*FLAGS, "--text=a ring", "--images", images, "--saliency-preset=paper", "--json", "--limit=1")
    check_refused(molyneux("localise", *flags, "--out", tmp_path / "a"), "block is 8: expected 0 to 1")
    assert not (tmp_path / "a").exists()
    ended = molyneux("localise", *flags, "--saliency.block=1", "--out", tmp_path / "b")
    saliency = json.loads(ended.out)["protocol"]["saliency"]
    assert (saliency["noise"], saliency["beta"], saliency["block"], saliency["steps"]) == ("standard", 0.1, 1, 1)
