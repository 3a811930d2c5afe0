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
    assert lines[-1] == f"report: {tmp_path / 'out' / 'report.html'}"


def test_what_cannot_be_done_is_one_clear_line(molyneux, images, tmp_path):
    out = ("--out", tmp_path / "out")
    check_refused(molyneux("localise", *FLAGS, "--images", images, *out), "give a text")
    (tmp_path / "empty").mkdir()
    check_refused(molyneux("localise", *FLAGS, "--text=a", "--images", tmp_path / "empty", *out), "none of the layouts")
    check_refused(molyneux("localise", *FLAGS, "--text=a", "--images", images, "--sam", tmp_path, *out), "config.json")
    check_refused(molyneux("localise", *FLAGS, "--text=a", "--images", images, "--saliency.draws=0", *out), "draws")


def test_a_preset_is_where_the_settings_start_from(molyneux, images, tmp_path):
    flags = (*FLAGS, "--text=a ring", "--images", images, "--saliency-preset=paper", "--json", "--limit=1")
    check_refused(molyneux("localise", *flags, "--out", tmp_path / "a"), "block is 8: expected 0 to 1")
    assert not (tmp_path / "a").exists()
    ended = molyneux("localise", *flags, "--saliency.block=1", "--out", tmp_path / "b")
    saliency = json.loads(ended.out)["protocol"]["saliency"]
    assert (saliency["noise"], saliency["beta"], saliency["block"], saliency["steps"]) == ("standard", 0.1, 1, 1)


@pytest.fixture(scope="module")
def categories(tmp_path_factory):
    """Two dogs, a hot dog and a cat, each in a place of its own."""
    root = tmp_path_factory.mktemp("coco")
    (root / "images").mkdir()
    kinds = ("dog", "dog", "hot dog", "cat")
    for place in range(len(kinds)):
        Image.new("RGB", (32, 24), (60 * place, 90, 30)).save(root / "images" / f"{place}.png")
    content = {
        "images": [{"id": place, "file_name": f"{place}.png", "width": 32, "height": 24} for place in range(4)],
        "categories": [{"id": place, "name": name} for place, name in enumerate(dict.fromkeys(kinds))],
        "annotations": [
            {
                "image_id": place,
                "category_id": ("dog", "hot dog", "cat").index(kind),
                "segmentation": [[1, 1, 9, 1, 9, 9]],
            }
            for place, kind in enumerate(kinds)
        ],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("words", "images", "category"),
    [
        (["--text=a photo of a Dog"], 2, "dog"),
        (["--text=a hot  dog"], 1, "hot dog"),
        (["--text=a small pet", "--category=Cat"], 1, "cat"),
        (["--text=a dog", "--category=cat"], 1, "cat"),
        (["--category=dog"], 2, "dog"),
        ([], 4, None),
    ],
)
def test_a_text_is_scored_against_the_masks_of_its_own_category(
    molyneux, categories, tmp_path, words, images, category
):
    flags = (*FLAGS, "--images", categories, *words, "--out", tmp_path / "out", "--json")
    ended = molyneux("localise", *flags)
    assert (ended.code, ended.err) == (0, "")
    protocol = json.loads(ended.out)["protocol"]
    assert protocol["images"] == images
    assert protocol.get("category") == category
    assert bool(protocol.get("notes")) == (images < 4)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--text=a puppy"], "marks 'dog', 'hot dog', 'cat', and the text names none of it"),
        (["--text=a dogma"], "names none of it"),
        (["--text=a dog and a cat"], "names 'cat' and 'dog'"),
        (["--text=a dog", "--text=a cat"], "names 'cat' and 'dog'"),
        (["--text=a dog", "--category=horse"], "not the category 'horse'"),
    ],
)
def test_a_text_of_no_category_or_of_several_is_refused(molyneux, categories, tmp_path, words, reason):
    ended = molyneux("localise", *FLAGS, "--images", categories, *words, "--out", tmp_path / "out")
    check_refused(ended, reason, "category")
    assert not (tmp_path / "out").exists()


def test_a_category_of_a_set_that_names_none_is_refused(molyneux, images, tmp_path):
    ended = molyneux("localise", *FLAGS, "--images", images, "--text=a", "--category=dog", "--out", tmp_path / "out")
    check_refused(ended, "does not name what is marked")


@pytest.mark.parametrize("more", [(), ("--base=base", "--control.noise=base")])
def test_a_folder_of_plain_images_gets_heat_maps_and_no_scores(molyneux, images, tmp_path, more):
    flags = (*FLAGS, "--text=a ring", "--images", images / "images", *more)
    out = tmp_path / "out"
    ended = molyneux("localise", *flags, "--out", out)
    assert ended.code == 0, ended.err
    assert "3 images; for research only" in ended.out
    assert "note: the images have no masks, so nothing is scored" in ended.err
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["after"], scores["chance"], scores["protocol"]["images"]) == (None, None, 3)
    page = (out / "report.html").read_text()
    assert "3 images without masks, so nothing is\nscored" in page
    assert page.count("<figure>") == 3 * (6 if more else 4)
    header, *rows = (out / "images.csv").read_text().splitlines()
    assert header.startswith("image,after gibberish mask share,after text mask share")
    assert len(rows) == 3
    assert molyneux("report", out).code == 0
