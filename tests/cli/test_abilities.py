"""What the command line does with models that are no dual encoders."""

import json
import sys
from pathlib import Path

import pytest
import torch
from command import RING, Command, check_refused
from runs import use_tiny
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[1] / "backends"))

from families_vilt import tiny_vilt

from molyneux.backends.load import load
from molyneux.pipeline import run

DESCRIPTION = "A round hole."


@pytest.fixture
def molyneux(capsys, monkeypatch, tmp_path):
    return Command(capsys)


@pytest.fixture(scope="module")
def vilt(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "vilt"
    tiny_vilt().save(folder)
    return folder


def test_vilt_inverts_as_the_paper_has_it(molyneux, vilt, tmp_path):
    small = ("--inversion.images=2", "--inversion.steps=6", "--inversion.size=32", "--inversion.view=32")
    out = tmp_path / "out"
    ended = molyneux(
        *("invert", "ring", "--description", DESCRIPTION, "--model", f"vilt:{vilt}", "--out", out, "--json", "--quiet"),
        *("--inversion-preset", "paper-vilt", "--inversion.trace-every=1", *small),
    )
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)["concepts"]["ring"]
    pixels = load_file(Path(found["folder"]) / "images.safetensors")["pixels"]
    score = load(vilt).match_scores(pixels, [DESCRIPTION]).mean()
    torch.testing.assert_close(score, torch.tensor(found["similarity"]), atol=1e-4, rtol=0.0)
    trace = json.loads((Path(found["folder"]) / "images.json").read_text())["trace"]
    assert trace[-1]["plain"] > trace[0]["plain"]


def test_a_run_that_is_scored_needs_a_dual_encoder(molyneux, vilt, tmp_path):
    out = tmp_path / "out"
    ended = molyneux("teach", "ring", "--description", DESCRIPTION, "--model", vilt, "--out", out)
    check_refused(ended, "a run, which is scored, needs a model with separate image and text embeddings", str(vilt))
    assert not out.exists()


@pytest.mark.parametrize(("loss", "what"), [("matching", "judges pairs"), ("masked", "fills masked words")])
def test_a_loss_that_the_model_cannot_follow_is_refused_before_anything_is_made(
    molyneux, monkeypatch, tmp_path, loss, what
):
    use_tiny(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr(run, "run_pictures", lambda *_: pytest.fail("inverted"))
    out = tmp_path / "out"
    check_refused(molyneux("teach", *RING, "--out", out, f"--teaching.loss={loss}"), what, "'tiny'")
    assert not out.exists()
