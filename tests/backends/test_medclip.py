import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.families_medclip import FAMILIES, SWIN, old_names, tokenizer, write_vocabulary
from molyneux.backends.checkpoints import PICKLED, SAFE
from molyneux.backends.load import load
from molyneux.backends.medclip import (
    CONFIG,
    MedClipConfig,
    MedClipModel,
    _Towers,
    build,
    load_medclip,
    load_named,
    published_name,
    published_state,
)
from molyneux.concepts import Concept
from molyneux.errors import ModelError
from molyneux.files import sha256

pytestmark = pytest.mark.usefixtures("foreign_folders")

TEXTS = ["a ring.", "a dark mass on the lung", "two bars that meet, in a chest x-ray."]
RING = Concept("ring", "A circle with a hole.")
VARIANTS = pytest.mark.parametrize("kind", sorted(FAMILIES))


@pytest.fixture(scope="module")
def models() -> dict[str, MedClipModel]:
    return {kind: make() for kind, make in FAMILIES.items()}


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory) -> dict[str, Path]:
    folders = {}
    for kind, model in models.items():
        folders[kind] = tmp_path_factory.mktemp("saved") / kind
        model.save(folders[kind])
    return folders


@pytest.fixture
def mine(saved, tmp_path) -> Path:
    """A copy of a saved folder to be damaged."""
    return shutil.copytree(saved["medclip-swin"], tmp_path / "mine")


def sample_images(model: MedClipModel, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(1))


def unread(model: MedClipModel) -> MedClipModel:
    """The same weights, with no text remembered."""
    return MedClipModel(model.name, model.native, model._tokenizer, model._config)


