import copy
import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, normalizers
from tokenizers.models import BPE
from torch.nn.functional import cosine_similarity

from helpers.families_hf import FAMILIES, bert_tokenizer
from molyneux.backends.hugging_face import HuggingFaceModel, as_tensor, load_folder, quiet, text_limit
from molyneux.backends.hugging_face_preprocess import image_preprocessing
from molyneux.backends.hugging_face_towers import blocks_of, patch_inputs
from molyneux.backends.load import load
from molyneux.errors import ModelError

pytestmark = pytest.mark.usefixtures("foreign_folders")

TEXTS = ["a ring.", "a circle with a hole", "two dark bars that meet"]


@pytest.fixture(scope="module")
def models() -> dict[str, HuggingFaceModel]:
    return {name.removeprefix("hf "): make() for name, make in FAMILIES.items()}


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "clip"
    models["clip"].save(folder)
    return folder


@pytest.fixture
def mine(saved, tmp_path) -> Path:
    """A copy of the saved folder to be damaged."""
    return shutil.copytree(saved, tmp_path / "mine")


def sample_images(size: int = 32, count: int = 3) -> torch.Tensor:
    bytes_ = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1))
    return bytes_ / 255


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as refusal:
        load(folder)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("name", ["clip", "siglip", "vit_bert", "swin_bert"])
def test_cosines_over_the_temperature_are_the_vendors_logits(models, name):
    model = models[name]
    native, tokenizer = model.native, model._tokenizer
    padding = {"padding": "max_length", "max_length": 40} if name == "siglip" else {"padding": True}
    tokens = tokenizer(TEXTS, return_tensors="pt", **padding)
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        expected = native(pixel_values=model.rules.normalized(sample_images()), **tokens).logits_per_image
        found = model.embed_images(sample_images()) @ model.embed_texts(TEXTS).T / model.temperature
    bias = native.logit_bias if name == "siglip" else 0.0
    torch.testing.assert_close(found + bias, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_features_and_projection_are_the_vendors_image_features_before_unit_length(models, name):
    model = models[name]
    pixels = model.rules.normalized(sample_images())
    inputs = patch_inputs(pixels, 8) if name == "siglip2" else {"pixel_values": pixels}
    with torch.no_grad():
        expected = as_tensor(model.native.get_image_features(**inputs))
        found = model._tower.head(model._tower.trunk(pixels))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2", "vit_bert"])
def test_case_counts_where_the_tokenizer_says_so(models, name):
    model = models[name]
    small, capital = model.embed_texts(["a ring.", "A RING."])
    torch.testing.assert_close(small, capital)


def test_case_is_kept_for_a_tokenizer_that_keeps_it(models):
    tokenizer = bert_tokenizer()
    tokenizer.backend_tokenizer.normalizer = None
    model = models["vit_bert"]
    strict = HuggingFaceModel("strict", model.native, tokenizer, model._image_processor)
    small, capital = strict.embed_texts(["a ring.", "A RING."])
    assert cosine_similarity(small, capital, dim=0) < 0.999


def test_a_siglip_with_gemmas_tokenizer_reads_lower_case_as_siglip2s_own_does(models):
    """As the fixed sizes of SigLIP 2 are published; transformers' Siglip2Tokenizer is the reference."""
    base, own = models["siglip2"], models["siglip2"]._tokenizer
    vocabulary = own.get_vocab()
    upper = {letter: len(vocabulary) + place for place, letter in enumerate("ARING")}
    backend = Tokenizer(BPE(vocabulary | upper, [], unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.post_processor = own.backend_tokenizer.post_processor
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    named |= {"model_max_length": 40, "padding_side": "right", "model_input_names": ["input_ids"]}
    gemma = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, do_lower_case=True, **named)
    assert gemma("A RING")["input_ids"] != gemma("a ring")["input_ids"]
    native = copy.deepcopy(base.native)
    words = native.text_model.embeddings
    capitals = torch.rand(len(gemma) - len(vocabulary), 16, generator=torch.Generator().manual_seed(2))
    grown = torch.cat([words.token_embedding.weight.detach(), capitals])
    words.token_embedding = torch.nn.Embedding.from_pretrained(grown)
    native.config.text_config.vocab_size = len(gemma)
    model = HuggingFaceModel("siglip2", native, gemma, base._image_processor)
    expected = HuggingFaceModel("siglip2", native, own, base._image_processor).embed_texts(["A RING."])
    assert torch.equal(model.embed_texts(["A RING."]), expected)
    assert torch.equal(model.embed_texts(["a ring."]), expected)
    assert model._window.tokens("A RING.") == own("A RING.")["input_ids"]


def test_a_text_of_siglip_is_padded_to_its_full_length(models):
    seen = []
    model = models["siglip"]
    handle = model.native.text_model.register_forward_pre_hook(
        lambda _, inputs, options: seen.append(options["input_ids"].shape), with_kwargs=True
    )
    HuggingFaceModel("again", model.native, model._tokenizer, model._image_processor).embed_texts(["a ring."])
    handle.remove()
    assert seen == [(1, 40)]


@pytest.mark.parametrize(
    ("name", "size"), [("clip", 24), ("siglip", 24), ("siglip2", 24), ("vit_bert", 24), ("swin_bert", 64)]
)
def test_views_of_other_sizes_are_read_too(models, name, size):
    with torch.no_grad():
        rows = models[name].embed_images(sample_images(size))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_a_view_that_cannot_be_cut_into_patches_is_refused(models):
    with pytest.raises(ModelError, match="20 x 20 pixels cannot be cut into patches of 8 x 8"):
        models["siglip2"].embed_images(sample_images(20))


def test_patches_are_those_of_the_vendors_processor(models):
    model = models["siglip2"]
    expected = model._image_processor([(image * 255).round().byte() for image in sample_images()], return_tensors="pt")
    found = patch_inputs(model.rules.normalized(sample_images()), 8)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key].to(value.dtype), atol=1e-6, rtol=0.0)


