import json
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from helpers.families_hf import FAMILIES
from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.load import LOADERS, MARKS, TYPES, load, named_device, reader_of
from molyneux.concepts import Concept
from molyneux.errors import ModelError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "vit"
    FAMILIES["hf vit_bert"]().save(folder)
    return folder


def test_a_folder_is_loaded_with_and_without_its_loaders_name(saved):
    plain, named = load(saved), load(f"hf:{saved}")
    assert (plain.name, named.name) == (str(saved), f"hf:{saved}")
    assert torch.equal(plain.embed_texts(["a ring."]), named.embed_texts(["a ring."]))


def test_a_runs_folder_stands_for_the_model_that_it_taught(saved, tmp_path, monkeypatch):
    for run in (tmp_path / "run", tmp_path / "mini"):
        run.mkdir()
        (run / "model").symlink_to(saved)
        (run / "scores.json").write_text("{}")
    assert load(tmp_path / "run").name == str(tmp_path / "run" / "model")
    # a run that is called like the default model does not take its place
    monkeypatch.chdir(tmp_path)
    assert load("mini").name == "mini"


def test_a_name_on_the_hub_is_fetched_by_the_hubs_client(monkeypatch, saved):
    asked = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load("hf:some/model").name == "hf:some/model"
    assert {name for name, _ in asked} == {"some/model"}
    assert any("safetensors" in pattern for pattern in asked[-1][1])
    assert not any(pattern.endswith((".bin", ".py", "*")) for _, patterns in asked for pattern in patterns)


def test_pickles_are_fetched_only_where_there_is_nothing_else(monkeypatch, saved, tmp_path):
    asked = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load("hf:some/model")
    assert ["pytorch_model*.bin" in patterns for patterns in asked] == [False, False, True]


@pytest.mark.parametrize("name", ["some/model", "no such folder/../.."])
def test_a_hub_that_cannot_be_reached_is_one_clear_error(monkeypatch, tmp_path, name):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"cannot fetch .* from the Hugging Face hub: .*or give the folder") as refusal:
        load(f"hf:{name}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("loader", ["open_clip", "medclip", "vilt"])
def test_other_loaders_are_given_what_stands_behind_the_colon(monkeypatch, saved, loader):
    made = load(saved)
    module = SimpleNamespace(load_named=lambda rest: made if rest == "NAME/TAG:1" else None)
    monkeypatch.setitem(sys.modules, f"molyneux.backends.{LOADERS[loader]}", module)
    assert load(f"{loader}:NAME/TAG:1") is made


@pytest.mark.parametrize("mark", MARKS)
def test_a_folder_with_a_librarys_mark_is_its_own_whatever_else_it_holds(tmp_path, mark):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / mark).write_text("{}")
    assert reader_of(tmp_path) == MARKS[mark]


@pytest.mark.parametrize("kind", TYPES)
def test_a_folder_without_a_mark_is_told_by_its_type(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    assert reader_of(tmp_path) == TYPES[kind]


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"model_type": "bert"}'])
def test_a_folder_that_nobody_saved_says_what_was_looked_for(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError) as refusal:
        load(tmp_path)
    for looked in (*MARKS, "config.json", "model_type", *TYPES):
        assert looked in str(refusal.value)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_loaders_name_alone_is_no_model(loader):
    with pytest.raises(ModelError, match=f"'{loader}:' names no model"):
        load(f"{loader}:")


