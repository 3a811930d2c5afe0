"""The laws of a dual encoder over each kind of tower that open_clip builds."""

import json
import shutil
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from helpers.families_open_clip import BERT, FAMILIES, VIT, build_random, describe
from molyneux.backends.open_clip import CONFIG, WEIGHTS, OpenClipEncoder, load_folder, load_weights
from molyneux.backends.open_clip.towers import vision_tower
from molyneux.concepts import Concept
from molyneux.errors import ModelError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune

TEXTS = ["a ring.", "two dark bars that meet", "a circle with a hole"]
RING = Concept("ring", "a circle with a hole")
PROJECTIONS = {
    "open_clip-vit": {"visual.proj"},
    "drawn": {"visual.proj"},
    "open_clip-resnet": {"visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias"},
    "open_clip-timm-bert": {"visual.head.proj.weight"},
    "open_clip-coca": {"visual.proj"},
}
ANCHORS = TeachingConfig(
    loss="anchors", learning_rate=1e-3, steps=2, batch=4, temperature=0.1, replay_batch=0, strength=1.0
)
TIMM = {
    # a trunk and a head of each kind that open_clip's configurations have
    "mlp": ("test_efficientnet", "", "mlp", 56),
    "classifier": ("test_vit", "token", None, 160),
    "attention": ("test_efficientnet", "rot_attn", "linear", 64),
    "none": ("test_vit", "avg", "none", 160),
}


@cache
def family(name: str) -> OpenClipEncoder:
    model = FAMILIES[name]()
    assert isinstance(model, OpenClipEncoder)
    return model


@cache
def timm_tower(kind: str) -> OpenClipEncoder:
    trunk, pool, projection, size = TIMM[kind]
    vision = {"timm_model_name": trunk, "timm_pool": pool, "timm_proj": projection, "image_size": size}
    description = describe(vision, BERT, custom_text=True)
    description["model_cfg"]["embed_dim"] = 64 if kind == "none" else 16
    return build_random(f"timm-{kind}", description)


@pytest.fixture(params=FAMILIES)
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name) -> OpenClipEncoder:
    return family(name)


@pytest.fixture(params=["vit", "resnet", "timm-bert", "coca", *TIMM])
def tower(request) -> OpenClipEncoder:
    return timm_tower(request.param) if request.param in TIMM else family(f"open_clip-{request.param}")


def sample_images(model: OpenClipEncoder, count: int = 3) -> torch.Tensor:
    size = model.image_size
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def weights(model: OpenClipEncoder) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.native.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


