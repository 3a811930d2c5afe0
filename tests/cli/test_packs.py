import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.command import Command, check_refused
from helpers.runs import use_few_classes, use_tiny, write_photos
from helpers.small_models import ConvModel, load_tiny
from molyneux.backends.digest import weights_digest
from molyneux.concepts import Concept
from molyneux.packs import load_pack
from molyneux.synthetic import noise_images

REPLAY = tuple(noise_images(Concept(f"thing {seed}", "a thing."), 1, 16, seed) for seed in range(8))
CONCEPTS = {"ring": "A round band of one colour with a hole.", "cross": "Two bars that meet in the middle."}


@pytest.fixture
def molyneux(capsys, monkeypatch, tmp_path):
    use_tiny(monkeypatch, tmp_path / "cache")
    use_few_classes(monkeypatch)
    monkeypatch.setattr("molyneux.backends.load.load", load_tiny)
    monkeypatch.setattr("molyneux.pipeline.teach_run.replay_images", lambda model, *_, **__: replay(model))
    return Command(capsys)


def replay(model: ConvModel) -> tuple[object, ...]:
    """As the untaught model alone makes it."""
    assert weights_digest(model.native) == weights_digest(ConvModel().native)
    return REPLAY


def teach(molyneux: Command, name: str, out: Path, *more: object) -> None:
    texts = ("--long-text", "truncate", "--images-from", "none")
    if "--novel" not in more:
        texts += ("--no-fresh",)
    ended = molyneux(
        "teach",
        name,
        "--description",
        CONCEPTS[name],
        "--out",
        out,
        "--quiet",
        *texts,
        *more,
    )
    assert (ended.code, ended.err) == (0, "")


@pytest.fixture
def run(molyneux, tmp_path) -> Path:
    photos = write_photos(tmp_path / "photos")
    scoring = ("--novel", photos / "novel", "--known", photos / "known", "--names", photos / "names.txt")
    teach(molyneux, "ring", tmp_path / "run", "--model", "tiny", *scoring)
    return tmp_path / "run"


def test_a_configuration_gives_its_replay_images_too(molyneux, run, tmp_path):
    config = (run / "config.yaml").read_text()
    (tmp_path / "more.yaml").write_text(config.replace("count: 20", "count: 9"))
    again = ("teach", "--config", tmp_path / "more.yaml", "--quiet", "--out")
    assert molyneux(*again, tmp_path / "again").code == 0
    assert "count: 9" in (tmp_path / "again" / "config.yaml").read_text()
    (tmp_path / "more.yaml").write_text(config.replace("count: 20", "count: 1"))
    check_refused(molyneux(*again, tmp_path / "one"), "replay.count is 1", "two")
    assert not (tmp_path / "one").exists()


def test_a_run_without_photos_says_that_nothing_was_measured(molyneux, tmp_path):
    texts = ("--long-text", "truncate", "--model", "tiny", "--quiet")
    ended = molyneux("teach", "ring", "--description", CONCEPTS["ring"], "--out", tmp_path / "run", *texts)
    assert "\nexpected price: the new name takes 1 % of photos of known things" in ended.out
    assert ended.out.startswith("recognition was not measured: photos for --novel and --known would")
    assert "protocol" not in ended.out


