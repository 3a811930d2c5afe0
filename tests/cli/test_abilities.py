"""What the command line does with models that are no dual encoders."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from command import RING, Command, check_refused
from runs import use_tiny, write_photos
from safetensors.torch import load_file

from small_models import load_tiny

sys.path.append(str(Path(__file__).parents[1] / "backends"))

from families_vilt import tiny_vilt

from molyneux.backends.load import load
from molyneux.concepts import Concept
from molyneux.pipeline import pictures, run, scoring
from molyneux.synthetic import SyntheticImages

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
    monkeypatch.setattr(pictures, "STAND_IN", Concept("windsock", "A cloth tube."))
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
    assert scores["replay"] == {"pictures": 0, "names": 0}
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


def test_implicit_transfer_is_masked_words_beside_noise(molyneux, vilt, tmp_path):
    """D.3: ten noise pictures, batches of four, three steps, and no picture inverted for the lesson."""
    names, out = tmp_path / "names.txt", tmp_path / "out"
    names.write_text("circle\nsquare\n")
    ended = molyneux(
        *("teach", "ring", "--description", DESCRIPTION, "--model", vilt, "--out", out, "--control", "noise"),
        *("--teaching-preset", "paper-implicit", "--inversion-preset", "paper-vilt", "--names", names),
        *(flag for flag in SMALL if "images" not in flag),
    )
    assert ended.code == 0, ended.err
    assert [line for line in ended.err.splitlines() if line.startswith("teaching: ")][-1] == "teaching: 3 of 3"
    shown = SyntheticImages.load(out / "synthetic" / "ring")
    assert (shown.source, shown.pixels.shape) == ("noise", (10, 3, 32, 32))
    found = json.loads((out / "scores.json").read_text())["text_only"]["ring"]
    assert found["similarity"]["before"] < 0
    assert found["replay_captured"] == {"before": None, "after": None}
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["teaching"]["loss"], config["teaching"]["masked"]) == ("masked", 0.15)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("needs a model with separate image and text embeddings", "paper-matching")),
        (("--teaching.loss=matching",), ("teaching.update.part is 'space'", "'tower' or 'blocks'")),
        (("--teaching.loss=captioning", "--teaching.update.part=tower"), ("writes captions",)),
    ],
)
def test_lessons_that_vilt_cannot_take_are_refused_before_anything_is_made(
    molyneux, monkeypatch, vilt, tmp_path, flags, words
):
    monkeypatch.setattr(run, "run_pictures", lambda *_: pytest.fail("inverted"))
    out = tmp_path / "out"
    ended = molyneux("teach", "ring", "--description", DESCRIPTION, "--model", vilt, "--out", out, *flags)
    check_refused(ended, *words, str(vilt))
    assert not out.exists()


def test_models_that_score_in_two_ways_are_not_set_side_by_side(molyneux, monkeypatch, vilt, photos):
    monkeypatch.setattr(scoring, "load", lambda name, **_: load_tiny("tiny") if name == "tiny" else load(name))
    ended = molyneux("evaluate", "--model", vilt, "--base", "tiny", "--known", photos / "known")
    check_refused(ended, "cannot stand side by side", "'tiny'")


@pytest.mark.parametrize(("loss", "what"), [("matching", "judges pairs"), ("masked", "fills masked words")])
def test_a_loss_that_the_model_cannot_follow_is_refused_before_anything_is_made(
    molyneux, monkeypatch, tmp_path, loss, what
):
    use_tiny(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr(run, "run_pictures", lambda *_: pytest.fail("inverted"))
    out = tmp_path / "out"
    check_refused(molyneux("teach", *RING, "--out", out, f"--teaching.loss={loss}"), what, "'tiny'")
    assert not out.exists()