@VARIANTS
def test_the_weights_have_their_published_names(models, kind):
    state = published_state(models[kind].native)
    assert {"logit_scale", "text_model.projection_head.weight", "text_model.model.pooler.dense.weight"} <= state.keys()
    assert torch.equal(state["text_model.model.embeddings.position_ids"], torch.arange(80)[None])
    if kind == "medclip-resnet":
        assert state["vision_model.model.fc.weight"].shape == (12, 2048)
        assert state["vision_model.model.layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
        return
    assert state["vision_model.projection_head.weight"].shape == (12, 16)
    block = "vision_model.model.encoder.layers.0.blocks.1."
    names = {key.removeprefix(block).rpartition(".")[0] for key in state if key.startswith(block)}
    attention = {f"attention.self.{part}" for part in ("query", "key", "value")} | {"attention.output.dense"}
    rest = {"attention.self", "layernorm_before", "layernorm_after", "intermediate.dense", "output.dense"}
    assert names == attention | rest
    assert not re.search(r"q_proj|o_proj|mlp\.|relative_position_bias\.", " ".join(state))


def test_the_stored_index_is_the_place_of_each_pair_of_window_places_in_the_table(models):
    state = published_state(models["medclip-swin"].native)
    index = state["vision_model.model.encoder.layers.0.blocks.0.attention.self.relative_position_index"]
    for one in range(16):
        for other in range(16):
            down, right = one // 4 - other // 4 + 3, one % 4 - other % 4 + 3
            assert index[one, other] == 7 * down + right


def test_the_published_architecture_is_the_default():
    def shapes_of(config: MedClipConfig) -> dict[str, tuple[int, ...]]:
        with torch.device("meta"):
            state = _Towers(config).state_dict()
        return {published_name(key): tuple(value.shape) for key, value in state.items()}

    shapes, resnet = shapes_of(MedClipConfig()), shapes_of(MedClipConfig(vision="resnet"))
    assert shapes["text_model.projection_head.weight"] == (512, 768)
    assert shapes["text_model.model.embeddings.word_embeddings.weight"] == (28996, 768)
    assert shapes["text_model.model.encoder.layer.11.output.dense.weight"] == (768, 3072)
    assert shapes["vision_model.projection_head.weight"] == (512, 768)
    table = "vision_model.model.encoder.layers.3.blocks.1.attention.self.relative_position_bias_table"
    assert shapes[table] == (169, 24)
    assert shapes["vision_model.model.encoder.layers.2.blocks.5.output.dense.weight"] == (384, 1536)
    assert resnet["vision_model.model.fc.weight"] == (512, 2048)
    assert resnet["vision_model.model.layer3.5.conv3.weight"] == (1024, 256, 1, 1)


@VARIANTS
def test_only_the_lightness_of_a_image_is_seen(models, kind):
    model = models[kind]
    grey = sample_images(model).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(model.embed_images(grey), model.embed_images(sample_images(model)), atol=1e-6, rtol=0.0)


def test_a_text_is_read_the_same_in_any_company(models):
    model = models["medclip-swin"]
    together = unread(model).embed_texts([*TEXTS, "a", TEXTS[0]])
    assert torch.equal(together[0], together[-1])
    for index, text in enumerate(TEXTS):
        alone = unread(model).embed_texts([text])
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(("scale", "expected"), [(2.0, 2.0), (-1.0, 0.0), (9.0, 4.6052)])
def test_the_temperature_is_the_clamped_scale(models, scale, expected):
    twin = models["medclip-swin"].copy()
    with torch.no_grad():
        twin.native.logit_scale.fill_(scale)
    assert twin.temperature == pytest.approx(float(torch.tensor(-expected).exp()))


@VARIANTS
def test_the_trunk_is_listed_whole_and_in_order(models, kind):
    model = models[kind]
    seen: list[nn.Module] = []
    blocks = model.trunk_modules()
    handles = [block.register_forward_pre_hook(lambda module, _: seen.append(module)) for block in blocks]
    model.features(sample_images(model))
    for handle in handles:
        handle.remove()
    assert seen == blocks
    listed = {id(p) for block in (*blocks, model.projection_module()) for p in block.parameters()}
    assert listed == {id(p) for p in model.vision_module().parameters()}


def test_the_residual_network_reads_images_of_another_size(models):
    model = models["medclip-resnet"]
    assert model.inversion_size == 32
    assert len(model.vision_batch_norms()) == 17
    assert model.features(torch.rand(1, 3, 32, 32)).shape == (1, 2048)
    assert models["medclip-swin"].inversion_size == models["medclip-swin"].image_size
    assert models["medclip-swin"].vision_batch_norms() == []
    assert all(model.photo_fit.fit == "pad" for model in models.values())


@VARIANTS
def test_a_saved_model_is_loaded_to_the_bit(models, saved, kind):
    model = models[kind]
    for again in (load(saved[kind]), load_named(str(saved[kind])), load(f"medclip:{saved[kind]}")):
        assert torch.equal(again.embed_images(sample_images(model)), model.embed_images(sample_images(model)))
        assert torch.equal(again.embed_texts(TEXTS), unread(model).embed_texts(TEXTS))
        assert again.image_size == model.image_size


def test_the_digest_of_the_first_file_is_kept(models, saved, tmp_path):
    first = load_medclip(saved["medclip-swin"])
    digest = sha256(saved["medclip-swin"] / SAFE)
    assert (models["medclip-swin"].source, first.source) == ("", digest)
    first.save(tmp_path / "second")
    assert load_medclip(tmp_path / "second").source == digest
    assert json.loads((tmp_path / "second" / CONFIG).read_text())["source_sha256"] == digest


@pytest.fixture
def published(models, tmp_path) -> Path:
    """What the publishers put up, but small: a pickle, with its tokenizer and our description beside it."""
    models["medclip-swin"].save(tmp_path / "published", weights=PICKLED)
    assert not (tmp_path / "published" / SAFE).exists()
    return tmp_path / "published"


def test_a_pickle_of_tensors_is_read_from_a_folder_a_file_and_an_archive(models, published):
    with zipfile.ZipFile(published / "medclip-vit-pretrained.zip", "w") as archive:
        archive.write(published / PICKLED, "medclip-vit/" + PICKLED)
    expected = models["medclip-swin"].embed_images(sample_images(models["medclip-swin"]))
    for path in (published, published / PICKLED, published / "medclip-vit-pretrained.zip"):
        model = load_medclip(path)
        assert torch.equal(model.embed_images(sample_images(model)), expected)
        assert model.name == str(path)


def test_a_release_that_stores_its_constants_with_the_weights_loads_the_same(models, saved, monkeypatch):
    plain = _Towers.__init__

    def older(self: _Towers, config: MedClipConfig) -> None:
        plain(self, config)
        for layer in self.modules():
            if "relative_position_index" in layer._buffers:
                layer._non_persistent_buffers_set.discard("relative_position_index")

    monkeypatch.setattr(_Towers, "__init__", older)
    model = models["medclip-swin"]
    again = load(saved["medclip-swin"])
    assert any(key.endswith("relative_position_index") for key in again.native.state_dict())
    assert torch.equal(again.embed_images(sample_images(model)), model.embed_images(sample_images(model)))
    assert published_state(again.native).keys() == published_state(model.native).keys()


def test_what_old_releases_did_not_store_may_be_absent_and_must_not_differ(mine):
    state = load_file(mine / SAFE)
    save_file(old_names(state), mine / SAFE)
    load_medclip(mine)
    state["text_model.model.embeddings.position_ids"] += 1
    save_file(state, mine / SAFE)
    with pytest.raises(ModelError, match="another value for the constant 'text_model"):
        load_medclip(mine)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("missing", r"lack 'vision_model\.model\.layernorm\.bias' \(1 in all\)"),
        ("extra", "have the unknown key 'more'"),
        ("shape", "have another shape for 'logit_scale'"),
        ("stale", "have the unknown key 'vision_model.position_ids'"),
    ],
)
def test_weights_of_another_model_are_told_apart(mine, fault, complaint):
    state = load_file(mine / SAFE)
    if fault == "missing":
        del state["vision_model.model.layernorm.bias"]
    elif fault == "shape":
        state["logit_scale"] = torch.zeros(2)
    else:
        state["more" if fault == "extra" else "vision_model.position_ids"] = torch.zeros(1)
    save_file(state, mine / SAFE)
    with pytest.raises(ModelError, match=complaint):
        load(mine)


