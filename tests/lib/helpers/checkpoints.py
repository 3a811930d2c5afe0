"""Stand-ins of published checkpoints: their layouts, written by the vendors' own libraries, with random weights.

Nothing of open_clip's is built by Molyneux here, so what Molyneux makes of a folder can be compared with what open_clip
makes of it. At full size open_clip's architectures are exactly the published ones (a BERT stays small); small ones are
of the same classes.
"""

import copy
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from helpers import families_hf, families_medclip
from helpers.families_open_clip import write_text_tower
from helpers.vendors import quiet, read_hugging_face, read_open_clip, read_sentence_transformers

TEXTS = ["a ring.", "A circle with a hole", "two dark bars that meet"]


@register_model
def checkpoint_eva(pretrained: bool = False, **given: Any) -> nn.Module:
    del pretrained
    return Eva(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, qkv_fused=False, swiglu_mlp=True,
        scale_mlp=True, use_rot_pos_emb=True, ref_feat_shape=(4, 4), **_plain(given),
    )  # fmt: skip


@register_model
def checkpoint_fastvit(pretrained: bool = False, **given: Any) -> nn.Module:
    del pretrained
    return FastVit(
        layers=(1,) * 4, embed_dims=(8, 16, 32, 64), mlp_ratios=(2,) * 4, se_downsamples=(False,) * 4,
        token_mixers=("repmixer",) * 4, **_plain(given),
    )  # fmt: skip


@register_model
def checkpoint_siglip(pretrained: bool = False, **given: Any) -> nn.Module:
    del pretrained
    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, class_token=False, **_plain(given)
    )


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key in ("num_classes", "global_pool")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A way in which checkpoints are published."""

    write: Callable[[Path, bool], None]
    """Into a folder; at full size if True."""
    read: Callable[..., tuple[Tensor, Tensor]]
    """How its library alone embeds images and texts."""
    pixels: Callable[[Path, Image.Image], Tensor] | None
    """What its library alone makes of a photo, (3, h, w); None where the library runs with nothing of today."""
    sentences: Callable[..., tuple[Tensor, Tensor]] | None = None
    """How sentence-transformers alone embeds both, where it can read the layout."""


def photo() -> Image.Image:
    """300 x 203 pixels of noise over a gradient."""
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 160, 300)[None, :, None] + random.integers(0, 96, (203, 300, 3))
    return Image.fromarray(ramp.astype(np.uint8))


def open_clip_pixels(folder: Path, image: Image.Image) -> Tensor:
    """By open_clip's own transform."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    content = json.loads((folder / "open_clip_config.json").read_text())
    size = content["model_cfg"]["vision_cfg"]["image_size"]
    return image_transform_v2(PreprocessCfg(size=size, **content["preprocess_cfg"]), is_train=False)(image)


def hugging_face_pixels(folder: Path, image: Image.Image) -> Tensor:
    """By transformers' own processor."""
    import transformers

    with quiet():
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return torch.as_tensor(np.asarray(processor([image], return_tensors="np")["pixel_values"]))[0]


