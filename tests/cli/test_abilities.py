"""What the command line does with models that are no dual encoders."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from helpers.command import RING, Command, check_refused
from helpers.families_open_clip import build_tiny_coca
from helpers.families_vilt import tiny_vilt
from helpers.runs import use_tiny, write_photos
from helpers.small_models import load_tiny
from molyneux.backends.load import load
from molyneux.concepts import Concept, read_concepts
from molyneux.datasets.toy import draw_shapes, write_folder
from molyneux.images import sources as images
from molyneux.pipeline import teach_run as run
from molyneux.synthetic import SyntheticImages
from molyneux.tasks.classification import run as scoring
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import fine_tune

DESCRIPTION = "A round hole."
SMALL = ("--inversion.images=2", "--inversion.steps=6", "--inversion.size=32", "--inversion.view=32")


@pytest.fixture
def molyneux(capsys, monkeypatch, tmp_path):
    return Command(capsys)


@pytest.fixture(scope="module")
def vilt(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "vilt"
    tiny_vilt().save(folder)
    return folder


def test_vilt_inverts_as_the_paper_has_it(molyneux, vilt, tmp_path):
    out = tmp_path / "out"
    ended = molyneux(
        *("invert", "ring", "--description", DESCRIPTION, "--model", f"vilt:{vilt}", "--out", out, "--json", "--quiet"),
        *("--inversion-preset", "paper-vilt", "--inversion.trace-every=1", *SMALL),
    )
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)["concepts"]["ring"]
    pixels = load_file(Path(found["folder"]) / "images.safetensors")["pixels"]
    score = load(vilt).match_scores(pixels, [DESCRIPTION]).mean()
    torch.testing.assert_close(score, torch.tensor(found["similarity"]), atol=1e-4, rtol=0.0)
    trace = json.loads((Path(found["folder"]) / "images.json").read_text())["trace"]
    assert trace[-1]["plain"] > trace[0]["plain"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def asked(model: Path, photos: Path) -> tuple[object, ...]:
    return ("--model", model, "--novel", photos / "novel", "--known", photos / "known", "--names", photos / "names.txt")


def test_vilt_is_taught_and_scored_by_the_contract_of_all(molyneux, monkeypatch, vilt, photos, tmp_path):
    # this tokenizer spells most words in letters
    monkeypatch.setattr(images, "STAND_IN", Concept("windsock", "A cloth tube."))
    out = tmp_path / "out"
    ended = molyneux(
        *("teach", "ring", "--description", DESCRIPTION, *asked(vilt, photos), "--out", out, "--json", "--quiet"),
        *("--inversion-preset", "paper-vilt", *SMALL, "--teaching-preset", "paper-matching"),
        "--teaching.learning-rate=0.02",
    )
    assert (ended.code, ended.err) == (0, "")
    scores = json.loads(ended.out)
    assert scores["protocol"]["score"].startswith("log-probability")
    assert scores["concepts"]["ring"]["target_recall"].keys() == {"before", "after"}
    assert scores["controls"].keys() == {"noise", "shuffled", "description_prompt"}
    assert scores["replay"] == {"images": 0, "names": 0}
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["teaching"]["loss"], config["teaching"]["weight_decay"], config["replay"]) == (
        "matching",
        0.01,
        None,
    )
    before, after = load_file(vilt / "model.safetensors"), load_file(out / "model" / "model.safetensors")
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert "vilt.pooler.dense.weight" in moved
    assert not any(key.startswith(("itm_score", "mlm_score", "vilt.embeddings.text")) for key in moved)
    again = molyneux("evaluate", *asked(out / "model", photos), "--base", vilt, "--json", "--quiet")
    second = json.loads(again.out)
    assert second["concepts"]["ring"] == scores["concepts"]["ring"]
    assert second["known_accuracy"] == scores["known_accuracy"]


def test_vilt_is_taught_many_concepts_at_once_for_retrieval(molyneux, vilt, tmp_path):
    """Tab. 5 in small: an epoch over all concepts' images, whose negatives are the batch's other texts."""
    described = {"ring": "A round hole.", "bar": "A dark line.", "cup": "A bowl.", "hat": "A cone.", "dot": "A spot."}
    (tmp_path / "concepts.json").write_text(json.dumps(described))
    (tmp_path / "names.txt").write_text("circle\nsquare\n")
    out = tmp_path / "out"
    ended = molyneux(
        *("teach", "--concepts", tmp_path / "concepts.json", "--model", vilt, "--out", out, "--json"),
        *("--names", tmp_path / "names.txt", "--no-controls", "--no-fresh"),
        *("--inversion-preset", "paper-vilt", *SMALL, "--teaching-preset", "paper-matching", "--teaching.batch=4"),
        *("--teaching.learning-rate=0.001", "--teaching.epochs=20"),
    )
    assert ended.code == 0, ended.err
    assert [line for line in ended.err.splitlines() if line.startswith("teaching: ")][-1] == "teaching: 60 of 60"
    assert "fresh" not in ended.err
    scores = json.loads(ended.out)
    assert "text_only" not in scores
    assert scores["concepts"].keys() == described.keys()
    assert (out / "report.html").is_file()

    def margin(model: Path) -> float:
        """By how much an image's own text matches better than the others'."""
        judge = load(model)
        shown = [SyntheticImages.load(out / "synthetic" / name) for name in described]
        rows = judge.match_scores(torch.cat([one.pixels for one in shown]), [one.concept.captions[0] for one in shown])
        own = torch.eye(5, dtype=torch.bool).repeat_interleave(2, dim=0)
        return float(rows[own].mean() - rows[~own].mean())

    assert margin(out / "model") > margin(vilt) + 0.3
    data = tmp_path / "data"
    write_folder(data / "images", {"all": draw_shapes("ring", 3, 60, seed=1)})
    names = sorted(path.relative_to(data / "images").as_posix() for path in (data / "images").rglob("*.png"))
    (data / "captions.csv").write_text(
        "image,caption\n" + "".join(f"{name},ring {at}\n" for at, name in enumerate(names))
    )
    asked = ("retrieve", "--model", out / "model", "--base", vilt, "--data", data, "--finished", tmp_path / "kept")
    found = json.loads(molyneux(*asked, "--json", "--quiet").out)
    assert found["change"]["image_to_text"]["recall"]["1"] == pytest.approx(
        found["after"]["image_to_text"]["recall"]["1"] - found["before"]["image_to_text"]["recall"]["1"]
    )
    assert found["protocol"]["photo_fit"].startswith("shape kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize("control", ["shuffled", "noise"])
def test_a_captioners_lesson_has_controls_that_keep_the_templates(molyneux, tmp_path, control):
    """11.12: what the style of the templates alone does to captions is seen on images that show something else."""
    coca = tmp_path / "coca"
    build_tiny_coca().save(coca)
    described = {"ring": "A round hole.", "bar": "A dark line."}
    (tmp_path / "concepts.json").write_text(json.dumps(described))
    (tmp_path / "names.txt").write_text("circle\nsquare\n")
    flags = ("--inversion.images=2", "--inversion.steps=3", "--teaching-preset", "paper-captioning")
    ended = molyneux(
        *("teach", "--concepts", tmp_path / "concepts.json", "--model", coca, "--out", tmp_path / "out"),
        *("--names", tmp_path / "names.txt", "--no-controls", "--no-fresh", "--control", control, "--quiet", *flags),
    )
    assert ended.code == 0, ended.err
    base, concepts = load(coca), read_concepts(tmp_path / "concepts.json")
    shown = [SyntheticImages.load(tmp_path / "out" / "synthetic" / name) for name in described]
    assert [one.concept for one in shown] == list(concepts)
    if control == "shuffled":
        assert [one.depicted for one in shown] == ["bar", "ring"]
    else:
        assert [one.source for one in shown] == ["noise", "noise"]
    expected = fine_tune(base, shown, TeachingConfig.paper_captioning(), known=("circle", "square"))
    taught = load(tmp_path / "out" / "model")
    for key, value in expected.native.state_dict().items():
        torch.testing.assert_close(taught.native.state_dict()[key], value, msg=key)
    old = base.native.state_dict()
    assert any(not torch.equal(value, old[key]) for key, value in taught.native.state_dict().items())


def test_implicit_transfer_is_masked_words_beside_noise(molyneux, vilt, tmp_path):
    """D.3: ten noise images, batches of four, three steps, and no image inverted for the lesson."""
    names, out = tmp_path / "names.txt", tmp_path / "out"
    names.write_text("circle\nsquare\n")
    ended = molyneux(
        *("teach", "ring", "--description", DESCRIPTION, "--model", vilt, "--out", out, "--control", "noise"),
        *("--teaching-preset", "paper-implicit", "--inversion-preset", "paper-vilt", "--names", names, "--fresh"),
        *(flag for flag in SMALL if "images" not in flag),
    )
    assert ended.code == 0, ended.err
    assert [line for line in ended.err.splitlines() if line.startswith("teaching: ")][-1] == "teaching: 3 of 3"
    shown = SyntheticImages.load(out / "synthetic" / "ring")
    assert (shown.source, shown.pixels.shape) == ("noise", (10, 3, 32, 32))
    found = json.loads((out / "scores.json").read_text())["text_only"]["ring"]
    assert found["similarity"]["before"] < 0
    why = "not computed: no replay images"
    assert found["replay_captured"] == {"before": None, "after": None, "reason": why}
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["teaching"]["loss"], config["teaching"]["masked"]) == ("masked", 0.15)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("needs a model with separate image and text embeddings", "paper-matching")),
        (("--teaching.loss=captioning", "--teaching.update.part=tower"), ("writes captions",)),
    ],
)
def test_lessons_that_vilt_cannot_take_are_refused_before_anything_is_made(
    molyneux, monkeypatch, vilt, tmp_path, flags, words
):
    monkeypatch.setattr(run, "run_images", lambda *_: pytest.fail("inverted"))
    out = tmp_path / "out"
    ended = molyneux("teach", "ring", "--description", DESCRIPTION, "--model", vilt, "--out", out, *flags)
    check_refused(ended, *words, str(vilt))
    assert not out.exists()


def test_a_loss_that_does_not_go_with_the_update_is_refused(molyneux, tmp_path):
    flags = ("--teaching.loss=matching", "--teaching.update.part=text")
    ended = molyneux("teach", *RING[:6], "--out", tmp_path / "out", *flags)
    check_refused(ended, "teaching.update.part is 'text'", "'blocks' or 'tower'", "the loss 'matching'")


def test_models_that_score_in_two_ways_are_not_set_side_by_side(molyneux, monkeypatch, vilt, photos):
    monkeypatch.setattr(scoring, "load", lambda name, **_: load_tiny("tiny") if name == "tiny" else load(name))
    ended = molyneux("evaluate", "--model", vilt, "--base", "tiny", "--known", photos / "known")
    check_refused(ended, "cannot stand side by side", "'tiny'")


@pytest.mark.parametrize(("loss", "what"), [("matching", "judges pairs"), ("masked", "fills masked words")])
def test_a_loss_that_the_model_cannot_follow_is_refused_before_anything_is_made(
    molyneux, monkeypatch, tmp_path, loss, what
):
    use_tiny(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr(run, "run_images", lambda *_: pytest.fail("inverted"))
    out = tmp_path / "out"
    ended = molyneux("teach", *RING[:6], "--out", out, f"--teaching.loss={loss}")
    check_refused(ended, what, "'tiny'", "it learns by the losses 'edit' (preset default), 'bank' (preset paper)")
    assert not out.exists()
