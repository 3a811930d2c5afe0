"""What teaching may move, over tiny random models of every family: towers, adapters, precision, and nothing at all."""

from collections.abc import Sequence
from pathlib import Path

import peft
import pytest
import torch
from torch import Tensor, nn

from helpers.families import VENDOR, in_double, sample_images
from helpers.families_hf import FAMILIES as HUGGING_FACE
from helpers.families_medclip import FAMILIES as MEDCLIP
from helpers.families_open_clip import COCA, VIT, build_random, describe
from helpers.families_open_clip import FAMILIES as OPEN_CLIP
from helpers.families_vilt import FAMILIES as VILT
from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import check_precision, load
from molyneux.backends.lora import Adapters, adaptable_layers, with_adapter
from molyneux.concepts import Concept
from molyneux.errors import ConfigError, ModelError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.synthetic import SyntheticImages, noise_images
from molyneux.teaching.config import Full, LoRA, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.interpolate import interpolate

ENCODERS = HUGGING_FACE | OPEN_CLIP | MEDCLIP
FAMILIES = ENCODERS | VILT
RING = Concept("ring", "a circle with a round hole.")
KNOWN = ("cross", "bar", "photo")
TEXTS = ["a ring.", "two dark bars that meet"]
PARTS = ("projection", "blocks", "trunk", "tower", "text", "both")
FEW = ("hf clip", "open_clip-vit", "medclip-swin")
"""One of each library, where the law has nothing to do with the architecture."""

LOW = LoRA(rank=2, alpha=4.0)


@pytest.fixture(scope="module", params=list(ENCODERS))
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family) -> DualEncoder:
    return ENCODERS[family]()


def synthetic(model: VisionLanguageModel) -> SyntheticImages:
    return noise_images(RING, 2, model.image_size, 0)


def taught(model: DualEncoder, update: Full | LoRA, adapter: Path | None = None, **changed: object) -> DualEncoder:
    settings = {"steps": 2, "batch": 2, "learning_rate": 1e-2, "strength": 1.0, "replay_batch": 0} | changed
    config = TeachingConfig(loss="bank", update=update, bank_batch=3, **settings)
    replay = [noise_images(Concept("bar", "a dark bar."), 2, model.image_size, 1)] if config.replay_batch else []
    return fine_tune(model, [synthetic(model)], config, known=KNOWN, replay=replay, adapter=adapter)


def names_of(model: DualEncoder, modules: Sequence[nn.Module]) -> set[str]:
    places = {value.data_ptr() for module in modules for value in module.parameters()}
    return {key for key, value in model.native.state_dict().items() if value.data_ptr() in places}


def moved(before: VisionLanguageModel, after: VisionLanguageModel) -> set[str]:
    old, new = before.native.state_dict(), after.native.state_dict()
    assert list(old) == list(new)
    return {key for key in old if not torch.equal(old[key], new[key])}


def seen(model: DualEncoder) -> Tensor:
    with torch.no_grad():
        return model.embed_images(sample_images(model))


def test_the_text_tower_is_apart_and_all_that_texts_pass_through(model):
    text = {id(value) for module in model.text_modules() for value in module.parameters()}
    assert text
    assert not text & {id(value) for value in model.vision_module().parameters()}
    twin = model.copy(whole=True)
    assert not twin.encode_texts(TEXTS).requires_grad
    for value in twin.native.parameters():
        value.requires_grad_()
    twin.encode_texts(TEXTS)[:, 0].sum().backward()
    reached = {key for key, value in twin.native.named_parameters() if value.grad is not None and value.grad.any()}
    assert reached
    assert reached <= names_of(twin, twin.text_modules())


