"""What the backends use of the model libraries beside their documented interfaces.

Such a name can go with any release. Where one has gone, this fails first and says what needs it; then the range of
that library in `pyproject.toml` is to be narrowed, or the backend is to be taught the new name.
"""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path

import pytest
from torch import nn

import molyneux.backends

BACKENDS = Path(molyneux.backends.__file__).parent
LIBRARIES = {
    "open_clip": "open_clip_torch",
    "timm": "timm",
    "transformers": "transformers",
    "peft": "peft",
    "huggingface_hub": "huggingface_hub",
    "diffusers": "diffusers",
    "torchvision": "torchvision",
}
"""Modules, and the packages that they are installed by."""

# (module:name, how it is called or "" for a class or a value, what needs it); `name=` is given by keyword
NAMES = (
    ("open_clip.constants:OPENAI_DATASET_MEAN", "", "images' normalisation where no published weights state one"),
    ("open_clip.constants:OPENAI_DATASET_STD", "", "images' normalisation where no published weights state one"),
    ("open_clip.convert:convert_state_dict", "model, state", "weights that older releases saved"),
    ("open_clip.model:convert_to_custom_text_state_dict", "state", "weights that older releases saved"),
    ("open_clip.modified_resnet:ModifiedResNet", "", "telling a model's vision tower"),
    ("open_clip.pretrained:download_pretrained", "tag", "published weights by tag"),
    ("open_clip.pretrained:download_pretrained_from_hf", "name, filename=", "published weights on the hub"),
    ("open_clip.pretrained:get_pretrained_cfg", "name, tag", "published weights by tag"),
    ("open_clip.pretrained:list_pretrained_tags_by_model", "name", "published weights by tag"),
    ("open_clip.timm_model:TimmModel", "", "telling a model's vision tower"),
    ("open_clip.tokenizer:HFTokenizer", "name, context_length=", "tokens of a Hugging Face text tower"),
    ("open_clip.tokenizer:SimpleTokenizer", "context_length=", "tokens of CLIP's text tower"),
    ("open_clip.transformer:TextTransformer", "", "telling CoCa's text tower"),
    ("open_clip.transformer:VisionTransformer", "", "telling a model's vision tower"),
    ("open_clip.transformer:VisionTransformer._embeds", "self, images", "features before the projection, heat maps"),
    ("open_clip.transformer:VisionTransformer._pool", "self, tokens", "features before the projection, heat maps"),
    ("timm.models.vision_transformer:VisionTransformer", "", "heat maps of timm's ViT"),
    ("timm.models.vision_transformer:VisionTransformer._pos_embed", "self, patches", "heat maps of timm's ViT"),
    ("transformers.models.vilt.modeling_vilt:ViltMLMHead", "config", "ViLT with both heads of pre-training"),
    ("transformers.models.vilt.modeling_vilt:ViltModel", "config", "ViLT with both heads of pre-training"),
    ("transformers.utils:logging", "", "quiet reading of checkpoints"),
    ("torchvision.models.resnet:Bottleneck", "", "MedCLIP's ResNet"),
    ("torchvision.models.resnet:ResNet", "block, layers=, width_per_group=", "MedCLIP's ResNet"),
    ("huggingface_hub.errors:GatedRepoError", "", "what the hub's refusals mean"),
    ("huggingface_hub.errors:OfflineModeIsEnabled", "", "what the hub's refusals mean"),
    ("huggingface_hub.errors:RepositoryNotFoundError", "", "what the hub's refusals mean"),
    ("peft.tuners.lora:LoraLayer", "", "finding the adapters in a model"),
)


def open_clip_vit() -> nn.Module:
    from open_clip.transformer import VisionTransformer

    return VisionTransformer(
        image_size=8, patch_size=4, width=8, layers=1, heads=1, mlp_ratio=1, output_dim=8, attentional_pool=True
    )


def open_clip_resnet() -> nn.Module:
    from open_clip.modified_resnet import ModifiedResNet

    return ModifiedResNet(layers=(1, 1, 1, 1), output_dim=4, heads=2, image_size=32, width=4)


def open_clip_timm() -> nn.Module:
    from open_clip.timm_model import TimmModel

    return TimmModel("efficientnet_lite0", embed_dim=4, image_size=32, pretrained=False)


def timm_vit() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=1)


SMALL = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def clip_vision() -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    found = CLIPVisionModel(CLIPVisionConfig(**SMALL, image_size=8, patch_size=4))
    return getattr(found, "vision_model", found)


def deit() -> nn.Module:
    from transformers import DeiTConfig, DeiTModel

    return DeiTModel(DeiTConfig(**SMALL, image_size=8, patch_size=4))


def siglip_vision() -> nn.Module:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    found = SiglipVisionModel(SiglipVisionConfig(**SMALL, image_size=8, patch_size=4))
    return getattr(found, "vision_model", found)


