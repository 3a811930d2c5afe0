"""Small random members of the open_clip family, one of each kind of tower, for the tests of any room."""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import nn
from transformers import BertConfig, PreTrainedTokenizerFast

from helpers.vendors import read_open_clip
from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.drawn import load_drawn
from molyneux.backends.open_clip import CoCaModel, OpenClipEncoder, build

WORDS = re.findall(r"\S+", "a the of with photo ring circle hole round cross bars two that meet dark in on .")
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "resize_mode": "shortest"}
TRANSFORMER = {"layers": 2, "width": 16, "head_width": 8, "patch_size": 16, "image_size": 32}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
BERT = {
    "context_length": 16,
    "hf_model_name": "",
    "hf_tokenizer_name": "",
    "hf_proj_type": "mlp",
    "hf_pooler_type": "cls_last_hidden_state_pooler",
}


def describe(vision: dict[str, Any], text: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What open_clip_config.json holds."""
    return {
        "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, **more},
        "preprocess_cfg": PREPROCESS,
    }


VIT = describe(TRANSFORMER, TEXT, quick_gelu=True)
RESNET = describe({"layers": [1, 1, 1, 1], "width": 4, "patch_size": None, "image_size": 64, "head_width": 64}, TEXT)
BIOMED = describe(
    {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}, BERT, custom_text=True
)
COCA = describe(
    {**TRANSFORMER, "attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 2, "output_tokens": True},
    {**TEXT, "width": 16, "embed_cls": True, "output_tokens": True},
    multimodal_cfg={"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    custom_text=True,
)


def write_text_tower(folder: Path) -> Path:
    """The configuration of a small random BERT, and a tokenizer of a few words and the alphabet."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, numbers[mark]) for mark in ("[CLS]", "[SEP]")]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    BertConfig(
        vocab_size=len(numbers),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    ).save_pretrained(folder)
    return folder


def build_random(name: str, description: dict[str, Any], seed: int = 0) -> OpenClipEncoder:
    """The architecture with weights that let images differ in their embeddings, the same for the same seed."""
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        text_folder = (
            write_text_tower(Path(folder)) if "hf_model_name" in description["model_cfg"]["text_cfg"] else None
        )
        model = build(name, json.loads(json.dumps(description)), text_folder)
        for layer in model.native.modules():
            if isinstance(layer, nn.BatchNorm2d):  # some are begun at zero, which would leave their blocks idle
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.running_mean, -0.2, 0.2)
                nn.init.uniform_(layer.running_var, 0.1, 0.3)
    return model


def build_tiny_coca() -> CoCaModel:
    model = build_random("tiny-coca", COCA)
    assert isinstance(model, CoCaModel)
    return model


FAMILIES: dict[str, Callable[[], VisionLanguageModel]] = {
    "open_clip-vit": lambda: build_random("tiny-vit", VIT),
    "open_clip-resnet": lambda: build_random("tiny-resnet", RESNET),
    "open_clip-timm-bert": lambda: build_random("tiny-biomed", BIOMED),
    "open_clip-coca": build_tiny_coca,
    "drawn": load_drawn,
}


VENDOR = dict.fromkeys(FAMILIES, read_open_clip)
