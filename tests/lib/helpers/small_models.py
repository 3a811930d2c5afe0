"""A dual encoder of a few thousand numbers with everything that a room may ask of one."""

import hashlib
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from molyneux.backends.abilities import Explainable
from molyneux.backends.division import Chain, convolutional
from molyneux.backends.packs import recall
from molyneux.concepts import Concept
from molyneux.errors import ModelError
from molyneux.files import new_folder
from molyneux.packs import model_named

WIDTH = 8
LONGEST = 30
"""Words that the model reads."""


def word_directions(text: str) -> torch.Tensor:
    """The mean of a random direction per word, so that texts with common words are near each other."""
    return torch.stack([_direction(word) for word in text.lower().split()]).mean(dim=0)


class ConvModel(Explainable):
    """Two convolutions with batch norm, means over a grid, a two-layer projection; a text tower of one matrix."""

    def __init__(
        self,
        seed: int = 0,
        channels: int = 12,
        read: Callable[[str], torch.Tensor] = word_directions,
        grid: int = 1,
        width: int = WIDTH,
        name: str = "tiny",
    ) -> None:
        def block(before: int, after: int) -> nn.Sequential:
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.SiLU())

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            trunk = nn.Sequential(block(3, channels), block(channels, 2 * channels))
            head = nn.Sequential(nn.Linear(2 * channels * grid**2, 16), nn.Tanh(), nn.Linear(16, width))
            for layer in trunk.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    nn.init.uniform_(layer.running_mean, -0.3, 0.3)
                    nn.init.uniform_(layer.running_var, 0.2, 1.5)
            with torch.no_grad():  # wide awake: images differ more in their embeddings than random weights let them
                for layer in (trunk[0][0], trunk[1][0]):
                    layer.weight *= 2
                head[0].weight *= 4
                head[2].bias *= 0.2
            vision = nn.ModuleDict({"trunk": trunk, "head": head})
            self._native = nn.ModuleDict({"vision": vision, "text": nn.Linear(width, width)})
        self._native.requires_grad_(False).eval()
        self._read, self._grid, self._name = read, grid, name
        self.images_seen = 0
        self.texts_seen: list[str] = []

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
        self.images_seen += len(images)
        chain = self.chain()
        return chain.upper(chain.lower(images, 0), 0)

    def chain(self) -> Chain:
        def top(maps: torch.Tensor) -> torch.Tensor:
            return adaptive_avg_pool2d(maps, self._grid).flatten(1)

        return convolutional(self._native["vision"]["trunk"], top).around(lambda images: 4 * images - 2)

    def image_outputs(self, features: torch.Tensor) -> torch.Tensor:
        return self._native["vision"]["head"](features)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        for text in texts:
            self.check_text(text)
        self.texts_seen += texts
        return self.encode_texts(texts)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return normalize(self.text_outputs(texts), dim=1)

    def text_outputs(self, texts: Sequence[str]) -> torch.Tensor:
        return self._native["text"](torch.stack([self._read(text) for text in texts]))

    def check_text(self, text: str) -> None:
        words = text.split()
        if len(words) > LONGEST:
            lost = " ".join(words[LONGEST:])
            raise ModelError(f"the text has {len(words)} tokens and {self.name!r} reads {LONGEST}; lost: {lost!r}")

    def save(self, folder: Path) -> None:
        with new_folder(folder) as target:
            save_file(self._native.state_dict(), target / "tiny.safetensors")
            (target / "tiny.json").write_text(json.dumps({"name": "tiny"}))
            self.save_packs(target)

    def copy(self, *, whole: bool = False) -> "ConvModel":
        text = self._native["text"]
        return deepcopy(self, {} if whole else {id(text): text})

    def text_modules(self) -> list[nn.Module]:
        return [self._native["text"]]

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return [layer for layer in self._native["vision"].modules() if isinstance(layer, nn.BatchNorm2d)]

    def trunk_modules(self) -> list[nn.Module]:
        return list(self._native["vision"]["trunk"])

    def projection_module(self) -> nn.Module:
        return self._native["vision"]["head"]

    @torch.no_grad()
    def remap(self, change: torch.Tensor) -> None:
        last = self._native["vision"]["head"][-1]
        last.weight += change @ last.weight.to(change)
        last.bias += change @ last.bias.to(change)

    def vision_module(self) -> nn.Module:
        return self._native["vision"]


def load_tiny(name: str | Path, *, device: str = "cpu", precision: str = "fp32", long_text: str = "error") -> ConvModel:
    """What the backends' `load` does, for 'tiny' and the folders that it was saved in."""
    assert device == "cpu"
    name = model_named(str(name))
    model = _read(name)
    model.precision, model.long_text = precision, long_text
    recall(model, Path(name))
    model.concepts = tuple(Concept(pack.name, pack.descriptions) for pack in model.packs)
    return model


def _read(name: str | Path) -> ConvModel:
    if str(name) == "tiny":
        return ConvModel()
    folder = Path(name)
    if not (folder / "tiny.json").is_file():
        raise ModelError(f"there is no model {str(name)!r}: expected 'mini' or a folder that holds a saved model")
    model = ConvModel(name=str(folder))
    model.native.load_state_dict(load_file(folder / "tiny.safetensors"))
    return model


@cache
def _direction(word: str) -> torch.Tensor:
    seed = int(hashlib.sha256(word.encode()).hexdigest()[:8], 16)
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
