"""MedCLIP (Wang et al., 2022, 2210.10163): Bio_ClinicalBERT beside a Swin transformer or a ResNet-50.

The published package runs on a GPU alone and with transformers of 2022; this is the same computation on any
device, over weights under their published names:

- texts: the hidden states after layers 1, 2 and the last, their mean over all places and over the three, and a
  linear map to 512. The publishers pad a batch to its longest text and average over padding too, so there a
  text's embedding depends on its company; here every text is read alone, without padding, which is what the
  published code gives for a batch of one.
- images: grey, in the publishers' mean and deviation, repeated to three channels.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from molyneux.backends.abilities import Explainable
from molyneux.backends.checkpoints import (
    ANOTHER,
    PICKLED,
    SAFE,
    check_keys,
    find_weights,
    has_tokenizer,
    one_line,
    read_tokenizer,
    read_weights,
    save_tokenizer,
)
from molyneux.backends.division import Chain, convolutional, leaves
from molyneux.backends.hugging_face_towers import swin_chain
from molyneux.backends.long_text import TokenWindow, hugging_face_window
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.errors import ModelError
from molyneux.files import new_folder, sha256
from molyneux.foreign import read_json
from molyneux.framing import Framing
from molyneux.shapes import Features, Images

CONFIG = "medclip_config.json"
"""What `save` adds to the published layout: the architecture, and the digest of the file it came from."""

WeightsFile = Literal["model.safetensors", "pytorch_model.bin"]

MEAN, DEVIATION = 0.5862785803043838, 0.27950088968644304
LONGEST_TEXT = 77
TOKENIZER = "emilyalsentzer/Bio_ClinicalBERT"

_LARGEST_SCALE = 4.6052
_POSITIONS = "text_model.model.embeddings.position_ids"

# where transformers 5 calls parts of a Swin otherwise than the published weights do
_SWIN_NAMES = (
    ("attention.q_proj.", "attention.self.query."),
    ("attention.k_proj.", "attention.self.key."),
    ("attention.v_proj.", "attention.self.value."),
    ("attention.o_proj.", "attention.output.dense."),
    ("attention.relative_position_bias.", "attention.self."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MedClipConfig:
    """The architecture; the defaults are the published ones."""

    vision: Literal["swin", "resnet"] = "swin"
    image_size: int = 224
    width: int = 512
    """Of the shared space."""
    swin: dict[str, Any] = field(default_factory=dict)
    """What differs from microsoft/swin-tiny-patch4-window7-224, as in transformers' `SwinConfig`."""
    resnet: dict[str, Any] = field(default_factory=dict)
    """What differs from a ResNet-50: `layers`, `width_per_group` of torchvision's."""
    text: dict[str, Any] = field(default_factory=dict)
    """What differs from Bio_ClinicalBERT, as in transformers' `BertConfig`."""


class _TextTower(nn.Module):
    def __init__(self, config: MedClipConfig) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        settings = BertConfig(**({"vocab_size": 28996} | config.text))
        self.model = BertModel(settings)
        self.projection_head = nn.Linear(settings.hidden_size, config.width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True)
        hidden = states.hidden_states
        mean = torch.stack([hidden[1], hidden[2], hidden[-1]]).mean(dim=2).mean(dim=0)
        return self.projection_head(mean)  # type: ignore[no-any-return]


class _SwinTower(nn.Module):
    def __init__(self, config: MedClipConfig) -> None:
        from transformers import SwinConfig, SwinModel

        super().__init__()
        settings = SwinConfig(image_size=config.image_size, **config.swin)
        self.model = SwinModel(settings)
        self.projection_head = nn.Linear(settings.hidden_size, config.width, bias=False)

    def features(self, images: Tensor) -> Tensor:
        return self.model(images).pooler_output  # type: ignore[no-any-return]

    def chain(self) -> Chain:
        return swin_chain(self.model)

    def head(self) -> nn.Module:
        return self.projection_head

    def blocks(self) -> list[nn.Module]:
        found: list[nn.Module] = [self.model.embeddings]
        for stage in self.model.encoder.layers:
            found += stage.blocks
            if stage.downsample is not None:
                found.append(stage.downsample)
        return [*found, self.model.layernorm]


class _ResNetTower(nn.Module):
    def __init__(self, config: MedClipConfig) -> None:
        from torchvision.models.resnet import Bottleneck, ResNet

        super().__init__()
        self.model = ResNet(Bottleneck, **({"layers": [3, 4, 6, 3]} | config.resnet))
        self.model.fc = nn.Linear(self.model.fc.in_features, config.width, bias=False)

    def features(self, images: Tensor) -> Tensor:
        chain = self.chain()
        return chain.upper(chain.stem(images), 0)

    def chain(self) -> Chain:
        *maps, pool, _ = self.model.children()
        layers = [leaf for child in maps for leaf in leaves(child)]
        return convolutional(layers, lambda hidden: pool(hidden).flatten(1))

    def head(self) -> nn.Module:
        head: nn.Module = self.model.fc
        return head

    def blocks(self) -> list[nn.Module]:
        model = self.model
        stages = (model.layer1, model.layer2, model.layer3, model.layer4)
        return [model.conv1, model.bn1, *(block for stage in stages for block in stage)]