def swin() -> nn.Module:
    from transformers import SwinConfig, SwinModel

    return SwinModel(
        SwinConfig(image_size=16, patch_size=2, embed_dim=4, depths=[1, 1], num_heads=[1, 1], window_size=4)
    )


def vilt() -> nn.Module:
    from transformers import ViltConfig, ViltModel

    return ViltModel(ViltConfig(**SMALL, vocab_size=9, image_size=8, patch_size=4))


def adapted() -> nn.Module:
    import peft

    model = nn.Sequential(nn.Linear(2, 2))
    peft.PeftModel(model, peft.LoraConfig(target_modules=["0"]), adapter_name="default")
    return model[0]


# (how one is built, its members that are reached into, what needs them)
MEMBERS = (
    (
        open_clip_vit,
        "conv1 class_embedding positional_embedding ln_pre transformer.resblocks transformer.batch_first attn_pool "
        "attn_pool_contrastive ln_post proj",
        "moving its blocks, heat maps, merging a map of the shared space",
    ),
    (
        open_clip_resnet,
        "stem conv1 bn1 conv2 bn2 conv3 bn3 layer1 layer2 layer3 layer4 attnpool.positional_embedding "
        "attnpool.num_heads attnpool.q_proj attnpool.k_proj attnpool.v_proj attnpool.c_proj",
        "its attention pooling without the last layer",
    ),
    (
        open_clip_timm,
        "trunk.forward_features trunk.forward_head trunk.get_classifier trunk.num_features head",
        "features before the projection, `mini` included",
    ),
    (
        timm_vit,
        "patch_embed patch_drop norm_pre blocks norm num_prefix_tokens forward_head",
        "heat maps of timm's ViT",
    ),
    (clip_vision, "embeddings pre_layrnorm post_layernorm config.model_type", "heat maps of CLIP"),
    (deit, "embeddings.distillation_token layernorm pooler config.model_type", "heat maps of ViT and DeiT"),
    (
        siglip_vision,
        "embeddings post_layernorm encoder.layers head.probe head.attention head.layernorm head.mlp",
        "SigLIP's features before its residual head",
    ),
    (swin, "embeddings encoder.layers layernorm", "heat maps of Swin"),
    (
        vilt,
        "embeddings.patch_embeddings embeddings.position_embeddings embeddings.cls_token embeddings.config.image_size "
        "embeddings.text_embeddings.word_embeddings encoder.layer layernorm pooler",
        "ViLT's patches in reading order",
    ),
    (adapted, "lora_A lora_B lora_dropout get_delta_weight", "drawing and merging adapters"),
)


def lacking(what: str, library: str, needs: str) -> str:
    package = LIBRARIES[library]
    return f"{package} {version(package)} lacks what is needed for {needs}: {what}"


def load(path: str) -> object:
    module, _, name = path.partition(":")
    return attrgetter(name)(importlib.import_module(module))


@pytest.mark.parametrize(("path", "call", "needs"), NAMES, ids=[path for path, *_ in NAMES])
def test_a_name_beside_the_documented_ones_is_there(path: str, call: str, needs: str) -> None:
    try:
        found = load(path)
    except (ImportError, AttributeError):
        pytest.fail(lacking(path, path.split(".")[0], needs))
    given = call.split(", ") if call else []
    if given:
        assert callable(found)
        plain = [name for name in given if not name.endswith("=")]
        named = {name.removesuffix("="): None for name in given if name.endswith("=")}
        try:
            inspect.signature(found).bind(*plain, **named)
        except TypeError as error:
            pytest.fail(lacking(f"{path}({call}), {error}", path.split(".")[0], needs))


@pytest.mark.parametrize(("build", "members", "needs"), MEMBERS, ids=[build.__name__ for build, *_ in MEMBERS])
def test_members_that_are_reached_into_are_there(build: Callable[[], nn.Module], members: str, needs: str) -> None:
    built = build()
    for member in members.split():
        try:
            attrgetter(member)(built)
        except AttributeError:
            pytest.fail(lacking(f"{type(built).__name__}.{member}", type(built).__module__.split(".")[0], needs))


def test_the_table_is_complete() -> None:
    """Each import from within a library, and each private attribute that is none of ours, is in the table."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in BACKENDS.rglob("*.py")]
    listed = {path for path, *_ in NAMES}
    imported = {name for tree in trees for name in inner_imports(tree)}
    assert imported
    assert imported <= listed
    nodes = [node for tree in trees for node in ast.walk(tree)]
    ours = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and private(node.attr)]
    ours |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    ours |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    theirs = {node.attr for node in attributes} - ours
    assert theirs
    assert theirs == {name for path in listed if private(name := path.rpartition(".")[2])}


def inner_imports(tree: ast.Module) -> Iterator[str]:
    """'module:name' of what is imported from a library, but for what stands in its first module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            library, _, inner = node.module.partition(".")
            for alias in node.names:
                if library in LIBRARIES and (inner or private(alias.name)):
                    yield f"{node.module}:{alias.name}"


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")
