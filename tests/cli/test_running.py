"""How a model is run, and which weights move, from the command line to config.yaml and back."""

import json
from dataclasses import fields

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from helpers.command import RING, Command
from helpers.runs import use_tiny
from molyneux.backends.lora import with_adapter
from molyneux.teaching.config import Full, LoRA, TeachingConfig


@pytest.fixture
def molyneux(capsys, monkeypatch, tmp_path) -> Command:
    use_tiny(monkeypatch, tmp_path / "cache")
    return Command(capsys)


@pytest.fixture
def taught(molyneux, tmp_path):
    def run(*flags):
        ended = molyneux("teach", *RING, "--out", tmp_path / "run", "--json", *flags)
        assert ended.code == 0, ended.err
        return yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()), json.loads(ended.out)

    return run


def test_how_the_model_is_run_is_kept(taught):
    config, _ = taught("--precision", "bf16", "--long-text", "mean", "--device", "cpu")
    assert {key: config[key] for key in ("device", "precision", "long_text")} == {
        "device": "cpu",
        "precision": "bf16",
        "long_text": "mean",
    }


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), Full()),
        (("--teaching.update.part", "both"), Full(part="both")),
        (("--teaching.update.rank", "2"), LoRA(rank=2)),
        (
            ("--teaching.update.targets", "head.0", "--teaching.update.alpha", "3"),
            LoRA(alpha=3.0, targets=("head.0",)),
        ),
        (("--teaching-preset", "paper", "--teaching.update.rank", "2", "--teaching.epochs=1"), LoRA(rank=2)),
    ],
)
def test_the_update_comes_from_flags_and_back_from_the_configuration(taught, flags, expected):
    config, _ = taught(*flags)
    given = config["teaching"]["update"]
    assert given.keys() == {item.name for item in fields(expected)}
    assert TypeAdapter(type(expected)).validate_python(given) == expected
    again = TypeAdapter(TeachingConfig).validate_python(config["teaching"])
    assert again.update == expected


def test_an_update_is_of_one_kind(molyneux, tmp_path):
    ended = molyneux(
        "teach", *RING, "--out", tmp_path / "run", "--teaching.update.rank=2", "--teaching.update.part=tower"
    )
    assert ended.code == 2
    assert not (tmp_path / "run").exists()


def test_only_the_adapter_is_saved(taught, tmp_path):
    from helpers.small_models import ConvModel

    config, scores = taught("--teaching.update.rank", "2", "--adapter-only")
    folder = tmp_path / "run" / "adapter"
    assert config["adapter_only"] is True
    assert scores["model"] == str(folder)
    assert not (tmp_path / "run" / "model").exists()
    student = with_adapter(ConvModel(), folder)
    old, new = ConvModel().native.state_dict(), student.native.state_dict()
    assert {key for key in old if not torch.equal(old[key], new[key])} == {
        "vision.head.0.weight",
        "vision.head.2.weight",
    }


def test_an_adapter_is_asked_for_with_a_rank(molyneux, tmp_path):
    ended = molyneux("teach", *RING, "--out", tmp_path / "run", "--adapter-only")
    assert ended.code == 2
    assert "set teaching.update.rank" in ended.err


@pytest.mark.parametrize("flag", [("--precision", "fp16"), ("--long-text", "cut")])
@pytest.mark.parametrize("verb", ["teach", "invert", "evaluate"])
def test_values_that_there_are_not_are_refused(molyneux, tmp_path, verb, flag):
    given = (
        ("--model", "tiny", "--novel", tmp_path)
        if verb == "evaluate"
        else (*RING, "--out", tmp_path / "run")
        if verb == "teach"
        else (*RING[:5], "--out", tmp_path / "run")
    )
    ended = molyneux(verb, *given, *flag)
    assert ended.code == 2
    assert flag[0] in ended.err


def test_inversion_keeps_how_it_was_run(molyneux, tmp_path):
    ended = molyneux("invert", *RING[:6], "--inversion.steps=2", "--precision=bf16", "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["precision"] == "bf16"


def test_the_device_that_auto_stands_for_is_said_and_kept(molyneux, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    ended = molyneux("teach", *RING, "--out", tmp_path / "run", "--device", "auto")
    assert ended.code == 0, ended.err
    assert ended.err.count("device: cpu (auto: the first of cuda, mps and cpu that is there)") == 1
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["device"] == "cpu"
