import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.command import Command, check_refused
from helpers.noise import noise_photo
from helpers.runs import Counter, Killed, contents
from helpers.small_captioner import build_letters
from helpers.small_models import load_tiny
from molyneux.datasets.captioned import CaptionedPhotos
from molyneux.datasets.photos import load_batch
from molyneux.tasks.captioning import run as captions
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.captioning.decode import write_captions
from molyneux.tasks.captioning.java import java_version
from molyneux.tasks.captioning.scores import CaptionScores, score_captions

SHORT = "--captioning.longest=8"


@pytest.fixture(scope="module")
def coca():
    return build_letters(seed=1)


@pytest.fixture
def molyneux(capsys, monkeypatch, coca):
    models = {
        "tiny": load_tiny("tiny"),
        "letters": coca,
        "speaker": build_letters(seed=8),
        "other": build_letters(seed=2),
    }
    monkeypatch.setattr(captions, "load", lambda name, **running: models[name])
    # a few photos at a time, so that a run has a middle
    every = captions.batches
    monkeypatch.setattr(captions, "batches", lambda *given, fit: every(*given, 2, fit=fit))
    return Command(capsys)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for name in ("b.png", "a.jpg", "more/c.png", ".hidden/d.png", ".e.png"):
        (root / name).parent.mkdir(exist_ok=True)
        noise_photo((20, 24), len(name) * 9).save(root / name)
    (root / "notes.txt").write_text("none")
    return root


