import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from helpers.runs import Counter, Killed, contents
from helpers.small_models import ConvModel, load_tiny
from helpers.small_sam import tiny_sam
from molyneux.errors import ConfigError, DataError, ModelError, OutputError
from molyneux.tasks.localisation import run as segmentation
from molyneux.tasks.localisation.config import MaskConfig, SaliencyConfig
from molyneux.tasks.localisation.run import LocaliseSettings, localise_set

QUICK = SaliencyConfig(steps=2, draws=2)


@pytest.fixture(autouse=True)
def models(monkeypatch):
    def load(name, **running):
        del running
        return ConvModel(seed=3, name="base") if name == "base" else load_tiny(name)

    monkeypatch.setattr(segmentation, "load", load)
    monkeypatch.setattr(segmentation, "load_segmenter", lambda name, device: tiny_sam())


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("marked")
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for index in range(5):
        image = generator.integers(0, 90, (30, 20 + 2 * index, 3), dtype=np.uint8)
        mask = np.zeros(image.shape[:2], dtype=np.uint8)
        mask[5 + index : 15 + index, 4:12] = 255
        image[mask > 0] = (250, 40, 30)
        Image.fromarray(image).save(root / "images" / f"{index}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    return root


def settings(images, out, **changed):
    given = {"model": "tiny", "images": images, "out": out, "texts": ("a red block",), "saliency": QUICK, "shown": 1}
    return LocaliseSettings(**(given | changed))


def test_every_number_stands_beside_its_gibberish_and_its_interval(images, tmp_path):
    scores = localise_set(settings(images, tmp_path / "out", base="base", controls={"noise": "base"})).as_dict()
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == scores
    assert set(scores) == {"version", "model", "base", "chance", "protocol", "before", "after", "change", "controls"}
    for one in (scores["before"], scores["after"], scores["controls"]["noise"]):
        assert set(one) == {"text", "gibberish", "text_minus_gibberish"}
        for asked in one.values():
            assert set(asked) == {"heat", "mask"}
            for spread in (*asked["heat"].values(), *asked["mask"].values()):
                assert spread["interval"][0] <= spread["mean"] <= spread["interval"][1]
    assert scores["controls"]["noise"] == scores["before"] != scores["after"]
    assert scores["protocol"]["images"] == 5
    assert scores["protocol"]["blocks"] == {"after": [1, 1], "before": [1, 1], "control noise": [1, 1]}
    assert scores["protocol"]["sam"].startswith("not computed")
    dice = {moment: scores[moment]["text"]["mask"]["dice"]["mean"] for moment in ("before", "after")}
    assert scores["change"]["mask"]["dice"]["mean"] == pytest.approx(dice["after"] - dice["before"])


def test_the_table_has_the_numbers_that_are_averaged(images, tmp_path):
    scores = localise_set(settings(images, tmp_path / "out")).as_dict()
    with (tmp_path / "out" / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["0", "1", "2", "3", "4"]
    mean = sum(float(row["after text heat energy_ratio"]) for row in rows) / 5
    assert mean == pytest.approx(scores["after"]["text"]["heat"]["energy_ratio"]["mean"], rel=1e-4)
    share = sum(float(row["image mask_share"]) for row in rows) / 5
    assert share == pytest.approx(scores["chance"]["pointing"], rel=1e-4)


@pytest.mark.parametrize("ask", ["box", "boxes", "points"])
def test_sam_is_asked_with_what_the_heat_map_gives(images, tmp_path, ask):
    scores = localise_set(settings(images, tmp_path / "out", sam="tiny", masks=MaskConfig(ask=ask), limit=2)).as_dict()
    assert set(scores["after"]["text"]) == {"heat", "mask", "sam"}
    assert scores["protocol"]["sam"] == "tiny"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Masks from SAM" in page
    assert "research only" in page
    assert page.count("<figure>") == 2 * 5


@pytest.mark.parametrize("how", [KeyboardInterrupt, Killed])
def test_an_interrupted_job_goes_on_to_the_same_result(images, tmp_path, how, monkeypatch):
    whole = localise_set(settings(images, tmp_path / "whole", batch=2))
    with pytest.raises(how):
        localise_set(settings(images, tmp_path / "cut", batch=2), on_step=Counter(3, how))
    seen = Counter()
    assert localise_set(settings(images, tmp_path / "cut", batch=2), on_step=seen) == whole
    assert seen.calls == 3  # the batch that was cut is done again
    assert contents(tmp_path / "cut").keys() == contents(tmp_path / "whole").keys()


def test_a_damaged_image_file_is_made_again(images, tmp_path):
    whole = localise_set(settings(images, tmp_path / "whole", batch=2))
    with pytest.raises(KeyboardInterrupt):
        localise_set(settings(images, tmp_path / "cut", batch=2), on_step=Counter(3))
    damaged = tmp_path / "cut" / "images" / "0.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    told = []
    found = localise_set(settings(images, tmp_path / "cut", batch=2), on_step=lambda what, *_: told.append(what))
    assert found == whole
    assert told[0] == "images/0 is made again: images/0.safetensors is not as it was left"
    assert told[1:] == ["images"] * 5


def test_a_finished_job_and_one_with_other_settings_are_left_alone(images, tmp_path):
    localise_set(settings(images, tmp_path / "out"))
    with pytest.raises(OutputError, match="finished"):
        localise_set(settings(images, tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        localise_set(settings(images, tmp_path / "cut"), on_step=Counter(1))
    with pytest.raises(OutputError, match="other settings"):
        localise_set(settings(images, tmp_path / "cut", texts=("a blue block",)))


def test_a_limit_takes_images_from_the_whole_set(images, tmp_path):
    localise_set(settings(images, tmp_path / "out", limit=2))
    with (tmp_path / "out" / "images.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["0", "2"]


def test_a_seed_draws_as_many_images_as_the_limit(images, tmp_path):
    drawn = {}
    for seed in range(6):
        localise_set(settings(images, tmp_path / str(seed), limit=2, limit_seed=seed))
        drawn[seed] = tuple(contents(tmp_path / str(seed) / "images"))
        assert len(drawn[seed]) == 2
    assert len(set(drawn.values())) > 1
    localise_set(settings(images, tmp_path / "again", limit=2, limit_seed=3))
    assert tuple(contents(tmp_path / "again" / "images")) == drawn[3]


def test_what_cannot_be_done_is_refused_before_any_work(images, tmp_path):
    for wrong, error, words in (
        ({"texts": ()}, ConfigError, "does not say what is marked"),
        ({"images": tmp_path / "nowhere"}, DataError, "not there"),
        ({"model": "nothing-such"}, ModelError, "nothing-such"),
        ({"texts": ("word " * 40,)}, ModelError, "tokens"),
    ):
        with pytest.raises(error, match=words):
            localise_set(settings(**({"images": images, "out": tmp_path / "out"} | wrong)))
        assert not (tmp_path / "out").exists()
    for wrong in ({"limit": -1}, {"batch": 0}, {"template": "no place"}):
        with pytest.raises(ConfigError):
            settings(images, tmp_path, **wrong)


def test_images_wider_than_high_are_stretched_back(tmp_path, images):
    localise_set(settings(images, tmp_path / "out", limit=1))
    (kept,) = (tmp_path / "out" / "images").iterdir()
    found = load_file(kept)
    assert found["after text mask"].shape == (30, 20)
    assert found["after text"].dtype == torch.float32
