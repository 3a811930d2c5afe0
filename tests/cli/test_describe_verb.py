import json

import pytest

from helpers.command import Command, check_refused
from molyneux.pipeline import describe


@pytest.fixture
def molyneux(capsys):
    return Command(capsys)


def test_names_are_described_into_a_file(molyneux, tmp_path, monkeypatch):
    monkeypatch.setattr(describe, "_writer", lambda _: lambda prompt, seed: f"It has {len(prompt)} letters.")
    out = tmp_path / "concepts.yaml"
    ended = molyneux("describe", "ring", "red cup", "--out", out, "--model", "m", "--json", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert (list(found["written"]), found["kept"]) == (["ring", "red cup"], [])
    shown = molyneux("describe", "ring", "spot", "--out", out, "--model", "m", "--quiet").out.splitlines()
    assert shown[0].startswith("spot: It has ")
    assert shown[1] == f"{out}: 1 written, 1 kept as they were"


def test_what_cannot_be_described_is_refused(molyneux, tmp_path):
    out = tmp_path / "concepts.yaml"
    check_refused(molyneux("describe", "ring", "--out", out), "--model", "--endpoint")
    check_refused(molyneux("describe", "--out", out, "--model", tmp_path), "nothing to describe")
    check_refused(molyneux("describe", "ring", "--out", out, "--model", "nowhere"), "nowhere", "hf:ORG/NAME")
    check_refused(
        molyneux("describe", "ring", "--out", out, "--endpoint", "here", "--endpoint-model", "m"), "'here'", "http"
    )
    assert not out.exists()