def test_a_name_that_is_no_model_lists_the_loaders(tmp_path):
    with pytest.raises(ModelError, match=r"there is no model 'maxi'.*hf:, open_clip:, medclip:, vilt:"):
        load("maxi")
    (tmp_path / "file").write_text("1")
    with pytest.raises(ModelError, match="is a file"):
        load(tmp_path / "file")


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_before_the_model_is_read(device):
    with pytest.raises(ModelError, match=r"there is no device .* here"):
        load("maxi", device=device)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_the_first_of_cuda_mps_and_cpu_that_is_there(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    monkeypatch.setattr("torch.empty", lambda *_, **__: None)
    assert named_device("auto").type == expected


def test_a_model_is_moved_with_what_it_has_read(saved):
    """On the device 'meta', which computes nothing: a row that stays behind would show."""
    model = load(saved)
    model.embed_texts(["a ring."])
    model.place_on("meta")
    assert model.device == torch.device("meta")
    assert model.embed_texts(["a ring."]).device == torch.device("meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_on_cuda_the_same_is_seen_read_inverted_and_taught(saved):
    here, there = load(saved), load(saved, device="auto")
    assert there.device.type == "cuda"
    images = torch.rand(2, 3, here.image_size, here.image_size, generator=torch.Generator().manual_seed(0))
    close = {"atol": 1e-4, "rtol": 0.0}
    torch.testing.assert_close(there.embed_images(images.cuda()).cpu(), here.embed_images(images), **close)
    torch.testing.assert_close(there.embed_texts(["a ring."]).cpu(), here.embed_texts(["a ring."]), **close)
    ring = Concept("ring", "a circle with a hole.")
    made = invert(there, ring, InversionConfig(images=2, steps=2))
    config = TeachingConfig(loss="bank", update=Full(part="tower"), steps=2, replay_batch=0)
    student = fine_tune(there, [made], config, known=["cross", "bar"])
    assert student.device.type == "cuda"
    moved = student.to("cpu").embed_images(images)
    assert moved.isfinite().all()


def test_weights_are_single_and_on_the_device(saved):
    model = load(saved, device="cpu")
    assert {value.dtype for value in model.native.parameters()} == {torch.float32}
    assert model.device == torch.device("cpu")


def test_the_rule_for_long_texts_is_given_to_the_model(saved):
    text = "a ring with a hole. " * 20
    with pytest.raises(ModelError, match="this part would be lost"):
        load(saved).embed_texts([text])
    for policy in ("truncate", "mean"):
        model = load(saved, long_text=policy)
        model.check_text(text)
        assert model.copy().embed_texts([text]).isfinite().all()


def test_embeddings_that_a_model_does_not_have_are_not_averaged(monkeypatch):
    class Judge(VisionLanguageModel):
        name = "judge"

    Judge.__abstractmethods__ = frozenset()
    assert not issubclass(Judge, DualEncoder)
    monkeypatch.setitem(sys.modules, "molyneux.backends.vilt", SimpleNamespace(load_named=lambda _: Judge()))
    with pytest.raises(ModelError, match="averages embeddings, and 'judge' has none"):
        load("vilt:x", long_text="mean")


def test_what_was_taught_is_kept_by_copies_by_saving_and_by_loading(tmp_path):
    model = load("tiny:clip")
    assert (model.concepts, model.base, model.family) == ((), "", "CLIP (open_clip)")
    model.learned([Concept("okapi", ["Striped.", "A hoofed animal."]), Concept("moongate", "A round gate.")])
    twin = model.copy()
    twin.learned([Concept("Okapi", "Brown.")])
    assert [one.name for one in model.concepts] == ["okapi", "moongate"]
    assert twin.concepts == (Concept("moongate", "A round gate."), Concept("Okapi", "Brown."))
    twin.save(tmp_path / "model")
    back = load(tmp_path / "model")
    assert (back.concepts, back.base, back.family) == (twin.concepts, "tiny:clip", "CLIP (open_clip)")
    assert "taught moongate, Okapi, on cpu" in repr(back)
    (tmp_path / "model" / "concepts.json").write_text("{}")
    with pytest.raises(ModelError, match=r"concepts\.json"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "family"), [("vilt", "ViLT"), ("medclip", "MedCLIP"), ("coca", "CoCa"), ("biomedclip", "BiomedCLIP")]
)
def test_every_family_is_known_by_its_name_after_saving_too(name, family, tmp_path):
    model = load(f"tiny:{name}")
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    assert (model.family, back.family, back.base) == (family, family, f"tiny:{name}")
    assert model.to("cpu") is model