def test_texts_are_encoded_as_they_are_embedded(model):
    again = model.encode_texts([*TEXTS, TEXTS[0]])
    torch.testing.assert_close(again, model.embed_texts([*TEXTS, TEXTS[0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("part", ["trunk", "text", "both"])
def test_only_the_chosen_towers_move_and_texts_change_if_theirs_does(model, part):
    before, images, texts = weights_digest(model.native), seen(model), model.embed_texts(TEXTS)
    student = taught(model, Full(part=part), replay_batch=2 if part == "text" else 0)
    allowed = {
        "trunk": model.trunk_modules(),
        "text": model.text_modules(),
        "both": [model.vision_module(), *model.text_modules()],
    }[part]
    found = moved(model, student)
    assert found
    assert found <= names_of(model, allowed)
    if part == "both":
        assert found & names_of(model, model.text_modules())
        assert found & names_of(model, [model.vision_module()])
    assert weights_digest(model.native) == before
    assert not any(value.requires_grad for value in student.native.parameters())
    assert torch.equal(student.embed_texts(TEXTS), texts) == (part == "trunk")
    assert torch.equal(seen(student), images) == (part == "text")
    # nothing that was read before is remembered
    torch.testing.assert_close(student.embed_texts(TEXTS), student.encode_texts(TEXTS), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.embed_texts(TEXTS), model.encode_texts(TEXTS), atol=1e-6, rtol=0)


def test_two_models_of_different_texts_are_mixed_like_any_others(family, model):
    if family not in FEW:
        pytest.skip("as in the others")
    student = taught(model, Full(part="both"))
    old, new = model.native.state_dict(), student.native.state_dict()
    for share in (0.0, 0.5, 1.0):
        twin = interpolate(model, student, share)
        mixed = twin.native.state_dict()
        for key, value in mixed.items():
            if share in (0, 1) or not value.is_floating_point():
                assert torch.equal(value, (new if share == 1 else old)[key])
            else:
                torch.testing.assert_close(value, (old[key] + new[key]) / 2, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(twin.embed_texts(TEXTS), twin.encode_texts(TEXTS), atol=1e-6, rtol=0)
    assert torch.equal(student.native.state_dict()[next(iter(new))], new[next(iter(new))])


@pytest.mark.parametrize("update", [*(Full(part=part) for part in PARTS), LOW], ids=[*PARTS, "lora"])
def test_no_work_changes_no_bit(family, model, update):
    if family not in FEW:
        pytest.skip("as in the others")
    before = weights_digest(model.native)
    for replay in (0, 2):
        still = taught(model, update, learning_rate=0.0, weight_decay=0.1, steps=1, replay_batch=replay)
        assert weights_digest(still.native) == before
    assert weights_digest(taught(model, update, strength=0.0, steps=1).native) == before


def test_an_adapter_is_what_the_merged_model_is_and_peft_reads_it(family, model, tmp_path):
    images = seen(model)
    student = taught(model, LOW, tmp_path / "adapter")
    assert moved(model, student) <= names_of(model, [model.vision_module()])
    assert not torch.allclose(seen(student), images, atol=1e-4)
    assert not any("lora" in key for key, _ in student.native.named_modules())
    # peft alone, on the native model
    twin = model.copy()
    wrapped = peft.PeftModel.from_pretrained(twin.native, str(tmp_path / "adapter"))
    torch.testing.assert_close(seen(twin), seen(student), atol=1e-5, rtol=0)
    assert wrapped.peft_config["default"].r == 2
    torch.testing.assert_close(seen(with_adapter(model, tmp_path / "adapter")), seen(student), atol=1e-6, rtol=0)
    # and the merged model is read by its own library
    student.save(tmp_path / "model")
    read, _ = (
        VENDOR[family](tmp_path / "model", sample_images(model), TEXTS) if family in VENDOR else (seen(student), 0)
    )
    precise = family in VENDOR and read.dtype == torch.float64
    expected = in_double(student, sample_images(model)) if precise else seen(student)
    torch.testing.assert_close(read, expected, atol=1e-6, rtol=0)
    assert not moved(student, load(tmp_path / "model"))


def test_adapters_answer_as_their_merged_weights_and_every_one_learns(model):
    adapters = Adapters(model, rank=2, alpha=4.0, dropout=0.0, targets=(), seed=0)
    torch.testing.assert_close(seen(adapters.model), seen(model), atol=1e-6, rtol=0)
    generator = torch.Generator().manual_seed(0)
    for value in adapters.parameters():
        value.requires_grad_().data.add_(0.1 * torch.randn(value.shape, generator=generator))
    adapters.model.embed_images(sample_images(model))[:, 0].sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in adapters.parameters())
    assert len(adapters.parameters()) == 2 * len(adaptable_layers(model))
    twin = model.copy()
    adapters.merge(twin)
    torch.testing.assert_close(seen(twin), seen(adapters.model), atol=1e-5, rtol=0)
    assert not torch.allclose(seen(twin), seen(model), atol=1e-3)


def test_dropped_inputs_follow_the_seed_and_not_the_global_stream():
    model = build_random("tiny-vit", VIT)
    first = taught(model, LoRA(rank=2, dropout=0.5))
    torch.rand(7)
    assert weights_digest(taught(model, LoRA(rank=2, dropout=0.5)).native) == weights_digest(first.native)
    assert weights_digest(taught(model, LoRA(rank=2)).native) != weights_digest(first.native)


def test_half_precision_is_near_single_precision_and_weights_stay_single(family, model):
    exact, texts = seen(model), model.encode_texts(TEXTS)
    twin = model.copy()
    twin.precision = "bf16"
    images = sample_images(model).requires_grad_()
    near = twin.embed_images(images)
    near[:, 0].sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.any()
    for found, wanted in ((near.detach(), exact), (twin.encode_texts(TEXTS), texts)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))
        assert not torch.equal(found, wanted)
        # eight bits of mantissa: cosines of a few layers agree to one part in a hundred
        assert (found * wanted).sum(dim=1).min() > 0.99
    if family not in FEW:
        return
    config = InversionConfig(images=2, steps=2, trace_every=1)
    assert invert(twin, RING, config).pixels.dtype == torch.float32
    for update in (Full(part="both"), LOW):
        student = taught(twin, update)
        assert student.precision == "bf16"
        assert all(value.dtype != torch.bfloat16 for value in student.native.state_dict().values())
        assert all(value.isfinite().all() for value in student.native.state_dict().values())


def poisoned(make) -> VisionLanguageModel:
    model = make()
    parts = model.readout_modules() if not isinstance(model, DualEncoder) else [model.trunk_modules()[-1]]
    # all of a block: PyTorch's attention makes zeros of a query that is no number
    with torch.no_grad():
        for value in (value for part in parts for value in part.parameters()):
            value.fill_(torch.nan)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_number_that_is_none_stops_inversion_and_teaching(family):
    model = poisoned(FAMILIES[family])
    with pytest.raises(ModelError, match="similarity became nan at step 0"):
        invert(model, RING, InversionConfig(images=2, steps=2, batch_norm=0.0))
    losses = {"vilt": ("matching", "masked"), "open_clip-coca": ("bank", "captioning")}.get(family, ("bank",))
    for loss in losses:
        config = TeachingConfig(loss=loss, update=Full(part="tower"), steps=1, batch=2, replay_batch=0)
        with pytest.raises(ModelError, match="loss became nan at step 0"):
            fine_tune(model, [synthetic(model)], config, known=KNOWN)


def test_vilt_in_half_precision():
    model = VILT["vilt"]()
    images = sample_images(model).requires_grad_()
    exact = model.match_logits(images, ["a ring."] * 3)
    tokens, _ = model.masked_tokens(["a ring."] * 3)
    words = model.masked_logits(images, tokens)
    model.precision = "bf16"
    near = model.match_logits(images, ["a ring."] * 3)
    assert near.dtype == model.masked_logits(images, tokens).dtype == torch.float32
    assert not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, atol=0.1, rtol=0.1)
    torch.testing.assert_close(model.masked_logits(images, tokens), words, atol=0.3, rtol=0.1)
    near.sum().backward()
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("update", [LOW, Full(part="both")], ids=["lora", "both"])
def test_captions_teach_adapters_and_both_towers(update):
    model = build_random("tiny-coca", COCA)
    config = TeachingConfig(
        loss="captioning", update=update, steps=2, batch=2, learning_rate=1e-2, strength=1.0, decoder=True
    )
    student = fine_tune(model, [synthetic(model)], config, known=KNOWN)
    found = moved(model, student)
    towers = [model.vision_module(), *([] if update is LOW else model.text_modules())]
    assert found & names_of(model, [model.decoder_module()])
    assert found & names_of(model, [model.vision_module()])
    assert found <= names_of(model, [model.decoder_module(), *towers])
    assert torch.equal(student.embed_texts(TEXTS), model.embed_texts(TEXTS)) == (update is LOW)


def test_targets_choose_layers_by_the_ends_of_their_names():
    model = HUGGING_FACE["hf clip"]()
    assert all(name.endswith(("q_proj", "fc1")) for name in adaptable_layers(model, ("q_proj", "mlp.fc1")))
    assert adaptable_layers(model, ("visual_projection",)) == ["visual_projection"]
    assert len(adaptable_layers(model, ("layers.1.mlp.fc1",))) == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("proj_q", "no layer of 'clip' ends in 'proj_q': expected ends of names such as"),
        ("fc", "no layer of 'clip' ends in 'fc'"),
        ("patch_embedding", "'vision_model.embeddings.patch_embedding' of 'clip' is a Conv2d"),
        ("layer_norm1", "layer_norm1' of 'clip' is a LayerNorm"),
    ],
)
def test_targets_that_cannot_be_adapted_are_refused_before_any_step(target, said):
    model = HUGGING_FACE["hf clip"]()
    with pytest.raises(ModelError) as refusal:
        taught(model, LoRA(targets=(target,)))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_output_layer_of_packed_attention_stays():
    model = build_random("tiny-vit", VIT)
    with pytest.raises(ModelError, match="NonDynamicallyQuantizableLinear"):
        adaptable_layers(model, ("attn.out_proj",))
    student = taught(model, LoRA(rank=2, targets=("attn",)))
    assert moved(model, student) == {f"visual.transformer.resblocks.{i}.attn.in_proj_weight" for i in (0, 1)}


