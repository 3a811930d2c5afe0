"""A tiny random ViLT with both heads of pre-training."""

from collections.abc import Callable

import torch

from helpers.families_medclip import awaken, tokenizer
from helpers.vendors import read_vilt
from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.vilt import Vilt, build


def tiny_vilt() -> Vilt:
    from transformers import ViltConfig

    config = ViltConfig(
        vocab_size=100,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=56,
        patch_size=8,
        max_position_embeddings=40,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("tiny-vilt", config, tokenizer())
        awaken(model.native, 2.0)
        embeddings = model.native.vilt.embeddings
        for values in (embeddings.cls_token, embeddings.position_embeddings):
            torch.nn.init.normal_(values, std=0.3)
        for head in (model.native.itm_score["fc"], model.native.mlm_score.decoder):
            torch.nn.init.normal_(head.bias, std=0.3)
    return model


FAMILIES: dict[str, Callable[[], VisionLanguageModel]] = {"vilt": tiny_vilt}


VENDOR = {"vilt": read_vilt}