class _Towers(nn.Module):
    """The three parts under their published names."""

    def __init__(self, config: MedClipConfig) -> None:
        super().__init__()
        self.vision_model: _SwinTower | _ResNetTower
        self.vision_model = _SwinTower(config) if config.vision == "swin" else _ResNetTower(config)
        self.text_model = _TextTower(config)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())


@final
class MedClipModel(TokenizedEncoder, Explainable):
    """MedCLIP with the tokenizer of its text tower."""

    def __init__(self, name: str, native: _Towers, tokenizer: Any, config: MedClipConfig, source: str = "") -> None:
        super().__init__()
        self._name, self._native, self._tokenizer, self._config = name, native, tokenizer, config
        self._source = source
        native.requires_grad_(False).eval()

    @property
    def name(self) -> str:
        return self._name

    @property
    def medical(self) -> bool:
        return True

    @property
    def native(self) -> nn.Module:
        return self._native

    @property
    def source(self) -> str:
        """SHA-256 of the file that the weights first came from; empty for weights from no file."""
        return self._source

    @property
    def image_size(self) -> int:
        return self._config.image_size

    @property
    def photo_fit(self) -> Framing:
        return Framing(fit="pad")

    @property
    def inversion_size(self) -> int:
        return self.image_size * 4 // 7 if self._config.vision == "resnet" else self.image_size

    @property
    def temperature(self) -> float:
        return float(1 / self._native.logit_scale.clamp(0, _LARGEST_SCALE).exp())

    def features(self, images: Images) -> Features:
        return self.compute(self._native.vision_model.features, _grey(images))

    def chain(self) -> Chain:
        return self._native.vision_model.chain().around(_grey)

    def image_outputs(self, features: Features) -> Float[Tensor, "n d"]:
        found: Tensor = self.compute(self._native.vision_model.head(), features)
        return found

    def save(
        self, folder: str | Path, *, weights: Literal["model.safetensors", "pytorch_model.bin"] = "model.safetensors"
    ) -> None:
        """Write the weights under their published names, the tokenizer, and the architecture beside them.

        Args:
            folder: must not exist.
            weights: the safe format, or the pickle that the published package reads.
        """
        with new_folder(Path(folder)) as target:
            state = published_state(self._native)
            if weights == SAFE:
                save_file(state, target / SAFE, metadata={"format": "pt"})
            else:
                torch.save(state, target / PICKLED)
            save_tokenizer(self._tokenizer, target)
            about = {"architecture": asdict(self._config), "source_sha256": self._source}
            (target / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            self.save_packs(target)
            self.write_about(target)

    def copy(self, *, whole: bool = False) -> "MedClipModel":
        native = copy.deepcopy(self._native, {} if whole else {id(part): part for part in self.text_modules()})
        twin = MedClipModel(self._name, native, self._tokenizer, self._config, self._source)
        twin._resemble(self, whole)
        return twin

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return [layer for layer in self._native.vision_model.modules() if isinstance(layer, nn.BatchNorm2d)]

    def text_modules(self) -> list[nn.Module]:
        return [self._native.text_model]

    def trunk_modules(self) -> list[nn.Module]:
        return self._native.vision_model.blocks()

    def projection_module(self) -> nn.Module:
        return self._native.vision_model.head()

    @torch.no_grad()
    def remap(self, change: Float[Tensor, "d d"]) -> None:
        weight = self._native.vision_model.head().weight
        assert isinstance(weight, Tensor)
        weight.add_(change @ weight.to(change))

    def vision_module(self) -> nn.Module:
        return self._native.vision_model

    @property
    def _window(self) -> TokenWindow:
        return hugging_face_window(
            self.name, self._tokenizer, min(LONGEST_TEXT, self._native.text_model.model.config.max_position_embeddings)
        )

    def _fitting_outputs(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Texts of one length at a time, so that none is padded; what does not fit is cut."""
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._window.limit)["input_ids"]
        by_length: dict[int, list[int]] = {}
        for place, own in enumerate(tokens):
            by_length.setdefault(len(own), []).append(place)
        rows: dict[int, Tensor] = {}
        for places in by_length.values():
            batch = torch.tensor([tokens[place] for place in places], device=self.device)
            rows.update(zip(places, self.compute(self._native.text_model, batch), strict=True))
        return torch.stack([rows[place] for place in range(len(texts))])


def _grey(images: Images) -> Tensor:
    """Images as the towers read them."""
    grey = (images.mean(dim=1, keepdim=True) - MEAN) / DEVIATION
    return grey.expand(-1, 3, -1, -1)


def load_named(rest: str) -> MedClipModel:
    """The model of 'medclip:PATH' or 'medclip:PATH?tokenizer=FOLDER'; see `load_medclip`.

    Raises:
        ModelError: naming what is missing or cannot be read.
    """
    path, given, tokenizer = rest.partition("?tokenizer=")
    return load_medclip(Path(path), Path(tokenizer) if given else None, name=f"medclip:{rest}")


def load_folder(folder: Path, *, name: str = "") -> MedClipModel:
    """A folder that `save` wrote, or the published weights' with their tokenizer; errors as for `load_medclip`."""
    return load_medclip(folder, name=name)


def load_medclip(path: Path, tokenizer: Path | None = None, *, name: str = "") -> MedClipModel:
    """Load published weights (a .zip, a pytorch_model.bin, a folder with one) or what `save` wrote.

    The variant is seen from the names of the weights. Nothing is downloaded.

    Args:
        path: the folder or the file.
        tokenizer: the folder of Bio_ClinicalBERT's tokenizer; beside the weights if None.
        name: what the model is called; its path if empty.

    Raises:
        ModelError: naming what is missing, unknown or cannot be read.
    """
    file = find_weights(path) if path.is_dir() else path
    state = read_weights(file)
    about = _about(file.parent / CONFIG)
    config = about.architecture or _published(file, state)
    words = load_tokenizer(tokenizer or file.parent)
    try:
        model = build(name or str(path), config, words, about.source or sha256(file))
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{file.parent / CONFIG} does not describe a model that can be built: {one_line(error)}"
        ) from error
    load_state(model, file, state)
    return model


def build(name: str, config: MedClipConfig, tokenizer: Any, source: str = "") -> MedClipModel:
    """The architecture with random weights.

    Raises:
        ModelError: if the tokenizer has more entries than the text tower.
    """
    native = _Towers(config)
    rows = native.text_model.model.config.vocab_size
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} entries and the text tower of {name!r} {rows}: expected {TOKENIZER}'s"
        )
    return MedClipModel(name, native, tokenizer, config, source)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of the text tower from its files.

    Raises:
        ModelError: if the folder holds none, or one that cannot be read.
    """
    if not has_tokenizer(folder):
        raise ModelError(
            f"MedCLIP's tokenizer is missing: {folder} has neither tokenizer.json nor vocab.txt; put the files of "
            f"{TOKENIZER} beside the weights, or give their folder as medclip:PATH?tokenizer=FOLDER"
        )
    return read_tokenizer(folder)


def load_state(model: MedClipModel, path: Path, state: dict[str, Tensor]) -> None:
    """Fill all weights from tensors under their published names.

    Raises:
        ModelError: if a name or a shape differs, or a constant that older releases stored has another value.
    """
    native = model.native
    assert isinstance(native, _Towers)
    constants = _constants(native)
    for key in constants.keys() & state.keys():
        if not torch.equal(state[key], constants[key]):
            raise ModelError(f"the weights {path} have another value for the constant {key!r}: {ANOTHER}")
    found = {key: value for key, value in state.items() if key not in constants}
    own = {key: value for key, value in native.state_dict().items() if published_name(key) not in constants}
    check_keys(path, found, {published_name(key): value for key, value in own.items()})
    native.load_state_dict(native.state_dict() | {key: found[published_name(key)] for key in own})


def published_name(key: str) -> str:
    """The name of a weight in the published files, given its name here.

    >>> published_name("vision_model.model.encoder.layers.0.blocks.1.mlp.fc1.bias")
    'vision_model.model.encoder.layers.0.blocks.1.intermediate.dense.bias'
    """
    if not key.startswith("vision_model.model.encoder."):
        return key
    for own, published in _SWIN_NAMES:
        key = key.replace(own, published)
    return key


def published_state(native: _Towers) -> dict[str, Tensor]:
    """All tensors that a published file holds, under its names, constants that older releases stored included."""
    weights = {published_name(key): value.contiguous() for key, value in native.state_dict().items()}
    return weights | _constants(native)


def _constants(native: _Towers) -> dict[str, Tensor]:
    """What the releases of 2022 stored although the architecture decides it."""
    embeddings = native.text_model.model.embeddings.position_embeddings
    found = {_POSITIONS: torch.arange(embeddings.num_embeddings)[None]}
    for name, layer in native.vision_model.named_modules():
        index = getattr(layer, "relative_position_index", None)
        if isinstance(index, Tensor):
            side = round(index.numel() ** 0.5)
            key = published_name(f"vision_model.{name}.relative_position_index")
            found[key] = index.detach().cpu().reshape(side, side).clone()
    return found


@dataclass(frozen=True, slots=True)
class _About:
    architecture: MedClipConfig | None
    source: str


def _about(path: Path) -> _About:
    if not path.is_file():
        return _About(None, "")
    try:
        content = read_json(path, "the description", error=ModelError)
        return _About(MedClipConfig(**content["architecture"]), str(content["source_sha256"]))
    except (ValueError, TypeError, LookupError) as error:
        raise ModelError(f"{path} does not describe a MedCLIP ({error}): save or convert the model again") from error


def _published(path: Path, state: dict[str, Tensor]) -> MedClipConfig:
    if "vision_model.projection_head.weight" in state:
        return MedClipConfig(vision="swin")
    if "vision_model.model.fc.weight" in state:
        return MedClipConfig(vision="resnet")
    raise ModelError(
        f"the weights {path} are no MedCLIP's: expected 'vision_model.projection_head.weight' (Swin) "
        "or 'vision_model.model.fc.weight' (ResNet-50)"
    )
