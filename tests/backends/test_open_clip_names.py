import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.families_open_clip import BIOMED, COCA, VIT, build_random, write_text_tower
from molyneux.backends.abilities import captioner
from molyneux.backends.open_clip import CoCaModel, load_named
from molyneux.backends.open_clip.weights import CONFIG
from molyneux.errors import ModelError

TAGS = {
    "right": {"hf_hub": "org/right/", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "quick_gelu": True},
    "left": {"hf_hub": "org/left/", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "quick_gelu": True},
}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """The hub out of reach: what is asked for is kept, and nothing comes."""
    asked: list[str] = []

    def refuse(*args, repo_id: str = "", filename: str = "", **more):
        asked.append(f"{repo_id}/{filename}")
        raise ConnectionError("the network\nis unreachable")

    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", refuse)
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **more: refuse())
    return asked


@pytest.fixture
def tiny_names(monkeypatch):
    """Two architectures that open_clip knows under these names: a CLIP with published weights, and a CoCa without."""
    import open_clip.factory
    import open_clip.pretrained

    for name, description in (("tiny-quickgelu", VIT), ("tiny-coca", COCA)):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, description["model_cfg"])
    plain = {key: value for key, value in VIT["model_cfg"].items() if key != "quick_gelu"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", plain)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-quickgelu", TAGS)
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, "tiny", {**TAGS, "plain": {**TAGS["left"], "quick_gelu": False}}
    )


@pytest.fixture
def weights(tmp_path) -> Path:
    save_file(build_random("tiny", VIT, seed=3).native.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def same(one, other) -> bool:
    mine, theirs = one.native.state_dict(), other.native.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in mine.items())


def test_a_tag_is_fetched_and_brings_its_constants(tiny_names, weights, monkeypatch):
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", lambda **asked: str(weights))
    model = load_named("tiny-quickgelu/right")
    assert same(model, build_random("tiny", VIT, seed=3))
    assert model.name == "open_clip:tiny-quickgelu/right"
    assert model._rules.mean == (0.1, 0.2, 0.3)
    assert model._rules.std == (0.4, 0.5, 0.6)


def test_a_file_is_loaded_with_the_constants_of_what_was_published(tiny_names, weights):
    model = load_named(f"tiny-quickgelu/{weights}")
    assert same(model, build_random("tiny", VIT, seed=3))
    assert model._rules.mean == (0.1, 0.2, 0.3)