def test_weights_of_no_medclip_at_all_are_refused(mine):
    (mine / CONFIG).unlink()
    save_file({"visual.proj": torch.zeros(2, 2)}, mine / SAFE)
    with pytest.raises(ModelError, match="are no MedCLIP's: expected 'vision_model"):
        load_medclip(mine)


class _Shell:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_pickle_with_code_is_refused_and_not_run(published, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    torch.save({"logit_scale": _Shell()}, published / PICKLED)
    with pytest.raises(ModelError, match="damaged, or holds code, which is not run") as refusal:
        load_medclip(published)
    assert "\n" not in str(refusal.value)
    assert ran == []


def test_a_pickle_of_anything_but_named_tensors_is_refused(published):
    for content, kind in (([torch.zeros(1)], "got list"), ({"epoch": 3}, "'epoch' with int")):
        torch.save(content, published / PICKLED)
        with pytest.raises(ModelError, match=f"are no state dict.*{kind}"):
            load_medclip(published)


@pytest.mark.parametrize("name", [SAFE, PICKLED])
@pytest.mark.parametrize("left", [0, 5, 1000, -1000])
def test_truncated_weights_are_one_clear_error(models, tmp_path, name, left):
    models["medclip-swin"].save(tmp_path / "cut", weights=name)
    path = tmp_path / "cut" / name
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ModelError, match=rf"the weights .*{name}") as refusal:
        load_medclip(tmp_path / "cut")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("members", [(), ("a/pytorch_model.bin", "b/pytorch_model.bin")])
def test_an_archive_needs_one_file_of_weights(published, members):
    path = published / "weights.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "Hello.")
        for member in members:
            archive.write(published / PICKLED, member)
    with pytest.raises(ModelError, match=f"holds {len(members)} files called pytorch_model.bin: expected one"):
        load_medclip(path)
    path.write_bytes(path.read_bytes()[:-30])
    # of a cut archive nothing is found, or what is stored in it takes its place
    with pytest.raises(ModelError, match=r"cannot be read|holds 0 files"):
        load_medclip(path)


def test_the_tokenizer_is_looked_for_beside_the_weights_or_where_it_is_said_to_be(mine, tmp_path):
    expected = load_medclip(mine).embed_texts(TEXTS)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (mine / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"tokenizer is missing: .*mine has neither.*medclip:PATH\?tokenizer=FOLDER"):
        load_medclip(mine)
    words = write_vocabulary(tmp_path / "words")
    named = load_named(f"{mine}?tokenizer={words}")
    assert torch.equal(named.embed_texts(TEXTS), expected)
    assert named.name == f"medclip:{mine}?tokenizer={words}"
    with pytest.raises(ModelError, match="nowhere has neither"):
        load_named(f"{mine}?tokenizer={tmp_path / 'nowhere'}")


def test_a_damaged_or_foreign_tokenizer_is_one_clear_error(mine, tmp_path):
    (mine / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"the tokenizer in .*mine cannot be read"):
        load_medclip(mine)
    many = write_vocabulary(tmp_path / "many")
    with (many / "vocab.txt").open("a") as file:
        file.write("\n".join(f"word{number}" for number in range(50)))
    with pytest.raises(ModelError, match=r"tokenizer has 1\d\d entries and the text tower of .* 120"):
        load_medclip(mine, many)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"architecture": {"nonsense": 1}, "source_sha256": ""}'])
def test_a_damaged_description_is_one_clear_error(mine, content):
    (mine / CONFIG).write_text(content)
    said = r"cannot read .*: it is not valid JSON" if content == "{" else "does not describe a MedCLIP"
    with pytest.raises(ModelError, match=said):
        load(mine)


def test_a_description_of_an_impossible_model_is_one_clear_error(mine):
    about = json.loads((mine / CONFIG).read_text())
    about["architecture"]["text"]["num_attention_heads"] = 5
    (mine / CONFIG).write_text(json.dumps(about))
    with pytest.raises(ModelError, match="does not describe a model that can be built"):
        load(mine)


def test_a_folder_or_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"there are no weights at .*none\.bin"):
        load_medclip(tmp_path / "none.bin")
    with pytest.raises(ModelError, match="has neither model"):
        load_medclip(tmp_path)


def test_a_copy_shares_the_text_tower_and_nothing_of_the_vision_tower(models):
    for model in models.values():
        twin = model.copy()
        assert twin.native.text_model is model.native.text_model
        own = {value.data_ptr() for value in model.native.vision_model.state_dict().values()}
        assert not own & {value.data_ptr() for value in twin.native.vision_model.state_dict().values()}
        assert twin.native.logit_scale is not model.native.logit_scale


def test_an_architecture_is_built_with_the_words_it_is_given():
    model = build("other", SWIN, tokenizer())
    assert (model.name, model.source) == ("other", "")
    assert not any(parameter.requires_grad for parameter in model.native.parameters())
