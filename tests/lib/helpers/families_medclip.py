"""Tiny random MedCLIPs, of both variants, with a vocabulary of a few words."""

import re
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import normalize

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
    """Larger random weights, so that a tiny transformer's answers differ from image to image."""
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


def part_of(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without what transformers no longer stores."""
    return {key: value for key, value in state.items() if not key.endswith(("position_ids", "position_index"))}


def plain_vision(kind: str, state: dict[str, torch.Tensor]) -> nn.Module:
    """The vision tower as its own library builds and loads it."""
    tower = old_names(part_of(state, "vision_model.model."))
    if kind == "medclip-resnet":
        from torchvision.models.resnet import Bottleneck, ResNet

        model = ResNet(Bottleneck, layers=[1, 1, 1, 1], width_per_group=2)
        model.fc = nn.Linear(2048, 12, bias=False)
        model.load_state_dict(tower)
        return model.eval()
    from transformers import SwinConfig, SwinModel

    with tempfile.TemporaryDirectory() as folder:
        SwinConfig(image_size=32, **SWIN.swin).save_pretrained(folder)
        save_file(tower, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        swin, report = SwinModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return swin.eval()


def plain_text(folder: Path, state: dict[str, torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
    """Published text embeddings, one text at a time."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    bert = BertModel(BertConfig(**TEXT)).eval()
    bert.load_state_dict(old_names(part_of(state, "text_model.model.")))
    words, rows = BertTokenizerFast.from_pretrained(folder), []
    for text in texts:
        hidden = bert(**words(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        three = [hidden[1][0].mean(dim=0), hidden[2][0].mean(dim=0), hidden[-1][0].mean(dim=0)]
        row = state["text_model.projection_head.weight"] @ (sum(three) / 3)
        rows.append(row / row.norm())
    return torch.stack(rows)


def vendor_reading(kind: str) -> Callable[[Path, torch.Tensor, Sequence[str]], tuple[torch.Tensor, torch.Tensor]]:
    """How transformers and torchvision embed images and texts from a saved folder, without Molyneux.

    The published package itself runs with none of their present releases.
    """

    @torch.no_grad()
    def read(folder: Path, images: torch.Tensor, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        state = load_file(folder / "model.safetensors")
        grey = (images.mean(dim=1, keepdim=True) - 0.5862785803043838) / 0.27950088968644304
        seen = plain_vision(kind, state)(grey.repeat(1, 3, 1, 1))
        if kind == "medclip-swin":
            seen = seen.pooler_output @ state["vision_model.projection_head.weight"].T
        return normalize(seen, dim=1), plain_text(folder, state, texts)

    return read


VENDOR = {kind: vendor_reading(kind) for kind in FAMILIES}
