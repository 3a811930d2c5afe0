"""What all models of the open_clip family share, and those that do nothing but embed."""

import abc
import copy
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, final

from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from molyneux.backends.abilities import Explainable
from molyneux.backends.checkpoints import save_tokenizer
from molyneux.backends.division import Chain
from molyneux.backends.long_text import TokenWindow
from molyneux.backends.open_clip.preprocess import preprocessing
from molyneux.backends.open_clip.texts import encode_text, reads_hugging_face, window
from molyneux.backends.open_clip.towers import VisionTower, vision_tower
from molyneux.backends.open_clip.weights import CONFIG, WEIGHTS
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.files import new_folder
from molyneux.framing import Framing
from molyneux.shapes import Features, Images

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

HERE = "."
"""Where a saved folder says that a Hugging Face text tower's configuration and tokenizer lie.

open_clip 3.3 reads a tokenizer from `local-dir:FOLDER` itself, but a tower's configuration from a name of the hub or a
path seen from the working directory. So its own loader reads the folder wherever it lies, from inside: `cd FOLDER`,
then `local-dir:.`; no path of the machine that saved it is needed."""


class OpenClipEncoder(TokenizedEncoder, Explainable):
    """An open_clip model with its tokenizer and its configuration, as in `open_clip_config.json`."""

    def __init__(self, name: str, native: nn.Module, tokenizer: Any, config: Mapping[str, Any]) -> None:
        super().__init__()
        self._name, self._native, self._tokenizer = name, native, tokenizer
        self._config = config
        self._rules = preprocessing(config)
        native.requires_grad_(False).eval()

    @property
    def name(self) -> str:
        return self._name

    @property
    def native(self) -> nn.Module:
        return self._native

    @property
    def image_size(self) -> int:
        return self._rules.size

    @property
    def photo_fit(self) -> Framing:
        return self._rules.framing

    @property
    def inversion_size(self) -> int:
        return self.image_size * 4 // 7 if self._tower.any_size else self.image_size

    @property
    def temperature(self) -> float:
        return float(1 / self._native.logit_scale.exp())  # type: ignore[operator]

    @property
    def image_settings(self) -> str:
        return repr((self._rules, self._config["model_cfg"]["vision_cfg"]))

    def features(self, images: Images) -> Features:
        return self.compute(self._tower.features, self._normalized(images))

    def image_outputs(self, features: Features) -> Float[Tensor, "n d"]:
        return self.compute(self._tower.project, features)

    def chain(self) -> Chain:
        return self._tower.chain().around(self._normalized)

    def save(self, folder: str | Path) -> None:
        folder = Path(folder)
        with new_folder(folder) as target:
            state = {key: value.contiguous() for key, value in self._native.state_dict().items()}
            save_file(state, target / WEIGHTS, metadata={"format": "pt"})
            config = copy.deepcopy(dict(self._config))
            text = config["model_cfg"]["text_cfg"]
            # open_clip looks the text tower's configuration up as it is named: inside the folder this is the folder
            if reads_hugging_face(self._tokenizer):
                save_tokenizer(self._tokenizer.tokenizer, target)
                text["hf_tokenizer_name"] = HERE
            if "hf_model_name" in text:
                self._native.text.config.save_pretrained(target)  # type: ignore[operator, union-attr]
                text["hf_model_name"] = HERE
            (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            self.save_packs(target)
            self.write_about(target)

    @abc.abstractmethod
    def copy(self, *, whole: bool = False) -> "OpenClipEncoder": ...

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return [layer for layer in self.vision_module().modules() if isinstance(layer, nn.BatchNorm2d)]

    def text_modules(self) -> list[nn.Module]:
        # in open_clip.CLIP the text tower lies in parts beside the vision tower
        parts = [part for name, part in self._native.named_children() if name not in ("visual", "text_decoder")]
        bare = [part for name, part in self._native.named_parameters(recurse=False) if not name.startswith("logit_")]
        return [*parts, nn.ParameterList(bare)] if bare else parts

    def trunk_modules(self) -> list[nn.Module]:
        return self._tower.blocks()

    def projection_module(self) -> nn.Module:
        return self._tower.projection()

    def check_remap(self) -> None:
        self._tower.check_remap()

    def remap(self, change: Float[Tensor, "d d"]) -> None:
        self._tower.remap(change)

    def last_text_layer(self) -> nn.Linear | None:
        head = getattr(getattr(self._native, "text", None), "text_projection", None)
        return head if isinstance(head, nn.Linear) else None

    def vision_module(self) -> nn.Module:
        visual = self._native.visual
        assert isinstance(visual, nn.Module)
        return visual

    @property
    def _tower(self) -> VisionTower:
        return vision_tower(self.vision_module())

    @property
    def _window(self) -> TokenWindow:
        return window(self.name, self._tokenizer)

    def _fitting_outputs(self, texts: list[str]) -> Float[Tensor, "n d"]:
        tokens = self._trimmed(self._tokenizer(texts).to(self.device))
        return self.compute(partial(encode_text, self._native), tokens)

    def _normalized(self, images: Images) -> Tensor:
        return self._rules.normalized(images)

    def _trimmed(self, tokens: Tensor) -> Tensor:
        """Drop columns that are padding in every row, where the text tower masks them anyway: Hugging Face's does."""
        if "hf_model_name" not in self._config["model_cfg"]["text_cfg"]:
            return tokens
        used = (tokens != self._native.text.config.pad_token_id).any(dim=0)  # type: ignore[union-attr]
        return tokens[:, : int(used.nonzero().max()) + 1]

    def _native_copy(self, whole: bool) -> nn.Module:
        text = [] if whole else [item for part in self.text_modules() for item in (part, *part.parameters())]
        return copy.deepcopy(self._native, {id(item): item for item in text})


@final
class OpenClipModel(OpenClipEncoder):
    """An `open_clip.CLIP` or `open_clip.CustomTextCLIP`."""

    def copy(self, *, whole: bool = False) -> "OpenClipModel":
        twin = OpenClipModel(self._name, self._native_copy(whole), self._tokenizer, self._config)
        twin._resemble(self, whole)
        return twin
