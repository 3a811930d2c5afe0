"""A dual encoder small enough to follow by hand: the mean colours of a 2 x 2 grid, projected."""

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Self

import torch
from torch import nn

from molyneux.backends.base import DualEncoder


class MeanColour(DualEncoder):
    """Features are 12 mean colours, the projection is linear, a text is a random direction of its own."""

    def __init__(self, seed: int = 0, name: str = "mean-colour", width: int = 8) -> None:
        generator = torch.Generator().manual_seed(seed)
        layer = nn.Linear(12, width, bias=False)
        layer.weight.data = torch.randn(width, 12, generator=generator)
        self._native = nn.ModuleDict({"projection": layer})
        self._name = name
        self._width = width
        self.pictures_seen = 0
        self.texts_seen: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def native(self) -> nn.Module:
        return self._native

    @property
    def image_size(self) -> int:
        return 16

    @property
    def inversion_size(self) -> int:
        return 16

    @property
    def crop_fraction(self) -> float:
        return 1.0

    @property
    def temperature(self) -> float:
        return 0.1

    def features(self, images: torch.Tensor) -> torch.Tensor:
        self.pictures_seen += len(images)
        return nn.functional.adaptive_avg_pool2d(images - 0.5, 2).flatten(1)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self._native["projection"](features), dim=1)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        self.texts_seen += texts
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [torch.randn(self._width, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return nn.functional.normalize(torch.stack(rows), dim=1)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return self.embed_texts(texts)

    def text_modules(self) -> list[nn.Module]:
        return []

    def check_text(self, text: str) -> None:
        pass

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def copy(self, *, whole: bool = False) -> Self:
        return deepcopy(self)

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return []

    def trunk_modules(self) -> list[nn.Module]:
        return []

    def projection_module(self) -> nn.Module:
        return self._native["projection"]

    @torch.no_grad()
    def remap(self, change: torch.Tensor) -> None:
        weight = self._native["projection"].weight
        weight.add_(change @ weight)

    def vision_module(self) -> nn.Module:
        return self._native["projection"]
