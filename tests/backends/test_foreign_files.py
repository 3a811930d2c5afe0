"""Files as others publish them: read where that is safe, and otherwise refused with the way that works."""

import argparse
import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from helpers.families_open_clip import FAMILIES as OPEN_CLIP
from helpers.families_open_clip import VIT, build_random
from molyneux.backends.digest import weights_digest
from molyneux.backends.hub import cached_folder, quiet_hub
from molyneux.backends.load import load
from molyneux.backends.open_clip import load_folder, load_weights
from molyneux.errors import ModelError


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return build_random("tiny", VIT, seed=3).native.state_dict()


WRAPPED = {
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "compiled, in parallel": lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    "a compiled tower": lambda state: {key.replace("visual.", "visual._orig_mod."): v for key, v in state.items()},
    "lightning": lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}, "epoch": 3},
    "with settings": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1, names=["a"]), "epoch": 3},
    "under 'model'": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
}


@pytest.mark.parametrize("ending", [".pt", ".ckpt"])
@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_of_a_training_run_are_found_in_its_checkpoint(state, kind, ending, tmp_path):
    torch.save(WRAPPED[kind](state), tmp_path / f"epoch{ending}")
    model = build_random("tiny", VIT, seed=1)
    load_weights(model, tmp_path / f"epoch{ending}")
    assert weights_digest(model.native) == weights_digest(build_random("tiny", VIT, seed=3).native)


def test_safetensors_with_a_wrappers_names_are_read_too(state, tmp_path):
    save_file({f"_orig_mod.{key}": value for key, value in state.items()}, tmp_path / "weights.safetensors")
    model = build_random("tiny", VIT, seed=1)
    load_weights(model, tmp_path / "weights.safetensors")
    assert weights_digest(model.native) == weights_digest(build_random("tiny", VIT, seed=3).native)


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("ViT-B-32.pt", "ViT-B-32-quickgelu/openai"),
        ("RN50.pt", "RN50-quickgelu/openai"),
        ("ViT-L-14-336px.pt", "ViT-L-14-336-quickgelu/openai"),
        ("weights.pt", "ViT-B-32-quickgelu/openai"),
    ],
)
def test_openais_archive_is_named_by_the_name_that_loads_it(file, asked, tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / file)
    with pytest.raises(ModelError, match=f"TorchScript archive.* 'open_clip:{asked}' loads the same weights"):
        load_weights(OPEN_CLIP["open_clip-vit"](), tmp_path / file)


class Trainer:
    """What a pickle of a whole model holds."""


def test_a_whole_pickled_model_is_refused_with_what_to_save(tmp_path):
    torch.save({"state_dict": Trainer()}, tmp_path / "whole.pt")
    with pytest.raises(ModelError, match=r"load it with torch and save its state_dict\(\)"):
        load_weights(OPEN_CLIP["open_clip-vit"](), tmp_path / "whole.pt")


def test_a_vision_tower_alone_says_what_it_is(state, tmp_path):
    save_file(
        {key: value for key, value in state.items() if key.startswith("visual.")}, tmp_path / "seeing.safetensors"
    )
    with pytest.raises(ModelError, match="a vision tower alone: expected those of both towers"):
        load_weights(OPEN_CLIP["open_clip-vit"](), tmp_path / "seeing.safetensors")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(tmp_path / "tower")
    for name in (tmp_path / "tower", f"hf:{tmp_path / 'tower'}"):
        with pytest.raises(ModelError, match=r"'clip_vision_model'.*a vision tower alone, so give the model"):
            load(name)


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """A hub's cache that holds nothing yet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_biomedclip_folder_finds_its_text_configuration_in_the_hubs_cache(cache, tmp_path):
    """As published: the tokenizer lies beside the weights, the text tower's configuration is another repository's."""
    model = OPEN_CLIP["open_clip-timm-bert"]()
    model.save(tmp_path / "model")
    content = json.loads((tmp_path / "model" / "open_clip_config.json").read_text())
    content["model_cfg"]["text_cfg"]["hf_model_name"] = "org/bert"
    (tmp_path / "model" / "open_clip_config.json").write_text(json.dumps(content))
    described = (tmp_path / "model" / "config.json").read_bytes()
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config.json, nor has the hub's cache: .* hf download org/bert"):
        load_folder(tmp_path / "model")
    snapshot = cache / "models--org--bert" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes(described)
    (cache / "models--org--bert" / "refs").mkdir()
    (cache / "models--org--bert" / "refs" / "main").write_text("abc")
    assert cached_folder("org/bert", "config.json") == snapshot
    again = load_folder(tmp_path / "model")
    assert weights_digest(again.native) == weights_digest(model.native)
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").is_file()
    assert cached_folder("/no/repository/at/all", "config.json") is None


def test_retries_are_not_reported_while_a_model_is_fetched(monkeypatch, caplog):
    def fail(*given: object, **named: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with caplog.at_level(logging.WARNING), pytest.raises(ModelError, match="check the name and the connection"):
        load("hf:org/name")
    assert not caplog.records
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    with quiet_hub():
        assert logger.level == logging.CRITICAL
    assert logger.level == level
