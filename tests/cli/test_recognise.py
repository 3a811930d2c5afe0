import json

import pytest
import torch
from PIL import Image

from helpers.command import Command, check_refused
from helpers.small_models import ConvModel, load_tiny
from molyneux.tasks.recognition import run as recognition

NAMES = ("--names", "ring", "cross", "disc")


@pytest.fixture
def molyneux(capsys, monkeypatch):
    def load(name, **running):
        del running
        return ConvModel(seed=3, name="base") if name == "base" else load_tiny(name)

    monkeypatch.setattr(recognition, "load", load)
    return Command(capsys)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for index in range(3):
        pixels = (255 * torch.rand(30, 40, 3, generator=generator)).byte().numpy()
        Image.fromarray(pixels).save(root / f"[{index}].png")
    return root


def test_json_is_what_the_library_computes(molyneux, photos):
    ended = molyneux("recognise", photos, "--model=tiny", "--base=base", *NAMES, "--json", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    found = load_tiny("tiny").recognise(photos, NAMES[1:], base=ConvModel(seed=3, name="base"))
    assert json.loads(ended.out) == json.loads(json.dumps(found.as_dict()))


def test_the_table_shows_each_photo_with_its_names(molyneux, photos):
    ended = molyneux("recognise", photos, "--model", "tiny", *NAMES, "--top", 2)
    assert ended.code == 0
    assert all(f"[{index}].png" in ended.out for index in range(3))
    assert sum(ended.out.count(name) for name in ("ring", "cross", "disc")) >= 6
    assert "-v: all of it" in ended.out
    assert "softmax" in molyneux("recognise", photos, "--model", "tiny", "-v").out
    assert "photos: 3 of 3" in ended.err


def test_the_page_is_written_and_named(molyneux, photos, tmp_path):
    page = tmp_path / "sheet.html"
    ended = molyneux("recognise", photos, "--model", "tiny", *NAMES, "--out", page, "--quiet")
    assert (ended.code, f"contact sheet: {page}" in ended.out) == (0, True)
    assert page.read_text().count("data:image") == 3
    check_refused(molyneux("recognise", photos, "--model=tiny", *NAMES, "--out", page, "--quiet"), "already exists")


def test_names_come_from_a_file(molyneux, photos, tmp_path):
    (tmp_path / "names.txt").write_text("ring\ncross\n")
    ended = molyneux("recognise", photos, "--model=tiny", "--names", tmp_path / "names.txt", "--json", "--quiet")
    assert json.loads(ended.out)["protocol"]["names"] == ["ring", "cross"]


def test_bad_requests_are_refused(molyneux, tmp_path):
    check_refused(molyneux("recognise", tmp_path / "no.jpg", "--model=tiny", "--quiet"), "no photo at")
    check_refused(molyneux("recognise", tmp_path, "--model=tiny", "--quiet"), "has no photos")
    assert molyneux("recognise").code == 2
