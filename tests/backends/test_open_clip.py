import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from helpers.families_open_clip import COCA, TEXT, TRANSFORMER, VIT, WORDS, build_random, describe, write_text_tower
from molyneux.backends.load import load
from molyneux.backends.open_clip import CONFIG, WEIGHTS, OpenClipModel, build, load_folder
from molyneux.errors import ModelError
from molyneux.teaching.interpolate import interpolate

pytestmark = pytest.mark.usefixtures("foreign_folders")

TEXTS = ["a ring.", "a circle with a hole", "two dark bars that meet in a round hole."]
DESCRIPTION = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 56,
            "timm_model_name": "test_efficientnet",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "mlp",
            "timm_proj_bias": False,
        },
        "text_cfg": {
            "context_length": 16,
            "hf_model_name": "",
            "hf_tokenizer_name": "",
            "hf_model_pretrained": False,
            "hf_proj_type": None,
            "hf_pooler_type": "mean_pooler",
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.4, 0.5, 0.6],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> OpenClipModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("tiny", DESCRIPTION, write_text_tower(tmp_path_factory.mktemp("text")))
        for layer in model.vision_batch_norms():
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny.save(folder)
    return folder


@pytest.fixture
def mine(saved, tmp_path) -> Path:
    """A copy of the saved folder to be damaged."""
    return shutil.copytree(saved, tmp_path / "mine")


def unread(model: OpenClipModel) -> OpenClipModel:
    """The same weights, with no text remembered."""
    return OpenClipModel(model.name, model.native, model._tokenizer, DESCRIPTION)


def images(count: int = 3, size: int = 56) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_a_saved_model_is_loaded_to_the_bit(tiny, saved):
    again = load(saved)
    assert torch.equal(again.embed_images(images()), tiny.embed_images(images()))
    assert torch.equal(again.embed_texts(TEXTS), unread(tiny).embed_texts(TEXTS))
    assert again.temperature == tiny.temperature
    assert (again.image_size, again.name) == (56, str(saved))


def test_a_saved_model_can_be_moved_and_saved_again(tiny, saved, tmp_path):
    moved = shutil.copytree(saved, tmp_path / "moved")
    load_folder(moved).save(tmp_path / "again")
    again = load_folder(tmp_path / "again")
    assert torch.equal(again.embed_images(images()), tiny.embed_images(images()))
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (saved / WEIGHTS).read_bytes()


def test_padding_that_is_left_out_changes_nothing(tiny):
    tokens = tiny._tokenizer(TEXTS)
    assert tokens.shape == (3, 16)
    assert tiny._trimmed(tokens).shape[1] < 16
    with torch.no_grad():
        whole = normalize(tiny.native.encode_text(tokens), dim=1)
        trimmed = normalize(tiny.native.encode_text(tiny._trimmed(tokens)), dim=1)
    torch.testing.assert_close(trimmed, whole, atol=1e-6, rtol=0.0)


def test_texts_come_back_in_the_order_they_were_asked_for(tiny):
    many = [f"{one} {other}" for one in WORDS for other in WORDS]
    together = unread(tiny).embed_texts([*many, many[0]])
    assert torch.equal(together[0], together[-1])
    for index in (0, 7, 200, len(many) - 1):
        alone = unread(tiny).embed_texts([many[index]])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-6, rtol=0.0)


def test_a_copy_shares_the_text_tower_and_nothing_of_the_vision_tower(tiny):
    twin = tiny.copy()
    assert twin.native.text is tiny.native.text
    mine = {value.data_ptr() for value in tiny.native.visual.state_dict().values()}
    assert not mine & {value.data_ptr() for value in twin.native.visual.state_dict().values()}
    assert twin.native.logit_scale is not tiny.native.logit_scale
    before = tiny.embed_images(images())
    assert torch.equal(twin.embed_images(images()), before)
    twin.remap(torch.eye(16).flip(0))
    assert not torch.allclose(twin.embed_images(images()), before, atol=1e-3)
    assert torch.equal(tiny.embed_images(images()), before)


def test_models_of_two_text_towers_are_mixed_and_stay_as_they_are(tiny, saved):
    other = load_folder(saved)
    words = "text.transformer.embeddings.word_embeddings.weight"
    with torch.no_grad():
        other.native.state_dict()[words].add_(1)
    before = {key: value.clone() for key, value in tiny.native.state_dict().items()}
    for alpha in (0.0, 0.5, 1.0):
        mixed = interpolate(other, tiny, alpha).native.state_dict()
        torch.testing.assert_close(mixed[words], before[words] + (1 - alpha))
    assert all(torch.equal(value, before[key]) for key, value in tiny.native.state_dict().items())