def test_a_file_for_an_architecture_with_several_constants_is_refused(tiny_names, weights, monkeypatch):
    import open_clip.pretrained

    different = {"left": TAGS["left"], "right": {**TAGS["right"], "mean": (0.5, 0.5, 0.5)}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-quickgelu", different)
    with pytest.raises(ModelError, match="normalise images in several ways"):
        load_named(f"tiny-quickgelu/{weights}")


@pytest.mark.parametrize("mark", ["input_resolution", "context_length", "vocab_size", "the file's name"])
def test_quickgelus_weights_are_refused_under_gelu(tiny_names, weights, tmp_path, mark):
    state = load_file(weights)
    marked = tmp_path / (
        "marked.pt" if mark in ("input_resolution", "context_length", "vocab_size") else "ViT_quick-gelu.pt"
    )
    torch.save(state if "name" in mark else state | {mark: torch.tensor(32)}, marked)
    with pytest.raises(ModelError, match=r"trained with QuickGELU .* and the architecture has GELU"):
        load_named(f"tiny/{marked}")
    assert same(load_named(f"tiny-quickgelu/{marked}"), build_random("tiny", VIT, seed=3))


def test_a_model_says_which_activation_it_computes_with(tiny_names, weights):
    assert load_named(f"tiny-quickgelu/{weights}").activation == "QuickGELU"
    plain = weights.rename(weights.with_name("unmarked.safetensors"))
    assert load_named(f"tiny/{plain}").activation == "GELU"


def test_a_coca_by_name_writes_captions_and_a_clip_does_not(tiny_names, weights, tmp_path):
    path = tmp_path / "coca.safetensors"
    save_file(build_random("tiny", COCA).native.state_dict(), path)
    model = load_named(f"tiny-coca/{path}")
    assert captioner(model, "captioning") is model
    assert isinstance(model, CoCaModel)
    assert model._rules.mean[0] == 0.48145466  # OpenAI's, for want of others
    with pytest.raises(ModelError, match="captioning needs a model that writes captions"):
        captioner(load_named(f"tiny-quickgelu/{weights}"), "captioning")


def test_a_repository_of_the_hub_is_fetched_with_its_text_tower(tmp_path, monkeypatch):
    write_text_tower(tmp_path / "bert")
    description = json.loads(json.dumps(BIOMED))
    description["model_cfg"]["text_cfg"] |= dict.fromkeys(
        ("hf_model_name", "hf_tokenizer_name"), str(tmp_path / "bert")
    )
    (tmp_path / CONFIG).write_text(json.dumps(description))
    save_file(build_random("tiny", BIOMED, seed=3).native.state_dict(), tmp_path / "open_clip_model.safetensors")
    asked: list[str] = []

    def fetch(repo_id: str, filename: str, **more) -> str:
        asked.append(f"{repo_id}/{filename}")
        return str(tmp_path / filename)

    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", fetch)
    model = load_named("hf-hub:org/biomed")
    assert asked == [f"org/biomed/{CONFIG}", "org/biomed/open_clip_model.safetensors"]
    assert same(model, build_random("tiny", BIOMED, seed=3))


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_folder_is_loaded(prefix, tmp_path):
    model = build_random("tiny", VIT, seed=3)
    model.save(tmp_path / "model")
    assert same(load_named(f"{prefix}{tmp_path / 'model'}"), model)


@pytest.mark.parametrize(
    ("asked", "instead"),
    [
        ("ViT-B-32/openai", "ViT-B-32-quickgelu/openai"),
        ("ViT-L-14/openai", "ViT-L-14-quickgelu/openai"),
        ("RN50/openai", "RN50-quickgelu/openai"),
        ("ViT-B-16/dfn2b", "ViT-B-16-quickgelu/dfn2b"),
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("tiny/right", "tiny-quickgelu/right"),
        ("tiny-quickgelu/plain", "tiny/plain"),
    ],
)
def test_weights_of_another_activation_are_refused_before_anything_is_fetched(tiny_names, asked, instead, no_hub):
    with pytest.raises(ModelError, match=rf"ask for 'open_clip:{instead}'") as refusal:
        load_named(asked)
    assert "QuickGELU" in str(refusal.value)
    assert no_hub == []


def test_every_published_set_of_weights_can_be_asked_for_under_some_name():
    """Whatever is refused for its activation exists under the name that the refusal gives."""
    from open_clip import get_model_config, list_pretrained
    from open_clip.pretrained import is_pretrained_cfg

    refused = 0
    for name, tag in list_pretrained():
        from open_clip.pretrained import get_pretrained_cfg

        if get_pretrained_cfg(name, tag).get("quick_gelu") and not get_model_config(name).get("quick_gelu"):
            refused += 1
            assert get_model_config(f"{name}-quickgelu")["quick_gelu"]
            assert is_pretrained_cfg(f"{name}-quickgelu", tag)
    assert refused > 10


@pytest.mark.parametrize("asked", ["hf-hub:org/name", "tiny-quickgelu/right"])
def test_a_hub_out_of_reach_is_one_clear_error(tiny_names, asked, no_hub):
    with pytest.raises(ModelError, match=r"cannot be fetched .*check the name and the connection") as refusal:
        load_named(asked)
    assert "\n" not in str(refusal.value)
    assert no_hub


def test_a_text_tower_that_the_hub_does_not_give_is_one_clear_error(tmp_path, monkeypatch):
    description = json.loads(json.dumps(BIOMED))
    description["model_cfg"]["text_cfg"] |= dict.fromkeys(("hf_model_name", "hf_tokenizer_name"), str(tmp_path / "no"))
    (tmp_path / CONFIG).write_text(json.dumps(description))
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", lambda filename, **more: str(tmp_path / filename))
    with pytest.raises(ModelError, match="cannot be fetched"):
        load_named("hf-hub:org/biomed")


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ("ViT-B-33/openai", r"no architecture 'ViT-B-33'.*did you mean ViT-B-32"),
        ("qqqq", r"no architecture 'qqqq'.*expected NAME/TAG"),
        ("local-dir:/nowhere", "no folder 'local-dir:/nowhere'"),
        ("tiny-quickgelu", r"to be given with weights: expected .* one of right, left"),
        ("tiny-quickgelu/", "to be given with weights"),
        ("tiny-quickgelu/up", r"no published weights 'up', and there is no such file: expected .* one of right, left"),
        ("tiny-coca/any", "with one of none"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_was_expected(tiny_names, asked, complaint, no_hub):
    with pytest.raises(ModelError, match=complaint):
        load_named(asked)
    assert no_hub == []
