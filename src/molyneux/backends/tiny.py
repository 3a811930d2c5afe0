"""Random models of a few thousand numbers in each family's real architecture: to see that a run runs, nothing else.

The text towers of all but CLIP and CoCa read BERT's published vocabulary, which ships with `mini`.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.hugging_face import quiet
from molyneux.backends.mini import TEXT, published_file
from molyneux.backends.sam import Segmenter
from molyneux.errors import ModelError

_PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "resize_mode": "shortest"}
_IMAGES = {"layers": 2, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 32}
_WORDS = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def load_named(name: str) -> VisionLanguageModel:
    """The tiny model 'clip', 'clip-large', 'coca', 'biomedclip', 'medclip' or 'vilt', the same each time.

    Raises:
        ModelError: if there is no such model.
    """
    if name not in TINY:
        raise ModelError(f"there is no tiny model {name!r}: expected one of {', '.join(TINY)}")
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = TINY[name](Path(folder))
        with torch.no_grad():
            for layer in model.native.modules():
                if isinstance(layer, nn.Linear):  # so that images differ in what random layers make of them
                    layer.weight.mul_(3)
    return model


def load_tiny_sam() -> Segmenter:
    """A Segment Anything Model that looks at 64 pixels, the same each time."""
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    side = {"image_size": 64, "patch_size": 16}
    vision = side | {"num_hidden_layers": 1, "num_attention_heads": 2, "window_size": 2, "global_attn_indexes": [0]}
    vision |= {"hidden_size": 16, "output_channels": 16, "num_pos_feats": 8, "mlp_dim": 32}
    prompts = side | {"hidden_size": 16, "mask_input_channels": 4}
    masks = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=masks | {"num_hidden_layers": 1}
    )
    images = SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        return Segmenter("tiny:sam", SamModel(config), SamProcessor(images))


def tiny_sdxl() -> Any:
    """A Stable Diffusion XL that makes images of 32 pixels, the same each time; diffusers must be installed."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _letters(Path(folder))
    words = CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        projection_dim=32,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            block_out_channels=(4, 8),
            layers_per_block=1,
            sample_size=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=80,
            cross_attention_dim=64,
            norm_num_groups=1,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            norm_num_groups=2,
        )
        first, second = CLIPTextModel(words), CLIPTextModelWithProjection(words)
    return StableDiffusionXLPipeline(
        vae=vae,
        unet=unet,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def _letters(folder: Path) -> Any:
    """A tokenizer of single letters and a few whole words, for texts of up to 512 tokens."""
    from transformers import CLIPTokenizerFast

    units = [chr(code) for code in range(33, 127)]
    vocabulary = {unit: place for place, unit in enumerate([*units, *(f"{unit}</w>" for unit in units)])}
    merges = [("r", "i"), ("n", "g</w>"), ("ri", "ng</w>")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    vocabulary |= {"<|startoftext|>": len(vocabulary), "<|endoftext|>": len(vocabulary) + 1}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return CLIPTokenizerFast.from_pretrained(folder, model_max_length=512, trust_remote_code=False)


def _clip(_: Path) -> VisionLanguageModel:
    from molyneux.backends.open_clip import build

    return build("tiny:clip", _described(_IMAGES, _WORDS, quick_gelu=True))


def _clip_large(_: Path) -> VisionLanguageModel:
    from molyneux.backends.open_clip import build

    return build("tiny:clip-large", _described(_IMAGES | {"layers": 3, "width": 24}, _WORDS, quick_gelu=True))


def _coca(_: Path) -> VisionLanguageModel:
    from molyneux.backends.open_clip import build

    pooled = {"attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 2, "output_tokens": True}
    words = _WORDS | {"context_length": 76, "width": 16}
    text = words | {"embed_cls": True, "output_tokens": True}
    return build("tiny:coca", _described(_IMAGES | pooled, text, multimodal_cfg=words, custom_text=True))


def _biomedclip(folder: Path) -> VisionLanguageModel:
    from transformers import BertConfig

    from molyneux.backends.open_clip import build

    tokenizer = _tokenizer(folder)
    tokenizer.save_pretrained(folder)
    BertConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **_BERT).save_pretrained(folder)
    text = {
        "context_length": 256,
        "hf_model_name": "",
        "hf_tokenizer_name": "",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
    }
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    return build("tiny:biomedclip", _described(vision, text, custom_text=True), folder)


def _medclip(folder: Path) -> VisionLanguageModel:
    from molyneux.backends.medclip import MedClipConfig, build

    tokenizer = _tokenizer(folder)
    text = _BERT | {"vocab_size": len(tokenizer), "num_hidden_layers": 3, "max_position_embeddings": 80}
    swin = {"patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4}
    return build("tiny:medclip", MedClipConfig(vision="swin", image_size=32, width=12, swin=swin, text=text), tokenizer)


def _vilt(folder: Path) -> VisionLanguageModel:
    from transformers import ViltConfig

    from molyneux.backends.vilt import build

    tokenizer = _tokenizer(folder)
    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 8, "max_position_embeddings": 40}
    return build("tiny:vilt", ViltConfig(vocab_size=len(tokenizer), **sizes, **_BERT), tokenizer)


def _tokenizer(folder: Path) -> Any:
    from molyneux.backends.checkpoints import read_tokenizer

    # its words alone: beside them the package says how far its own tower reads
    words = published_file(*TEXT).parent / "vocab.txt"
    (folder / "vocab.txt").write_bytes(words.read_bytes())
    return read_tokenizer(folder)


def _described(vision: dict[str, Any], text: dict[str, Any], **more: Any) -> dict[str, Any]:
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, **more}
    return json.loads(json.dumps({"model_cfg": model, "preprocess_cfg": _PREPROCESS}))  # type: ignore[no-any-return]


TINY: dict[str, Callable[[Path], VisionLanguageModel]] = {
    "clip": _clip,
    "clip-large": _clip_large,
    "coca": _coca,
    "biomedclip": _biomedclip,
    "medclip": _medclip,
    "vilt": _vilt,
}