PROCESSORS = {
    "clip": (transformers.CLIPImageProcessor, {}, (224, "crop", 1.0)),
    "clip with a margin": (transformers.CLIPImageProcessor, {"size": {"shortest_edge": 256}}, (224, "crop", 0.875)),
    "clip, old files": (transformers.CLIPImageProcessor, {"size": 336, "crop_size": 336}, (336, "crop", 1.0)),
    "siglip": (transformers.SiglipImageProcessor, {}, (224, "squash", 1.0)),
    "siglip2": (transformers.Siglip2ImageProcessor, {"max_num_patches": 256}, (256, "crop", 1.0)),
    "vit": (transformers.ViTImageProcessor, {}, (224, "squash", 1.0)),
    "convnext": (transformers.ConvNextImageProcessor, {"size": {"shortest_edge": 224}}, (224, "crop", 224 / 256)),
    "large convnext": (transformers.ConvNextImageProcessor, {}, (384, "squash", 1.0)),
    "raw bytes": (transformers.ViTImageProcessor, {"do_rescale": False, "do_normalize": False}, (224, "squash", 1.0)),
    "colours as they are": (transformers.ViTImageProcessor, {"do_normalize": False}, (224, "squash", 1.0)),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_read_as_the_vendors_processor_reads_them(name):
    make, settings, expected = PROCESSORS[name]
    processor = make(**settings)
    rules = image_preprocessing(processor.to_dict())
    assert (rules.size, rules.framing.fit, rules.crop) == expected
    image = sample_images(rules.size, 1)
    found = rules.normalized(image)
    seen = processor([(image[0] * 255).round().byte()], return_tensors="pt", do_resize=False, do_center_crop=False)
    if name == "siglip2":
        found = patch_inputs(found, 16)["pixel_values"]
    torch.testing.assert_close(found, seen["pixel_values"].float(), atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": 32, "width": 24}},
        {"size": {"shortest_edge": 32}},
        {"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
        {"size": {"height": 32, "width": 32}, "do_resize": False},
        {"size": {"height": 32, "width": 32}, "rescale_offset": True},
        {},
    ],
)
def test_a_processor_of_another_kind_is_refused(settings):
    with pytest.raises(ModelError, match="does not make square images of one size"):
        image_preprocessing({"rescale_factor": 1 / 255} | settings)


def test_a_processor_without_its_colours_is_refused():
    with pytest.raises(ModelError, match="image_mean is None: expected three numbers"):
        image_preprocessing({"rescale_factor": 1 / 255, "size": {"height": 32, "width": 32}})


def test_the_vendors_processor_reads_what_was_saved(models, tmp_path):
    for name, model in models.items():
        model.save(tmp_path / name)
        with quiet():
            processor = transformers.AutoProcessor.from_pretrained(tmp_path / name)
        image = (sample_images(32, 1)[0] * 255).round().byte()
        inputs = processor(text=["a ring."], images=[image], return_tensors="pt")
        tokens = model._tokenizer("a ring.")["input_ids"]
        assert inputs["input_ids"][0, : len(tokens)].tolist() == tokens
        if name != "siglip2":
            expected = model.rules.normalized(sample_images(32, 1))
            torch.testing.assert_close(inputs["pixel_values"], expected, atol=1e-6, rtol=0.0)


def test_a_folder_with_one_processor_file_for_both_is_read(mine, models):
    (mine / "preprocessor_config.json").unlink()
    with quiet():
        transformers.CLIPProcessor(models["clip"]._image_processor, models["clip"]._tokenizer).save_pretrained(mine)
    if not (mine / "processor_config.json").is_file():
        pytest.skip("transformers 4 writes two files")
    again = load(mine)
    assert again.rules == models["clip"].rules


@pytest.mark.parametrize(
    ("gone", "complaint"),
    [
        ("config.json", "has no open_clip_config.json"),
        ("model.safetensors", "has no weights: expected model.safetensors or"),
        ("preprocessor_config.json", "has no preprocessor_config.json: without it"),
    ],
)
def test_a_missing_file_is_named(mine, gone, complaint):
    (mine / gone).unlink()
    assert complaint in refused(mine)


@pytest.mark.parametrize("left", [(), ("vocab.json",), ("merges.txt",)])
def test_half_a_tokenizer_is_none(mine, left):
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (mine / name).unlink(missing_ok=True)
    for name in left:
        (mine / name).write_text("{}")
    assert "has no tokenizer: expected tokenizer.json, or vocab.json with merges.txt" in refused(mine)


def test_a_processor_file_that_speaks_of_no_images_is_none(mine):
    (mine / "preprocessor_config.json").rename(mine / "processor_config.json")
    (mine / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert "has no preprocessor_config.json" in refused(mine)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_description_is_one_clear_error(mine, name, content):
    (mine / name).write_text(content)
    assert str(mine) in refused(mine)


def test_a_pickle_of_tensors_is_read(mine, models):
    torch.save(load_file(mine / "model.safetensors"), mine / "pytorch_model.bin")
    (mine / "model.safetensors").unlink()
    assert torch.equal(load(mine).embed_images(sample_images()), models["clip"].embed_images(sample_images()))


class Mischief:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


def test_a_pickle_with_code_is_refused_and_not_run(mine, tmp_path):
    (mine / "model.safetensors").unlink()
    torch.save({"logit_scale": Mischief(tmp_path / "ran")}, mine / "pytorch_model.bin")
    assert "could run code" in refused(mine)
    (mine / "pytorch_model.bin").write_bytes(pickle.dumps({"logit_scale": Mischief(tmp_path / "ran")}))
    assert "could run code" in refused(mine)
    assert not (tmp_path / "ran").exists()


def test_weights_in_several_files_are_read_and_each_is_checked(mine, models):
    with quiet():
        model = transformers.CLIPModel.from_pretrained(mine)
        (mine / "model.safetensors").unlink()
        model.save_pretrained(mine, max_shard_size="20KB")
    shards = sorted(mine.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert torch.equal(load(mine).embed_images(sample_images()), models["clip"].embed_images(sample_images()))
    shards[-1].write_bytes(shards[-1].read_bytes()[:-1])
    assert f"the weights {shards[-1]} cannot be read" in refused(mine)


def test_positions_that_old_files_hold_are_passed_over_and_other_buffers_are_not(mine):
    path = mine / "model.safetensors"
    state = load_file(path)
    old = {
        "text_model.embeddings.position_ids": torch.arange(40)[None],
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
    }
    save_file(state | old, path, metadata={"format": "pt"})
    load(mine)
    save_file(
        state | old | {"text_model.embeddings.other_ids": torch.arange(40)[None]}, path, metadata={"format": "pt"}
    )
    assert "unknown key 'text_model.embeddings.other_ids' (1 in all)" in refused(mine)


def test_weights_in_half_precision_become_single(mine):
    path = mine / "model.safetensors"
    halves = {key: value.half() if value.is_floating_point() else value for key, value in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})
    content = json.loads((mine / "config.json").read_text()) | {"dtype": "float16"}
    (mine / "config.json").write_text(json.dumps(content))
    assert {value.dtype for value in load(mine).native.parameters()} == {torch.float32}


def test_a_model_of_another_type_is_refused(mine):
    content = json.loads((mine / "config.json").read_text()) | {"model_type": "bert"}
    (mine / "config.json").write_text(json.dumps(content))
    assert "model_type of clip, siglip" in refused(mine)
    with pytest.raises(ModelError, match="type 'bert': expected one of clip, siglip"):
        load_folder(mine)


def test_a_processor_of_another_size_than_the_tower_is_refused(mine):
    path = mine / "preprocessor_config.json"
    other = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    assert "makes images of 64 pixels and its vision tower reads 32" in refused(mine)


def test_a_tokenizer_of_more_words_than_the_tower_knows_is_refused(models):
    model = models["vit_bert"]
    tokenizer = bert_tokenizer()
    tokenizer.add_tokens(["moongate"])
    with pytest.raises(ModelError, match=r"its tokenizer has .* words and its text tower knows"):
        HuggingFaceModel("odd", model.native, tokenizer, model._image_processor)


def test_a_siglip_without_its_pooling_head_is_refused(models):
    model = models["siglip"]
    config = transformers.SiglipConfig.from_dict(model.native.config.to_dict())
    config.vision_config.vision_use_head = False
    with pytest.raises(ModelError, match="no pooling head"):
        HuggingFaceModel("headless", transformers.SiglipModel(config), model._tokenizer, model._image_processor)


def test_a_tower_that_gives_no_vector_is_refused_when_it_is_used(models):
    model = models["vit_bert"]
    vision = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], hidden_size=16)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, model.native.config.text_config, projection_dim=12
    )
    native = transformers.VisionTextDualEncoderModel(config)
    odd = HuggingFaceModel("odd", native, model._tokenizer, model._image_processor)
    with pytest.raises(ModelError, match=r"gives \(3, 16, 1, 1\) for 3 images: expected \(3, 16\)"):
        odd.embed_images(sample_images())


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("clip", 3, {"embeddings", "pre_layrnorm"}, {"encoder.layers.1", "post_layernorm"}),
        ("vit_bert", 3, {"embeddings"}, {"encoder.layer.1", "layernorm", "pooler"}),
        ("swin_bert", 3, {"embeddings"}, {"encoder.layers.1", "layernorm"}),
    ],
)
def test_blocks_are_the_layers_with_what_stands_before_and_behind_them(models, name, count, first, last):
    tower = models[name].native.vision_model
    # transformers 4 and 5 call the layers of a ViT differently
    names = {id(value): re.sub(r"^layers\.", "encoder.layer.", key) for key, value in tower.named_parameters()}
    blocks = blocks_of(tower)
    assert len(blocks) == count
    for block, expected in ((blocks[0], first), (blocks[-1], last)):
        found = [names[id(value)] for value in block.parameters()]
        assert {next((start for start in expected if key.startswith(start + ".")), key) for key in found} == expected


