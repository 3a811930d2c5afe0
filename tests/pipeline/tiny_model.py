"""A dual encoder of a few numbers that can be inverted, taught, saved and loaded in milliseconds."""

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from molyneux.backends.base import DualEncoder
from molyneux.errors import ModelError
from molyneux.files import new_folder

LONGEST = 30
"""Words that the model reads."""


class TinyModel(DualEncoder):
    """Features are the mean colours of a 3 x 3 grid; a text is the mean of its words' random directions."""

    def __init__(self, name: str = "tiny") -> None:
        generator = torch.Generator().manual_seed(0)
        vision = nn.ModuleDict({"trunk": nn.Linear(27, 16), "projection": nn.Linear(16, 8)})
        for layer in vision.values():
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
            layer.bias.data = torch.randn(layer.bias.shape, generator=generator)
        text = nn.Linear(8, 8, bias=False)
        text.weight.data = torch.eye(8)
        self._native = nn.ModuleDict({"vision": vision, "text": text}).requires_grad_(False).eval()
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def native(self) -> nn.Module:
        return self._native

    @property
    def image_size(self) -> int:
        return 24

    @property
    def inversion_size(self) -> int:
        return 16

    @property
    def temperature(self) -> float:
        return 0.1

    def features(self, images: torch.Tensor) -> torch.Tensor:
        grid = nn.functional.adaptive_avg_pool2d(images - 0.5, 3).flatten(1)
        return torch.tanh(self.vision_module()["trunk"](4 * grid))

    def project(self, features: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.projection_module()(features), dim=1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return self.encode_texts(texts)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        for text in texts:
            self.check_text(text)
        rows = [torch.stack([_direction(word) for word in text.lower().split()]).mean(dim=0) for text in texts]
        return nn.functional.normalize(self._native["text"](torch.stack(rows)), dim=1)

    def check_text(self, text: str) -> None:
        words = text.split()
        if len(words) > LONGEST:
            lost = " ".join(words[LONGEST:])
            raise ModelError(f"the text has {len(words)} tokens and {self.name!r} reads {LONGEST}; lost: {lost!r}")

    def save(self, folder: Path) -> None:
        with new_folder(folder) as target:
            save_file(self._native.state_dict(), target / "tiny.safetensors")
            (target / "tiny.json").write_text(json.dumps({"name": "tiny"}))

    def copy(self, *, whole: bool = False) -> "TinyModel":
        text = self._native["text"]
        return deepcopy(self, {} if whole else {id(text): text})

    def text_modules(self) -> list[nn.Module]:
        return [self._native["text"]]

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return []

    def trunk_modules(self) -> list[nn.Module]:
        return [self._native["vision"]["trunk"]]

    def projection_module(self) -> nn.Module:
        return self._native["vision"]["projection"]

    @torch.no_grad()
    def remap(self, change: torch.Tensor) -> None:
        layer = self.projection_module()
        layer.weight.add_(change @ layer.weight)
        layer.bias.add_(change @ layer.bias)

    def vision_module(self) -> nn.Module:
        return self._native["vision"]


def load_tiny(name: str | Path, *, device: str = "cpu", precision: str = "fp32", long_text: str = "error") -> TinyModel:
    """What the backends' `load` does, for 'tiny' and the folders that it was saved in."""
    assert device == "cpu"
    model = _read(name)
    model.precision, model.long_text = precision, long_text
    return model


def _read(name: str | Path) -> TinyModel:
    if str(name) == "tiny":
        return TinyModel()
    folder = Path(name)
    if not (folder / "tiny.json").is_file():
        raise ModelError(f"there is no model {str(name)!r}: expected 'mini' or a folder that holds a saved model")
    model = TinyModel(str(folder))
    model.native.load_state_dict(load_file(folder / "tiny.safetensors"))
    return model


@cache
def _direction(word: str) -> torch.Tensor:
    seed = int(hashlib.sha256(word.encode()).hexdigest()[:8], 16)
    return torch.randn(8, generator=torch.Generator().manual_seed(seed))