def test_a_concept_goes_from_one_model_to_another_and_out_again(molyneux, run, tmp_path):
    ended = molyneux("pack", run, "--out", tmp_path / "packs", "--json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)["ring"]
    path = Path(found["file"])
    assert path == tmp_path / "packs" / "ring.safetensors"
    scores = json.loads((run / "scores.json").read_text())
    assert found["scores"]["recall"] == scores["concepts"]["ring"]["target_recall"]["after"]
    assert found["scores"]["photos"] == 4
    assert found["base"] == {"name": "tiny", "weights": weights_digest(ConvModel().native)}
    assert load_pack(path).scores == found["scores"]

    ended = molyneux("apply", path, "--model", "tiny", "--out", tmp_path / "applied", "--json")
    assert (ended.code, ended.err) == (0, "")
    said = json.loads(ended.out)
    assert said["packs"] == ["ring"]
    assert said["weights"] == f"sha256:{weights_digest(load_tiny(run / 'model').native)}"

    ended = molyneux("remove", "ring", "--model", tmp_path / "applied", "--out", tmp_path / "base", "--json")
    said = json.loads(ended.out)
    assert said == {
        "folder": str(tmp_path / "base"),
        "packs": [],
        "weights": f"sha256:{weights_digest(ConvModel().native)}",
    }


@pytest.mark.parametrize("flag", ["--base", "--model"])
@pytest.mark.parametrize("inner", ["", "model"])
def test_teaching_goes_on_from_a_taught_model(molyneux, run, tmp_path, flag, inner):
    teach(molyneux, "cross", tmp_path / "both", flag, run / inner)
    teach(molyneux, "cross", tmp_path / "cross", "--model", "tiny")
    names = tmp_path / "photos" / "names.txt"  # a lesson compares with the known names
    teach(molyneux, "ring", tmp_path / "other", "--base", tmp_path / "cross", "--names", names)
    both, other = (load_tiny(tmp_path / name / "model") for name in ("both", "other"))
    assert [pack.name for pack in both.packs] == ["cross", "ring"]
    assert weights_digest(both.native) == weights_digest(other.native)
    ended = molyneux("list", "packs", "--model", tmp_path / "both", "--json")
    assert list(json.loads(ended.out)) == ["cross", "ring"]
    ended = molyneux("remove", "cross", "--model", tmp_path / "both", "--out", tmp_path / "left")
    assert "packs: ring; SHA-256" in ended.out
    assert weights_digest(load_tiny(tmp_path / "left").native) == weights_digest(load_tiny(run / "model").native)


def test_people_read_lines(molyneux, run, tmp_path):
    ended = molyneux("pack", run, "--out", tmp_path / "mine.safetensors")
    size = (tmp_path / "mine.safetensors").stat().st_size
    said, following = ended.out.splitlines()
    assert said == f"ring: {tmp_path / 'mine.safetensors'}, {size:,} bytes"
    assert following == f"next: molyneux apply {tmp_path / 'mine.safetensors'} --model tiny --out FOLDER"
    ended = molyneux("list", "packs", "--model", run)
    heading, row = ended.out.splitlines()
    assert heading.split()[:3] == ["pack", "taught", "to"]
    assert row.startswith("ring")
    assert "tiny" in row
    assert CONCEPTS["ring"] in row


def test_what_was_taught_before_is_among_the_answers(molyneux, run, tmp_path):
    photos = tmp_path / "photos"
    scoring = ("--novel", photos / "novel", "--known", photos / "known", "--names", photos / "names.txt")
    teach(molyneux, "cross", tmp_path / "both", "--base", run, *scoring)
    found = [json.loads((folder / "scores.json").read_text()) for folder in (run, tmp_path / "both")]
    assert [one["protocol"]["known_names"] for one in found] == [
        ["circle", "square", "triangle"],
        ["circle", "square", "triangle", "ring"],
    ]
    assert list(found[1]["concepts"]) == ["cross"]


def test_a_folder_of_packs_is_applied_at_once(molyneux, run, tmp_path):
    teach(molyneux, "cross", tmp_path / "both", "--base", run)
    molyneux("pack", tmp_path / "both", "--out", tmp_path / "packs")
    ended = molyneux("apply", tmp_path / "packs", "--model", "tiny", "--out", tmp_path / "again", "--json")
    digest = weights_digest(load_tiny(tmp_path / "both" / "model").native)
    assert json.loads(ended.out)["weights"] == f"sha256:{digest}"
    again = molyneux(
        "apply", tmp_path / "both" / "model" / "packs", "--model", "tiny", "--out", tmp_path / "same", "--json"
    )
    assert json.loads(again.out)["weights"] == f"sha256:{digest}"


def test_what_cannot_be_done_is_one_clear_line(molyneux, run, tmp_path):
    out = tmp_path / "out"
    path = tmp_path / "ring.safetensors"
    assert molyneux("pack", run, "--out", path).code == 0
    check_refused(molyneux("pack", run, "--out", path), "already exists")
    check_refused(molyneux("pack", tmp_path, "--out", out), "holds no packs")
    check_refused(molyneux("list", "packs", "--model", tmp_path / "nowhere"), "holds no packs")
    check_refused(
        molyneux("apply", tmp_path / "no.safetensors", "--model", "tiny", "--out", out), "there is no pack at"
    )
    check_refused(molyneux("apply", tmp_path / "photos", "--model", "tiny", "--out", out), "holds no packs")
    check_refused(molyneux("apply", path, "--model", run / "model", "--out", out), "'ring' already", "molyneux remove")
    check_refused(molyneux("remove", "moongate", "--model", run, "--out", out), "no pack 'moongate': it has 'ring'")
    other = replace(load_pack(path), base="f" * 64, base_name="hf:other").save(tmp_path / "other")
    check_refused(molyneux("apply", other, "--model", "tiny", "--out", out), "'hf:other'", "f" * 12)
    flags = ("--description", "A band.", "--quiet", "--long-text", "truncate")
    check_refused(molyneux("teach", "Ring", *flags, "--base", run, "--out", out), "pack 'ring' already")
    teach(molyneux, "cross", tmp_path / "both", "--base", run)
    check_refused(molyneux("pack", tmp_path / "both", "--out", tmp_path / "two.safetensors"), "2 packs: give a folder")
    assert not out.exists()