def vendors(native: torch.nn.Module, model: OpenClipEncoder, images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(model._config["preprocess_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return native.encode_image((images - mean) / std, normalize=True)


def test_trunk_and_projection_compose_to_the_towers_own_embedding(tower):
    images = sample_images(tower)
    features = tower.features(images)
    assert features.ndim == 2
    assert float(torch.cdist(tower.project(features), tower.project(features)).max()) > 1e-3
    torch.testing.assert_close(tower.project(features), vendors(tower.native, tower, images), atol=1e-6, rtol=0.0)


def test_a_head_of_each_kind_passes_gradients_and_shares_out_the_tower(tower):
    images = sample_images(tower).requires_grad_()
    tower.embed_images(images)[:2, 0].sum().backward()
    assert (images.grad[:2].abs().sum(dim=(1, 2, 3)) > 0).all()
    assert not images.grad[2].any()
    blocks = [id(p) for block in tower.trunk_modules() for p in block.parameters()]
    parts = [*blocks, *(id(p) for p in tower.projection_module().parameters())]
    assert len(parts) == len(set(parts))
    assert set(parts) == {id(p) for p in tower.vision_module().parameters()}


def test_the_blocks_run_in_the_order_in_which_they_are_listed(tower):
    """The gradient of the i-th block's output is that of what follows, so freezing by order is freezing by depth."""
    places = {id(m): i for i, block in enumerate(tower.trunk_modules()) for m in block.modules()}
    seen: list[int] = []
    leaves = [m for block in tower.trunk_modules() for m in block.modules() if not list(m.children())]
    handles = [m.register_forward_pre_hook(lambda m, _: seen.append(places[id(m)])) for m in leaves]
    tower.features(sample_images(tower))
    for handle in handles:
        handle.remove()
    assert len(set(seen)) >= 3
    assert seen == sorted(seen)


def test_a_remap_follows_the_projection(tower):
    if tower is timm_tower("none"):
        with pytest.raises(ModelError, match="cannot be merged"):
            tower.remap(torch.eye(64))
        return
    twin, images = tower.copy(), sample_images(tower)
    change = 0.3 * torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    before = tower.embed_images(images)
    twin.remap(change)
    torch.testing.assert_close(
        twin.embed_images(images), normalize(before + before @ change.T, dim=1), atol=1e-6, rtol=0.0
    )
    assert changed(weights(tower), weights(twin)) <= {
        f"visual.{name}" for name, p in twin.vision_module().named_parameters() if _in(p, twin.projection_module())
    }


def _in(parameter: torch.Tensor, module: torch.nn.Module) -> bool:
    return any(parameter is other for other in module.parameters())


def test_a_tower_without_a_projection_says_so_before_the_first_step():
    model = timm_tower("none")
    images = invert(model, RING, InversionConfig(images=1, steps=1))
    with pytest.raises(ModelError, match="has no weights in its proj"):
        fine_tune(model, [images], replace(ANCHORS, update=Full(part="projection")))


@pytest.mark.parametrize("part", ["projection", "blocks", "tower"])
def test_only_the_chosen_weights_move(model, name, part):
    images = invert(model, RING, InversionConfig(images=4, steps=1))
    before = weights(model)
    taught = fine_tune(model, [images], replace(ANCHORS, update=Full(part=part)))
    moved = changed(before, weights(taught))
    assert changed(before, weights(model)) == set()
    assert torch.equal(taught.embed_texts(TEXTS), model.embed_texts(TEXTS))
    if part == "projection":
        assert moved == PROJECTIONS[name]
        return
    chosen = taught.vision_module() if part == "tower" else taught.trunk_modules()[-1]
    own = {f"visual.{key}" for key, p in taught.vision_module().named_parameters() if _in(p, chosen)}
    assert PROJECTIONS[name] < moved <= own | PROJECTIONS[name]
    # a key's bias shifts all scores of a query alike, which attention does not see
    assert all("bias" in key for key in own - moved)


def test_a_copy_shares_what_never_moves_and_nothing_else(model):
    twin = model.copy()
    mine, other = (dict(m.native.named_parameters()) for m in (model, twin))
    shared = {key for key in mine if mine[key].data_ptr() == other[key].data_ptr()}
    apart = ("visual.", "text_decoder.", "logit_scale")
    assert shared == {key for key in mine if not key.startswith(apart)}
    assert type(twin) is type(model)


@pytest.fixture
def folder(model, tmp_path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_folder_is_loaded_and_saved_again_to_the_bit(model, folder, tmp_path):
    again = load_folder(folder)
    assert type(again) is type(model)
    assert torch.equal(again.embed_images(sample_images(model)), model.embed_images(sample_images(model)))
    assert changed(weights(again), weights(model)) == set()
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_towers_with_fixed_places_are_inverted_at_their_own_size(tower):
    assert tower.inversion_size in (tower.image_size, tower.image_size * 4 // 7)
    size = tower.inversion_size
    assert len(tower.embed_images(torch.rand(2, 3, size, size))) == 2


PUBLISHED = ["ViT-B-32", "RN50", "coca_ViT-B-32", "EVA02-B-16", "MobileCLIP-S1", "ViT-B-16-SigLIP", "PE-Core-B-16"]


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_published_towers_divide_too(architecture):
    """In their real sizes, without memory for their weights: only shapes, and which weight is where."""
    from open_clip import get_model_config
    from open_clip.model import _build_vision_tower

    config = get_model_config(architecture)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"]).eval()
        tower = vision_tower(visual)
        features = tower.features(torch.rand(2, 3, *[config["vision_cfg"]["image_size"]] * 2))
    assert tower.project(features).shape == (2, config["embed_dim"])
    parts = [id(p) for block in (*tower.blocks(), tower.projection()) for p in block.parameters()]
    assert len(parts) == len(set(parts))
    assert set(parts) == {id(p) for p in visual.parameters()}


# weights files


class Code:
    def __reduce__(self):
        return (Path, ("/run-by-unpickling",))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return dict(family("open_clip-vit").native.state_dict())


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pytorchs_files_of_tensors_are_read(state, wrap, prefix, tmp_path):
    content = wrap({prefix + key: value for key, value in state.items()})
    torch.save(content, tmp_path / "weights.pt")
    model = build_random("other", VIT, seed=1)
    assert changed(state, weights(model))
    load_weights(model, tmp_path / "weights.pt")
    assert changed(state, weights(model)) == set()


def test_a_folder_may_hold_pytorchs_file_instead(tmp_path):
    model = family("open_clip-vit")
    model.save(tmp_path / "model")
    torch.save(model.native.state_dict(), tmp_path / "model" / "open_clip_pytorch_model.bin")
    (tmp_path / "model" / WEIGHTS).unlink()
    assert changed(weights(model), weights(load_folder(tmp_path / "model"))) == set()


def test_weights_of_older_versions_are_brought_over(state, tmp_path):
    old = {**state, "logit_scale": state["logit_scale"].reshape(1), "context_length": torch.tensor(24)}
    save_file(old, tmp_path / "old.safetensors")
    custom = build_random(
        "custom",
        describe(VIT["model_cfg"]["vision_cfg"], VIT["model_cfg"]["text_cfg"], custom_text=True, quick_gelu=True),
    )
    load_weights(custom, tmp_path / "old.safetensors")
    plain = build_random(
        "plain", describe(VIT["model_cfg"]["vision_cfg"], VIT["model_cfg"]["text_cfg"], quick_gelu=True), seed=2
    )
    load_weights(plain, tmp_path / "old.safetensors")
    images = sample_images(plain)
    assert torch.equal(custom.embed_images(images), plain.embed_images(images))
    assert torch.equal(custom.embed_texts(TEXTS), plain.embed_texts(TEXTS))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    torch.save({"visual.proj": Code()}, tmp_path / "weights.bin")
    with pytest.raises(ModelError, match="cannot be read") as refusal:
        load_weights(family("open_clip-vit"), tmp_path / "weights.bin")
    assert "\n" not in str(refusal.value)


def test_an_archive_of_code_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="holds code that is not run"):
        load_weights(family("open_clip-vit"), tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("missing", "lack 'visual.proj'"),
        ("extra", "have the unknown key 'more'"),
        ("shape", "have another shape for 'visual.proj'"),
        ("another-model", "another model's"),
        ("truncated", "cannot be read"),
        ("list", "are no state dict"),
        ("suffix", "end in '.onnx'"),
    ],
)
def test_wrong_weights_are_one_clear_error_and_change_nothing(state, damage, complaint, tmp_path):
    path = tmp_path / "weights.safetensors"
    if damage == "missing":
        del state["visual.proj"]
    elif damage == "extra":
        state["more"] = torch.zeros(1)
    elif damage == "shape":
        state["visual.proj"] = torch.zeros(16, 17)
    elif damage == "another-model":
        state = family("open_clip-resnet").native.state_dict()
    if damage == "list":
        path = tmp_path / "weights.pt"
        torch.save([1, 2], path)
    elif damage == "suffix":
        path = tmp_path / "weights.onnx"
    else:
        save_file(state, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    model = family("open_clip-vit")
    before = weights(model)
    with pytest.raises(ModelError, match=complaint) as refusal:
        load_weights(model, path)
    assert "\n" not in str(refusal.value)
    assert changed(before, weights(model)) == set()


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS, "config.json", "tokenizer.json"])
def test_a_folder_without_a_file_is_refused_by_its_name(file, tmp_path):
    family("open_clip-timm-bert").save(tmp_path / "model")
    (tmp_path / "model" / file).unlink()
    with pytest.raises(ModelError, match=f"has no {file}"):
        load_folder(tmp_path / "model")


def test_a_folder_with_a_text_tower_of_open_clips_own_needs_no_tokenizer(tmp_path):
    family("open_clip-vit").save(tmp_path / "model")
    there = {path.name for path in (tmp_path / "model").iterdir()}
    assert there == {CONFIG, WEIGHTS, "README.md", "concepts.json", "digests.json"}
    assert load_file(tmp_path / "model" / WEIGHTS).keys() == family("open_clip-vit").native.state_dict().keys()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"vocab_size": 500}, "knows 500 tokens, CLIP's tokenizer has 49408"),
        ({"tokenizer_mode": "clips"}, "the tokenizer mode 'clips' is not supported"),
        ({"heads": 3}, "does not describe a model that can be built"),
    ],
)
def test_a_text_tower_that_does_not_fit_its_tokenizer_is_refused(change, complaint, tmp_path):
    family("open_clip-vit").save(tmp_path / "model")
    path = tmp_path / "model" / CONFIG
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=complaint):
        load_folder(tmp_path / "model")


def test_a_moved_folder_is_read(tmp_path):
    model = family("open_clip-timm-bert")
    model.save(tmp_path / "model")
    moved = shutil.move(tmp_path / "model", tmp_path / "moved")
    assert torch.equal(
        load_folder(Path(moved)).embed_images(sample_images(model)), model.embed_images(sample_images(model))
    )