def test_adapters_of_a_convolutional_tower_are_on_its_plain_convolutions_alone():
    efficient = {"timm_model_name": "test_efficientnet", "timm_pool": "", "timm_proj": "linear", "image_size": 64}
    model = build_random("tiny-efficientnet", describe(efficient, VIT["model_cfg"]["text_cfg"], custom_text=True))
    layers = dict(model.native.named_modules())
    found = [layers[name] for name in adaptable_layers(model)]
    convolutions = [layer for layer in found if isinstance(layer, nn.Conv2d)]
    assert convolutions
    assert all(layer.kernel_size == (1, 1) and layer.groups == 1 for layer in convolutions)
    student = taught(model, LOW)
    assert moved(model, student) == {f"{name}.weight" for name in adaptable_layers(model)}
    with pytest.raises(ModelError, match="is a Conv2d that no low-rank adapter can change"):
        adaptable_layers(model, ("conv_stem",))


def test_an_adapter_folder_is_loaded_onto_the_model_that_it_names(tmp_path):
    HUGGING_FACE["hf clip"]().save(tmp_path / "base")
    model = load(tmp_path / "base")
    student = taught(model, LOW, tmp_path / "adapter", strength=0.6)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    again = load(tmp_path / "adapter", precision="bf16")
    assert again.precision == "bf16"
    again.precision = "fp32"
    torch.testing.assert_close(seen(again), seen(student), atol=1e-6, rtol=0)