@pytest.mark.parametrize("method", ["beam", "greedy", "top_p"])
def test_each_photo_gets_the_caption_that_the_library_writes(molyneux, coca, photos, method):
    flags = (f"--captioning.method={method}", SHORT, "--seed=5", "--quiet")
    ended = molyneux("caption", "--model=letters", "--images", photos, *flags, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["model"] == "letters"
    names = ["a.jpg", "b.png", "more/c.png"]
    assert list(found["captions"]) == names
    images = load_batch([photos / name for name in names], coca.image_size, coca.crop_fraction, coca.photo_fit)
    expected = write_captions(coca, images, CaptioningConfig(method=method, longest=8), seed=5)
    assert list(found["captions"].values()) == expected
    lines = molyneux("caption", "--model=letters", "--images", photos, *flags).out.splitlines()
    assert lines == [f"{name}: {text}" for name, text in zip(names, expected, strict=True)]


def test_progress_is_told(molyneux, photos):
    ended = molyneux("caption", "--model=letters", "--images", photos, SHORT)
    assert "captions: 3 of 3" in ended.err.splitlines()


def test_what_cannot_be_captioned_is_one_clear_error(molyneux, photos, tmp_path):
    def check(*words: str, model: str = "letters", images: Path = photos, flags: tuple[str, ...] = (SHORT,)) -> None:
        check_refused(molyneux("caption", "--model", model, "--images", images, "--quiet", *flags), *words)

    check("writes captions (CoCa)", "'tiny'", model="tiny")
    check("nowhere", "not there", images=tmp_path / "nowhere")
    check("has no photos", images=tmp_path)
    check("captioning.longest is 40", "12 tokens", flags=("--captioning.longest=40",))
    check("captioning.top_p is 2", flags=("--captioning.top-p=2",))
    (tmp_path / "x.png").write_bytes(b"none")
    check("x.png", "no JPEG, PNG, WebP", images=tmp_path)
    check("is a file", images=tmp_path / "x.png")
    check("expected at least 0", flags=("--samples=-1",))
    check("'after'", "choose another name", flags=("--control.after=other",))
    check_refused(molyneux("caption", "--model=letters", "--quiet"), "nothing to caption")
    check("does not hold stanford-corenlp", flags=("--corenlp-dir", str(tmp_path)))


WRITTEN = {"a.jpg": ["cb there", "acccc"], "b.png": ["b", "c"], "more/c.png": ["acccc", "cb", "a b"]}


@pytest.fixture
def references(photos, tmp_path):
    lines = [f"{name},{text}" for name, group in WRITTEN.items() for text in group]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    return tmp_path / "captions.csv"


@pytest.fixture
def whole(photos, references):
    return ("--images", photos, "--references", references, "--base=other", SHORT, "--no-java", "--json")


def test_captions_are_scored_against_what_people_wrote(molyneux, photos, whole, tmp_path):
    out = tmp_path / "out"
    ended = molyneux("caption", "--model=speaker", *whole, "--control.shuffled=other", "--out", out, "--quiet")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    for key, moment in (("captions", "after"), ("base_captions", "before")):
        expected = score_captions(found[key], WRITTEN).metrics.as_dict()
        assert found["scores"][moment] == json.loads(json.dumps(expected))
    change = found["scores"]["change"]["rouge_l"]["value"]
    assert change == pytest.approx(found["scores"]["after"]["rouge_l"] - found["scores"]["before"]["rouge_l"])
    assert found["scores"]["controls"]["shuffled"] == {"model": "other", **found["scores"]["before"]}
    assert found["scores"]["after"]["meteor"]["reason"] == "not computed: not asked for"
    protocol = found["protocol"]
    assert (protocol["photos"], protocol["references"], protocol["left_out"], protocol["java"]) == (3, 7, 0, None)
    samples = found["samples"]
    assert samples["by"] == "cider"
    gains = [one["after"]["score"] - one["before"]["score"] for one in (*samples["improved"], *samples["worsened"])]
    assert len(gains) == samples["gained"] + samples["lost"] > 0
    for one in (*samples["improved"], *samples["worsened"]):
        assert one["references"] == WRITTEN[one["photo"]]
        assert one["before"]["caption"] == found["base_captions"][one["photo"]]
    kept = json.loads((out / "captions.json").read_text())
    assert kept["a.jpg"] == {
        "before": found["base_captions"]["a.jpg"],
        "after": found["captions"]["a.jpg"],
        "references": WRITTEN["a.jpg"],
    }
    assert json.loads((out / "scores.json").read_text())["scores"] == found["scores"]
    assert {path.name for path in out.iterdir()} == {
        "captions.json",
        "config.yaml",
        "digests.json",
        "environment.json",
        "report.html",
        "scores.json",
    }
    page = (out / "report.html").read_text()
    assert "Gained most, by CIDEr" in page or "Lost most, by CIDEr" in page
    assert "not asked for" in page
    assert page.count("data:image/jpeg") == len(gains)
    (out / "report.html").unlink()
    assert molyneux("report", out).out.strip() == f"report: {out / 'report.html'}"
    assert (out / "report.html").read_text() == page
    check_refused(molyneux("caption", "--model=speaker", *whole, "--out", out, "--quiet"), "finished run")


def test_samples_are_ordered_by_what_they_gained(photos, monkeypatch):
    names = [str(place) for place in range(5)]
    listed = CaptionedPhotos(root=photos, names=tuple(names), captions=(("a",),) * 5)
    written = {name: f"caption {name}" for name in names}

    def scores(*values: float) -> CaptionScores:
        plain = score_captions(dict.fromkeys(names, "a"), listed.as_references())
        return replace(plain, each={**plain.each, "meteor": torch.tensor(values)})

    both = {"before": scores(0.5, 0.5, 0.5, 0.5, 0.5), "after": scores(0.5, 0.9, 0.1, 0.7, 0.4)}
    found = captions._samples(1, listed, {"before": written, "after": written}, both)
    assert (found.by, found.gained, found.lost) == ("meteor", 2, 2)
    assert [one.photo for one in found.improved] == ["1"]
    assert [one.photo for one in found.worsened] == ["2"]
    assert found.improved[0].before.score == 0.5


@pytest.mark.parametrize("end", range(1, 5))
def test_a_run_that_is_killed_goes_on_to_the_same_captions_and_scores(molyneux, photos, references, tmp_path, end):
    def settings(out: Path) -> captions.CaptionSettings:
        config = CaptioningConfig(longest=8, method="top_p")
        return captions.CaptionSettings(
            model="speaker", base="other", images=photos, references=references, out=out, captioning=config, java=False
        )

    whole, rest = Counter(), Counter()
    expected = captions.caption_folder(settings(tmp_path / "whole"), on_step=whole)
    assert whole.calls == 4
    with pytest.raises(Killed):
        captions.caption_folder(settings(tmp_path / "parts"), on_step=Counter(end, Killed))
    work = tmp_path / "parts" / ".work"
    for path in work.glob("*.pieces"):
        path.write_bytes(path.read_bytes() + (99).to_bytes(8, "big") + b"a piece that is cut sh")
    assert captions.caption_folder(settings(tmp_path / "parts"), on_step=rest) == expected
    assert rest.calls == 4 - end
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert not work.exists()


def test_references_know_where_their_photos_are(molyneux, photos, references):
    (references.parent / "images").symlink_to(photos)
    ended = molyneux("caption", "--model=speaker", "--references", references.parent, SHORT, "--no-java", "--json")
    found = json.loads(ended.out)
    assert list(found["captions"]) == list(WRITTEN)
    assert found["images"] == str(references.parent / "images")


def test_a_table_shows_scores_and_what_was_not_computed(molyneux, whole):
    lines = molyneux("caption", "--model=speaker", *whole[:-1], "--quiet").out.splitlines()
    assert lines[0].split() == ["before", "after"]
    assert [line.split()[0] for line in lines[1:7]] == [*(f"BLEU@{order}" for order in range(1, 5)), "ROUGE-L", "CIDEr"]
    assert "METEOR: not computed: not asked for" in lines
    assert lines[-1] == "3 photos, 7 references; all times 100"


def test_cider_of_one_photo_is_explained(molyneux, photos, tmp_path):
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,A dog\n")
    flags = ("--images", photos, "--references", tmp_path / "captions.csv", SHORT, "--quiet", "--no-java")
    assert "CIDEr is 0 with one photo" in molyneux("caption", "--model=speaker", *flags).err
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,A dog\nb.png,A cat\n")
    assert "CIDEr is 0" not in molyneux("caption", "--model=speaker", *flags).err


def test_references_that_do_not_fit_the_photos_are_one_clear_error(molyneux, photos, tmp_path):
    def check(content: str, *words: str, name: str = "captions.csv") -> None:
        (tmp_path / name).write_text(content)
        flags = ("--references", tmp_path / name, "--out", tmp_path / "out", SHORT, "--quiet")
        check_refused(molyneux("caption", "--model=speaker", "--images", photos, *flags), *words)
        assert not (tmp_path / "out").exists()

    check("image,caption\nnone.jpg,a cup\n", "none.jpg", "which is not in", "take its captions out")
    check("image,caption\na.jpg,\n", "expected a photo's name and a caption", "a.jpg")
    check("photo;text\n", "expected the header 'image,caption'")
    check('{"images": [{"id": 1}]}', "not laid out as COCO's captions", name="annotations.json")
    empty = {"images": [{"filename": "a.jpg", "split": "test", "sentences": []}]}
    check(json.dumps(empty), "expected a photo's name and a caption", "a.jpg", name="dataset_drawn.json")


@pytest.mark.slow
@pytest.mark.skipif(java_version() is None, reason="there is no Java")
@pytest.mark.skipif(importlib.util.find_spec("pycocoevalcap") is None, reason="pycocoevalcap is not installed")
def test_with_java_meteor_is_computed_and_orders_the_samples(molyneux, whole):
    flags = [flag for flag in whole if flag != "--no-java"]
    found = json.loads(molyneux("caption", "--model=speaker", *flags, "--quiet").out)
    assert 0 <= found["scores"]["after"]["meteor"]["value"] <= 1
    change = found["scores"]["change"]["meteor"]
    assert change["value"] == found["scores"]["after"]["meteor"]["value"] - found["scores"]["before"]["meteor"]["value"]
    low, high = change["over_images"]["interval"]
    assert low <= change["over_images"]["value"] <= high
    assert found["samples"]["by"] == "meteor"
    assert found["protocol"]["java"] == java_version()
