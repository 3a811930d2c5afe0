"""Models of the open_clip family: timm or open_clip vision towers, open_clip or Hugging Face text towers."""

import copy
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.backends.long_text import LongText, Window, check_fits, embed_each
from molyneux.errors import ModelError
from molyneux.files import new_folder
from molyneux.shapes import Embeddings, Features, Images

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"


@final
class OpenClipModel(DualEncoder):
    """An `open_clip.CustomTextCLIP` with its tokenizer and preprocessing constants."""

    def __init__(self, name: str, native: nn.Module, tokenizer: Any, config: Mapping[str, Any]) -> None:
        self._name, self._native, self._tokenizer = name, native, tokenizer
        self._config = config
        preprocess = config["preprocess_cfg"]
        self._mean = torch.tensor(preprocess["mean"]).view(3, 1, 1)
        self._std = torch.tensor(preprocess["std"]).view(3, 1, 1)
        self._texts: dict[tuple[LongText, str], Tensor] = {}
        native.requires_grad_(False).eval()

    @property
    def name(self) -> str:
        return self._name

    @property
    def native(self) -> nn.Module:
        return self._native

    @property
    def image_size(self) -> int:
        return int(self._config["model_cfg"]["vision_cfg"]["image_size"])

    @property
    def inversion_size(self) -> int:
        return self.image_size * 4 // 7 if self._is_convolutional else self.image_size

    @property
    def temperature(self) -> float:
        return float(1 / self._native.logit_scale.exp())  # type: ignore[operator]

    def features(self, images: Images) -> Features:
        return self._visual.trunk(self._normalized(images))  # type: ignore[no-any-return, operator]

    def project(self, features: Features) -> Embeddings:
        return normalize(self._visual.head(features), dim=-1)  # type: ignore[operator]

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        return embed_each(texts, self._window, self.long_text, self._embed_fitting, self._texts)

    def check_text(self, text: str) -> None:
        if self.long_text == "error":
            check_fits(text, self._window)

    def save(self, folder: Path) -> None:
        folder = Path(folder)
        with new_folder(folder) as target:
            state = {key: value.contiguous() for key, value in self._native.state_dict().items()}
            save_file(state, target / WEIGHTS, metadata={"format": "pt"})
            self._tokenizer.save_pretrained(target)
            self._native.text.config.save_pretrained(target)  # type: ignore[operator, union-attr]
            config = copy.deepcopy(dict(self._config))
            # open_clip looks these two up as they stand, so that its own loader finds the folder without a hub
            config["model_cfg"]["text_cfg"]["hf_model_name"] = str(folder.resolve())
            config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = str(folder.resolve())
            (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def copy(self) -> "OpenClipModel":
        # the text tower never changes, so copies share it and what it has read
        shared = {id(self._native.text): self._native.text}
        twin = OpenClipModel(self._name, copy.deepcopy(self._native, shared), self._tokenizer, self._config)
        twin.long_text, twin._texts = self.long_text, self._texts
        return twin

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return [layer for layer in self._visual.modules() if isinstance(layer, nn.BatchNorm2d)]

    def trunk_modules(self) -> list[nn.Module]:
        trunk = self._visual.trunk
        assert isinstance(trunk, nn.Module)
        blocks = [block for stage in trunk.blocks.children() for block in stage.children()]  # type: ignore[union-attr]
        return [trunk.conv_stem, trunk.bn1, *blocks, trunk.conv_head, trunk.bn2]  # type: ignore[list-item]

    def projection_module(self) -> nn.Module:
        head = self._visual.head
        assert isinstance(head, nn.Module)
        return head

    @torch.no_grad()
    def remap(self, change: Float[Tensor, "d d"]) -> None:
        last = [layer for layer in self.projection_module().modules() if isinstance(layer, nn.Linear)][-1]
        for values in (last.weight, last.bias):
            if values is not None:
                values.add_(change @ values)

    def vision_module(self) -> nn.Module:
        return self._visual

    @property
    def _visual(self) -> nn.Module:
        visual = self._native.visual
        assert isinstance(visual, nn.Module)
        return visual

    @property
    def _is_convolutional(self) -> bool:
        return bool(self.vision_batch_norms())

    @property
    def _window(self) -> Window:
        inner = self._tokenizer.tokenizer
        return Window(
            model=self.name,
            limit=self._tokenizer.context_length,
            tokens=lambda text: inner(text, verbose=False)["input_ids"],
            words=lambda tokens: inner.decode(tokens, skip_special_tokens=True),
        )

    def _embed_fitting(self, texts: list[str]) -> Embeddings:
        tokens = self._tokenizer(texts).to(self.device)
        return normalize(self._native.encode_text(self._trimmed(tokens)), dim=-1)  # type: ignore[operator]

    def _normalized(self, images: Images) -> Tensor:
        return (images - self._mean.to(images)) / self._std.to(images)

    def _trimmed(self, tokens: Tensor) -> Tensor:
        """Drop columns that are padding in every row: the tower masks them anyway."""
        used = (tokens != self._native.text.config.pad_token_id).any(dim=0)  # type: ignore[union-attr]
        return tokens[:, : int(used.nonzero().max()) + 1]


def build(name: str, config: dict[str, Any], text_folder: Path) -> OpenClipModel:
    """The architecture that `config` describes, with random weights; text config and tokenizer from a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import open_clip
        from open_clip.tokenizer import HFTokenizer

    model_config = copy.deepcopy(config["model_cfg"])
    model_config["text_cfg"] |= {
        "hf_model_name": str(text_folder),
        "hf_tokenizer_name": str(text_folder),
        "hf_model_pretrained": False,
    }
    native = open_clip.CustomTextCLIP(**model_config)
    tokenizer = HFTokenizer(str(text_folder), context_length=model_config["text_cfg"]["context_length"])
    return OpenClipModel(name, native, tokenizer, config)


def load_folder(folder: Path) -> OpenClipModel:
    """A folder that `save` or open_clip wrote: configuration, weights, text configuration and tokenizer.

    Raises:
        ModelError: naming the file that is missing or cannot be read.
    """
    for needed in (CONFIG, WEIGHTS, "config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise ModelError(f"{folder} has no {needed}: expected a folder that Molyneux or open_clip saved")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model = build(str(folder), config, folder)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{folder / CONFIG} does not describe a model that can be built: {error}") from error
    load_weights(model, folder / WEIGHTS)
    return model


def load_weights(model: OpenClipModel, path: Path) -> None:
    """Fill all weights from a safetensors file.

    Raises:
        ModelError: if the file is corrupt, or its keys or shapes differ from the model's.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the weights {path} cannot be read ({error}): fetch or save them again") from error
    own = model.native.state_dict()
    missing = sorted(own.keys() - state.keys())
    extra = sorted(state.keys() - own.keys())
    shapes = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    for fault, keys in (("lack", missing), ("have the unknown key", extra), ("have another shape for", shapes)):
        if keys:
            raise ModelError(f"the weights {path} {fault} {keys[0]!r} ({len(keys)} in all): another model's")
    model.native.load_state_dict(state)
