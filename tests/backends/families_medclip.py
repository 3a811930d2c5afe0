"""Tiny random MedCLIPs, of both variants, with a vocabulary of a few words."""

import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.medclip import MedClipConfig, MedClipModel, build, load_tokenizer

WORDS = re.findall(
    r"\S+",
    "a an the of with photo ring circle hole round cross bars two that meet dark in on lung mass chest x ray is are "
    "shape edge cat dog tree house red car . - ,",
)
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
TEXT = {
    "vocab_size": 120,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 80,
}
SWIN = MedClipConfig(
    vision="swin",
    image_size=32,
    width=12,
    swin={"patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4},
    text=TEXT,
)
RESNET = MedClipConfig(
    vision="resnet", image_size=56, width=12, resnet={"layers": [1, 1, 1, 1], "width_per_group": 2}, text=TEXT
)


def write_vocabulary(folder: Path) -> Path:
    """A `vocab.txt` as BERT's: special tokens, words, and the alphabet for all other words."""
    entries = [*SPECIALS, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(entries)) + "\n", encoding="utf-8")
    return folder


@cache
def tokenizer() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return load_tokenizer(write_vocabulary(Path(folder)))


def awaken(native: nn.Module, strength: float) -> None:
    """Larger random weights, so that a tiny transformer's answers differ from picture to picture."""
    with torch.no_grad():
        for module in native.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(strength)
            elif isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)


def tiny_medclip(config: MedClipConfig) -> MedClipModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(f"tiny-medclip-{config.vision}", config, tokenizer())
        awaken(model.native, 4.0)
    return model


FAMILIES: dict[str, Callable[[], VisionLanguageModel]] = {
    "medclip-swin": lambda: tiny_medclip(SWIN),
    "medclip-resnet": lambda: tiny_medclip(RESNET),
}