KINDS = {
    "text tower": {},
    "both towers": {"targets": "both"},
    "scaled by the root of the rank": {"use_rslora": True},
    "with magnitudes (DoRA)": {"use_dora": True},
    "with biases": {"bias": "all"},
    "with a part of its own": {"modules_to_save": ["text_projection", "visual_projection"]},
    "words": {"targets": "words"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["hf clip", "hf vit_bert", "open_clip-vit", "open_clip-timm-bert"])
def test_an_adapter_that_peft_made_of_any_kind_is_what_peft_makes_of_it(family, kind, tmp_path):
    model = (HUGGING_FACE | OPEN_CLIP)[family]()
    settings = dict(KINDS[kind])
    layers = {name: layer for name, layer in model.native.named_modules() if isinstance(layer, torch.nn.Linear)}
    seeing = names_of(model, [model.vision_module()])
    # packed attention's own layer is read past
    layers = {name: layer for name, layer in layers.items() if not name.endswith("out_proj") or "hf" in family}
    reads = [name for name in layers if f"{name}.weight" not in seeing]
    targets = settings.pop("targets", "")
    if targets == "words":
        reads = [name for name, layer in model.native.named_modules() if isinstance(layer, torch.nn.Embedding)][:1]
    if "modules_to_save" in settings and family != "hf clip":
        settings["modules_to_save"] = [reads[0]]
        reads = reads[1:]
    chosen = [*layers] if targets == "both" else reads
    chosen = [name for name in chosen if not name.endswith(tuple(settings.get("modules_to_save", ["\n"])))]
    carrier = model.copy(whole=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = peft.get_peft_model(carrier.native, peft.LoraConfig(r=2, target_modules=chosen, **settings))
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if value.requires_grad:
                value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))))
    wrapped.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    before = weights_digest(model.native)
    found = with_adapter(model, tmp_path / "adapter")
    texts = carrier.encode_texts(TEXTS).detach()
    # merged weights round otherwise than layers beside each other
    torch.testing.assert_close(found.embed_texts(TEXTS), texts, atol=2e-6, rtol=0)
    torch.testing.assert_close(seen(found), seen(carrier), atol=2e-6, rtol=0)
    assert not torch.allclose(texts, model.encode_texts(TEXTS).detach(), atol=1e-4)
    assert weights_digest(model.native) == before
    found.save(tmp_path / "model")
    again = load(tmp_path / "model")
    torch.testing.assert_close(again.embed_texts(TEXTS), texts, atol=2e-6, rtol=0)