def open_clip_layout(name: str, small: dict[str, Any], **preprocess: Any) -> Layout:
    """A published architecture of open_clip; `small` replaces parts of its towers' descriptions."""

    def write(folder: Path, full: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import open_clip

        config = open_clip.get_model_config(name)
        if not full:
            for key, value in small.items():
                config[key] = {**config[key], **value} if isinstance(value, dict) else value
        text, own = config["text_cfg"], ("hf_model_name", "hf_tokenizer_name")
        if any(text.get(key) for key in own):
            write_text_tower(folder)
            text |= {key: str(folder) for key in own if text.get(key)} | {"hf_model_pretrained": False}
            if text.get("hf_model_name"):
                text["context_length"] = min(32, text.get("context_length", 77))
        build = copy.deepcopy(config)
        custom = build.pop("custom_text", False) or "hf_model_name" in text
        kind = (
            open_clip.CLIP if not custom else open_clip.CoCa if "multimodal_cfg" in build else open_clip.CustomTextCLIP
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            native = kind(**build)
            for layer in native.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    nn.init.uniform_(layer.running_var, 0.5, 1.5)
            if isinstance(native, open_clip.CoCa):  # open_clip leaves this one as it finds it in memory
                nn.init.normal_(native.text_decoder.text_projection, std=0.1)
        text |= {key: "." for key in own if text.get(key)}
        state = {key: value.contiguous() for key, value in native.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")
        content = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, **preprocess}}
        (folder / "open_clip_config.json").write_text(json.dumps(content))

    return Layout(write=write, read=read_open_clip, pixels=open_clip_pixels)


def hugging_face_layout(name: str) -> Layout:
    """A dual encoder of transformers, saved by its three parts' own `save_pretrained`; small alone."""

    def write(folder: Path, full: bool) -> None:
        del full
        model = families_hf.FAMILIES[name]()
        with quiet():
            for part in (model.native, model._tokenizer, model._image_processor):
                part.save_pretrained(folder)

    # sentence-transformers gives a SigLIP 2 of any size the published patches and lengths
    sentences = None if name == "hf siglip2" else read_sentence_transformers
    return Layout(write=write, read=read_hugging_face, pixels=hugging_face_pixels, sentences=sentences)


def medclip_layout(kind: str) -> Layout:
    """A MedCLIP under its published names, small alone; read by transformers and torchvision."""

    def write(folder: Path, full: bool) -> None:
        del full
        families_medclip.FAMILIES[kind]().save(folder / "whole")
        for part in (folder / "whole").iterdir():
            shutil.move(part, folder)
        (folder / "whole").rmdir()

    return Layout(write=write, read=families_medclip.VENDOR[kind], pixels=None)


_TEXT = {"width": 16, "heads": 2, "layers": 2}
_VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
_TIMM = {"image_size": 32}

LAYOUTS: dict[str, Layout] = {
    "open_clip ViT, QuickGELU": open_clip_layout(
        "ViT-B-32-quickgelu", {"embed_dim": 16, "vision_cfg": _VISION, "text_cfg": _TEXT}
    ),
    "open_clip ViT": open_clip_layout("ViT-B-32", {"embed_dim": 16, "vision_cfg": _VISION, "text_cfg": _TEXT}),
    "open_clip ResNet": open_clip_layout(
        "RN50-quickgelu",
        {"embed_dim": 16, "vision_cfg": {"image_size": 64, "layers": [1] * 4, "width": 8}, "text_cfg": _TEXT},
    ),
    "open_clip ConvNeXt": open_clip_layout(
        "convnext_base",
        {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 64, "timm_model_name": "test_convnext", "timm_drop_path": 0.0},
            "text_cfg": _TEXT,
        },
    ),
    "open_clip EVA": open_clip_layout(
        "EVA02-B-16",
        {"embed_dim": 16, "vision_cfg": {**_TIMM, "timm_model_name": "checkpoint_eva"}, "text_cfg": _TEXT},
    ),
    "open_clip MobileCLIP": open_clip_layout(
        "MobileCLIP-S1",
        {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 64, "timm_model_name": "checkpoint_fastvit"},
            "text_cfg": _TEXT,
        },
        interpolation="bilinear",
    ),
    "open_clip CoCa": open_clip_layout(
        "coca_ViT-B-32",
        {
            "embed_dim": 16,
            "vision_cfg": {**_VISION, "attn_pooler_heads": 2},
            "text_cfg": _TEXT,
            "multimodal_cfg": {**_TEXT, "attn_pooler_heads": 2},
        },
    ),
    "open_clip SigLIP": open_clip_layout(
        "ViT-B-16-SigLIP",
        {
            "embed_dim": 32,
            "vision_cfg": {**_TIMM, "timm_model_name": "checkpoint_siglip"},
            "text_cfg": {**_TEXT, "width": 32, "context_length": 24},
        },
        resize_mode="squash",
    ),
    "open_clip with BERT (as BiomedCLIP)": open_clip_layout(
        "roberta-ViT-B-32",
        {
            "embed_dim": 16,
            "vision_cfg": _VISION,
            "text_cfg": {"context_length": 16, "hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler"},
        },
    ),
    **{f"transformers {name.removeprefix('hf ')}": hugging_face_layout(name) for name in families_hf.FAMILIES},
    "MedCLIP, Swin": medclip_layout("medclip-swin"),
    "MedCLIP, ResNet": medclip_layout("medclip-resnet"),
}
