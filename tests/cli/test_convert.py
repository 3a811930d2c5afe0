import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.command import Command, check_refused
from helpers.families_medclip import FAMILIES, write_vocabulary
from helpers.families_vilt import tiny_vilt
from molyneux.backends.checkpoints import PICKLED, SAFE
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.medclip import MedClipModel


@pytest.fixture
def molyneux(capsys):
    return Command(capsys)


@pytest.fixture
def medclip() -> MedClipModel:
    return FAMILIES["medclip-swin"]()


@pytest.fixture
def published(medclip, tmp_path) -> Path:
    """A pickle without its tokenizer, as it was put up, and an archive with it."""
    folder = tmp_path / "published"
    medclip.save(folder, weights=PICKLED)
    for name in ("tokenizer.json", "tokenizer_config.json", "digests.json"):
        (folder / name).unlink()
    with zipfile.ZipFile(folder / "medclip-vit-pretrained.zip", "w") as archive:
        archive.write(folder / PICKLED, PICKLED)
    return folder


@pytest.mark.parametrize("name", [PICKLED, "medclip-vit-pretrained.zip"])
def test_published_weights_become_a_folder_without_pickles(molyneux, medclip, published, tmp_path, name):
    words = write_vocabulary(tmp_path / "words")
    ended = molyneux("convert", published / name, "--out", tmp_path / "safe", "--tokenizer", words, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["weights"] == f"sha256:{weights_digest(medclip.native)}"
    assert found["folder"] == str(tmp_path / "safe")
    assert not [path for path in (tmp_path / "safe").iterdir() if path.suffix in (".bin", ".zip")]
    pickled = torch.load(published / PICKLED, weights_only=True)
    safe = load_file(tmp_path / "safe" / SAFE)
    assert safe.keys() == pickled.keys()
    assert all(torch.equal(safe[key], pickled[key]) for key in safe)
    again = load(tmp_path / "safe")
    assert torch.equal(again.embed_texts(["a ring"]), medclip.embed_texts(["a ring"]))


def test_any_model_that_can_be_loaded_can_be_saved(molyneux, tmp_path):
    vilt = tiny_vilt()
    vilt.save(tmp_path / "vilt")
    ended = molyneux("convert", tmp_path / "vilt", "--out", tmp_path / "again")
    assert ended.code == 0
    assert ended.out.splitlines()[0].endswith(f"SHA-256 {weights_digest(vilt.native)}")
    assert f"--model {tmp_path / 'again'}" in ended.out.splitlines()[1]
    assert (tmp_path / "again" / SAFE).read_bytes() == (tmp_path / "vilt" / SAFE).read_bytes()


def test_what_cannot_be_converted_is_one_clear_line(molyneux, published, tmp_path):
    out = tmp_path / "out"
    check_refused(molyneux("convert", published / PICKLED, "--out", out), "tokenizer is missing", str(published))
    check_refused(molyneux("convert", tmp_path / "no.bin", "--out", out), "there is no model", "no.bin")
    check_refused(molyneux("convert", "medclip:nowhere", "--out", out), "no weights at nowhere")
    words = write_vocabulary(tmp_path / "words")
    check_refused(molyneux("convert", published, "--out", words, "--tokenizer", words), "words already exists")
    (published / PICKLED).write_bytes(b"PK")
    check_refused(molyneux("convert", published / PICKLED, "--out", out, "--tokenizer", words), "cannot be read")
    assert not out.exists()