def test_a_model_and_its_own_folder_can_be_mixed(tiny, saved):
    twin = tiny.copy()
    twin.remap(torch.eye(16))
    mixed = interpolate(load_folder(saved), twin, 0.5)
    expected = {key: (tiny.native.state_dict()[key] + value) / 2 for key, value in twin.native.state_dict().items()}
    for key, value in mixed.native.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(mine, name):
    (mine / name).unlink()
    with pytest.raises(ModelError, match=f"has no {name}"):
        load(mine)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("missing", "lack 'visual.head"),
        ("extra", "have the unknown key 'more'"),
        ("shape", "have another shape for 'logit_scale'"),
    ],
)
def test_weights_of_another_model_are_told_apart(mine, fault, complaint):
    state = load_file(mine / WEIGHTS)
    if fault == "missing":
        del state["visual.head.mlp.fc1.weight"]
    elif fault == "extra":
        state["more"] = torch.zeros(1)
    else:
        state["logit_scale"] = torch.zeros(2)
    save_file(state, mine / WEIGHTS)
    with pytest.raises(ModelError, match=complaint):
        load(mine)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model_cfg", []),
        ("model_cfg/embed_dim", "many"),
        ("model_cfg/vision_cfg/timm_model_name", "nonsense"),
        ("model_cfg/vision_cfg/timm_pool", "nonsense"),
        ("model_cfg/text_cfg/hf_pooler_type", "nonsense"),
        ("model_cfg/nonsense", 1),
        ("preprocess_cfg", {}),
        ("preprocess_cfg/mean", [0.5]),
    ],
)
def test_a_configuration_that_describes_no_model_is_one_clear_error(mine, path, value):
    content = json.loads((mine / CONFIG).read_text())
    place = content
    *outer, last = path.split("/")
    for key in outer:
        place = place[key]
    place[last] = value
    (mine / CONFIG).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"does not describe a model that can be built|expected three numbers"):
        load(mine)


@pytest.mark.parametrize("name", [CONFIG, "config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", ""])
def test_a_damaged_description_is_one_clear_error(mine, name, content):
    (mine / name).write_text(content)
    with pytest.raises(ModelError, match=r"does not describe a model that can be built|is not valid JSON"):
        load(mine)


def test_a_name_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="there is no model 'maxi': expected 'mini', 'drawn' or a folder"):
        load("maxi")
    (tmp_path / "file").write_text("1")
    with pytest.raises(ModelError, match="is a file"):
        load(tmp_path / "file")


def read_places(model: OpenClipModel, texts: list[str]) -> tuple[torch.Tensor, int]:
    """The embeddings as vectors of unit length, and how many places of the text tower were computed."""
    seen = []
    native = model.native
    tower = native.transformer if hasattr(native, "transformer") else native.text.transformer
    handle = tower.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    found = model.encode_texts(texts)
    handle.remove()
    return found, seen[0]


SHORT_TOWERS = {
    "CLIP": VIT,
    "a text tower of its own": describe(TRANSFORMER, TEXT, custom_text=True),
    "pooled at the end mark": describe(TRANSFORMER, TEXT | {"pool_type": "eos", "eos_id": 49407}, custom_text=True),
}


@pytest.mark.parametrize("kind", SHORT_TOWERS)
def test_padding_is_not_read_and_texts_and_gradients_are_the_vendors(kind):
    model = build_random("tiny", SHORT_TOWERS[kind])
    tokens = model._tokenizer(TEXTS)
    weight = next(value for name, value in model.native.named_parameters() if name.endswith("token_embedding.weight"))
    weight.requires_grad_(True)
    rows, places = read_places(model, TEXTS)
    assert places == int(tokens.argmax(dim=1).max()) + 1 < tokens.shape[1]
    expected = normalize(model.native.encode_text(tokens), dim=1)
    torch.testing.assert_close(rows, expected, atol=1e-6, rtol=0.0)
    target = torch.linspace(-1, 1, rows.numel()).view_as(rows)
    own, theirs = (torch.autograd.grad((one * target).sum(), weight)[0] for one in (rows, expected))
    torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-4)
    assert own.abs().sum() > 0


@pytest.mark.parametrize(
    "description",
    [COCA, describe(TRANSFORMER, TEXT | {"no_causal_mask": True, "pool_type": "last"}, custom_text=True)],
    ids=["CoCa", "not causal"],
)
def test_a_tower_that_sees_its_padding_reads_all_places(description):
    model = build_random("tiny", description)
    rows, places = read_places(model, TEXTS)
    assert places >= TEXT["context_length"]
    expected = normalize(model.native.encode_text(model._tokenizer(TEXTS)), dim=1)
    torch.testing.assert_close(rows, expected, atol=1e-6, rtol=0.0)