def test_a_tower_without_a_list_of_layers_is_cut_at_its_children(models):
    blocks = models["resnet_bert"].trunk_modules()
    assert [type(block).__name__ for block in blocks].count("BasicBlock") == 4


@pytest.mark.parametrize(
    ("config", "limit", "expected"),
    [
        (transformers.BertConfig(max_position_embeddings=512), 10**30, 512),
        (transformers.BertConfig(max_position_embeddings=512), 64, 64),
        (transformers.RobertaConfig(max_position_embeddings=514, pad_token_id=1), 10**30, 512),
        (transformers.CLIPTextConfig(), 77, 77),
    ],
)
def test_the_limit_is_the_smaller_of_positions_and_tokenizer(config, limit, expected):
    tokenizer = bert_tokenizer()
    tokenizer.model_max_length = limit
    assert text_limit(config, tokenizer) == expected


def test_a_roberta_reads_as_many_tokens_as_is_said_and_no_more():
    config = transformers.RobertaConfig(
        max_position_embeddings=20,
        pad_token_id=1,
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    tower = transformers.RobertaModel(config).eval()
    limit = text_limit(config, bert_tokenizer())
    with torch.no_grad():
        tower(torch.full((1, limit), 5))
        with pytest.raises((IndexError, RuntimeError)):
            tower(torch.full((1, limit + 1), 5))


def test_a_tower_without_any_limit_is_refused():
    with pytest.raises(ModelError, match="how many tokens are read"):
        text_limit(transformers.T5Config(), bert_tokenizer())


def test_what_both_versions_of_transformers_give_is_a_tensor():
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    rows = torch.ones(2, 3)
    assert as_tensor(rows) is rows
    assert as_tensor(BaseModelOutputWithPooling(pooler_output=rows)) is rows


def test_the_librarys_own_voice_is_given_back():
    from transformers.utils import logging

    logging.set_verbosity_warning()
    with quiet():
        assert logging.get_verbosity() == logging.ERROR
    assert logging.get_verbosity() == logging.WARNING
    assert logging.is_progress_bar_enabled()