@pytest.mark.parametrize("family", ["hf siglip", "open_clip-vit"])
def test_an_adapter_is_refused_once_it_holds_something_past_which_the_model_reads(family, tmp_path):
    model = (HUGGING_FACE | OPEN_CLIP)[family]()
    carrier = model.copy(whole=True)
    wrapped = peft.get_peft_model(carrier.native, peft.LoraConfig(r=2, target_modules="all-linear"))

    def learn(*parts: str) -> None:
        with torch.no_grad():
            for name, value in wrapped.named_parameters():
                if any(part in name for part in parts) and "lora_B" in name:
                    value.fill_(0.1)
        wrapped.save_pretrained(str(tmp_path / "adapter"))

    # no gradient comes to attention's last layer, so training leaves it as it is
    learn("fc1", "c_fc")
    found = with_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(seen(found), seen(carrier), atol=2e-6, rtol=0)
    assert not torch.allclose(seen(found), seen(model), atol=1e-4)
    learn("out_proj")
    with pytest.raises(ModelError, match=r"out_proj', whose weights the model reads past the adapter"):
        with_adapter(model, tmp_path / "adapter")


def test_adapters_that_cannot_be_used_are_each_one_clear_error(tmp_path, monkeypatch):
    model = HUGGING_FACE["hf clip"]()
    folder = tmp_path / "adapter"
    taught(model, LOW, folder)
    other = HUGGING_FACE["hf vit_bert"]()
    with pytest.raises(ModelError, match="does not fit 'dual'"):
        with_adapter(other, folder)
    with pytest.raises(ModelError, match=r"there is no model 'clip': .*adapter_config\.json names it"):
        load(folder)
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    data, about = weights.read_bytes(), config.read_text()
    config.write_text(about.replace('"clip"', '"openai/clip-vit-base-patch32"'))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"cannot fetch 'openai/clip-vit-base-patch32'.*adapter_config\.json names it"):
        load(folder)
    config.write_text(about)
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors: load the adapter with peft"):
        with_adapter(model, folder)
    for damaged in (data[:-4], data[:20], b""):
        weights.write_bytes(damaged)
        with pytest.raises(ModelError, match="cannot be read"):
            with_adapter(model, folder)
    weights.write_bytes(data)
    config.write_text(about.replace('"r": 2', '"r": 3'))
    with pytest.raises(ModelError, match="does not fit 'clip'"):
        with_adapter(model, folder)
    config.write_text(about.replace('"LORA"', '"IA3"'))
    with pytest.raises(ModelError, match="an adapter of the type 'IA3': expected 'LORA'"):
        with_adapter(model, folder)
    config.write_text("{")
    with pytest.raises(ModelError, match=r"cannot read .*: it is not valid JSON"):
        with_adapter(model, folder)


def test_an_adapter_is_asked_for_only_where_there_is_one(tmp_path):
    model = HUGGING_FACE["hf clip"]()
    with pytest.raises(ConfigError, match="no adapter to save"):
        taught(model, Full(part="tower"), tmp_path / "adapter")
    with pytest.raises(ConfigError, match=r"teaching\.update is LoRA: expected .*for the loss 'matching'"):
        TeachingConfig(loss="matching", update=LOW, replay_batch=0)


def test_without_peft_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ModelError, match=r"pip install 'molyneux\[lora\]'"):
        taught(HUGGING_FACE["hf clip"](), LOW)


def test_a_precision_that_is_not_known_is_refused():
    with pytest.raises(ModelError, match="precision is 'fp16': expected one of 'fp32', 'bf16'"):
        check_precision("fp16")
