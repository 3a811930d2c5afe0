"""Low-rank adapters (LoRA, Hu et al., 2022, 2106.09685) on a vision tower, by peft, which is imported when used.

The adapters live in a copy of the model; what they amount to is added to the weights of the model itself, whose
form, names and order so stay as they are.

Of attention with packed weights (`nn.MultiheadAttention`) queries, keys and values change, the output layer does not:
peft 0.21 counts an output layer's change twice, in its forward pass and in its merging, with the gradient of once.
"""

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from molyneux.backends.abilities import Captioner
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.errors import ModelError
from molyneux.files import new_folder
from molyneux.foreign import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""peft's names for the two files of an adapter."""

_NAME = "default"


def adaptable_layers(model: DualEncoder, targets: Sequence[str] = ()) -> list[str]:
    """Names, within the native model, of the vision tower's layers that an adapter can change.

    These are linear layers, attention with packed weights and ungrouped 1 x 1 convolutions, as far as the tower calls
    them: a layer whose weights are read past it would ignore an adapter. An image is shown to the model once to see
    that.

    Args:
        model: its weights stay as they are.
        targets: ends of names, at dots; all such layers if empty.

    Raises:
        ModelError: if no layer can be changed, or a target names none, or one that cannot be changed.
    """
    inside = set(model.vision_module().modules())
    named = {name: layer for name, layer in model.native.named_modules() if layer in inside}
    fitting = {name: layer for name, layer in named.items() if _fits(layer)}
    called = _called(model, list(fitting.values()))
    found = [name for name, layer in fitting.items() if layer in called]
    if not found:
        raise ModelError(
            f"the vision tower of {model.name!r} has no layer that a low-rank adapter can change: teach its weights "
            "themselves (teaching.update.part)"
        )
    for target in targets:
        matching = [name for name in named if _matches(name, target)]
        if not matching:
            near = ", ".join(repr(name) for name in found[-3:])
            raise ModelError(f"no layer of {model.name!r} ends in {target!r}: expected ends of names such as {near}")
        for name in matching:
            if name not in found:
                raise ModelError(
                    f"{name!r} of {model.name!r} is a {type(named[name]).__name__} that no low-rank adapter can "
                    "change: expected a linear layer, packed attention of one width or an ungrouped 1 x 1 convolution"
                )
    return [name for name in found if not targets or any(_matches(name, target) for target in targets)]


@final
class Adapters:
    """A model's twin whose vision tower has adapters, all of them without effect at first.

    Args:
        model: stays as it is; its text tower serves the twin too.
        rank: of each change.
        alpha: the change is (alpha / rank) B A.
        dropout: share of the inputs that A does not see.
        targets: as for `adaptable_layers`.
        seed: decides A's first values and what is dropped.

    Raises:
        ModelError: as for `adaptable_layers`, or if peft is not installed.
    """

    def __init__(
        self, model: DualEncoder, *, rank: int, alpha: float, dropout: float, targets: Sequence[str], seed: int
    ) -> None:
        peft = import_peft()
        self._layers = adaptable_layers(model, targets)
        self._twin = model.copy()
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=list(self._layers),
            base_model_name_or_path=model.name,
        )
        with torch.random.fork_rng(devices=[]):
            self._peft = peft.PeftModel(self._twin.native, config, adapter_name=_NAME)
        generator = Generator().manual_seed(seed)
        for layer in _adapted(self._twin.native).values():
            values = layer.lora_A[_NAME].weight
            drawn = torch.empty(values.shape)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            values.data.copy_(drawn)
            if dropout:
                layer.lora_dropout[_NAME] = _Dropout(dropout, generator)
        self._twin.native.requires_grad_(False)

    @property
    def model(self) -> DualEncoder:
        """Answers with the adapters."""
        return self._twin

    def parameters(self) -> list[nn.Parameter]:
        """A and B of every layer, in a fixed order."""
        layers = _adapted(self._twin.native).values()
        return [matrix[_NAME].weight for layer in layers for matrix in (layer.lora_A, layer.lora_B)]

    def merge(self, into: DualEncoder) -> None:
        """Add the changes to the weights of the model that the adapters were made for, or of a copy."""
        _merge(self._twin.native, into.native)
        into.merged = None

    def save(self, folder: Path, share: float = 1.0) -> None:
        """Write `adapter_config.json` and `adapter_model.safetensors` as peft does; `folder` must not exist.

        `peft.PeftModel.from_pretrained` puts them on the native model that they were made for.

        Args:
            folder: to be made.
            share: how much of the change is kept, between 0 and 1.
        """
        state = import_peft().get_peft_model_state_dict(self._peft, adapter_name=_NAME, save_embedding_layers=False)
        scaled = {
            key: (value * share if ".lora_B." in key else value).detach().cpu().contiguous()
            for key, value in state.items()
        }
        with new_folder(Path(folder)) as target:
            save_file(scaled, target / WEIGHTS, metadata={"format": "pt"})
            config = self._peft.peft_config[_NAME]
            config.inference_mode = True
            config.save_pretrained(str(target))


def load_folder(folder: Path, *, name: str = "") -> DualEncoder:
    """The model that an adapter was made for, as its configuration names it and `name` does not, with it merged.

    Raises:
        ModelError: if that model or the adapter cannot be read, or they do not belong together.
    """
    from molyneux.backends.load import load

    del name
    base = _described(folder).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise ModelError(f"{folder / CONFIG} does not name the model that it is for (base_model_name_or_path)")
    # what others trained names a model of transformers as the hub does
    on_hub = base.count("/") == 1 and ":" not in base and base[0] not in "./" and not Path(base).is_dir()
    try:
        model = load(f"hf:{base}" if on_hub else base)
    except ModelError as error:
        raise ModelError(f"{error} ({folder / CONFIG} names it: base_model_name_or_path)") from error
    return with_adapter(dual_encoder(model, "a low-rank adapter"), folder)


def with_adapter(model: DualEncoder, folder: Path) -> DualEncoder:
    """A copy of the model into which the adapter of a folder is merged, as peft merges it.

    The text tower is the copy's own if the adapter changes it, and shared as in every copy otherwise.

    Raises:
        ModelError: if the folder holds no LoRA in safetensors, or one that does not fit the model or changes layers
            past which it reads weights.
    """
    peft = import_peft()
    kind = _described(folder).get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{folder / CONFIG} describes an adapter of the type {kind!r}: expected 'LORA'")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder} has no {WEIGHTS}: load the adapter with peft and save it again, or fetch it again")
    try:
        found = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the adapter {folder / WEIGHTS} cannot be read ({error}): fetch it or teach it again"
        ) from error
    carrier = model.copy(whole=True)
    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        with torch.random.fork_rng(devices=[]):
            wrapped = peft.PeftModel(carrier.native, config, adapter_name=_NAME)
        own = peft.get_peft_model_state_dict(wrapped, adapter_name=_NAME, save_embedding_layers=False)
        wrong = sorted(own.keys() ^ found.keys()) or [key for key in own if own[key].shape != found[key].shape]
        if wrong:
            raise ValueError(f"they differ in {wrong[0]!r}")
        peft.set_peft_model_state_dict(wrapped, found, adapter_name=_NAME)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the adapter in {folder} does not fit {model.name!r} ({reason}): it is another model's, or damaged"
        ) from error
    if any(value.any() for key, value in found.items() if ".base_layer.out_proj.lora_B." in key):
        raise ModelError(
            f"the adapter in {folder} changes the output layer of packed attention, which releases of peft read in "
            "different ways: merge it with the release that made it"
        )
    _check_read(carrier, folder)
    own_state, merged = model.native.state_dict(), wrapped.merge_and_unload().state_dict()
    if own_state.keys() != merged.keys():
        key = min(own_state.keys() ^ merged.keys())
        raise ModelError(f"the adapter in {folder} changes the form of {model.name!r} ({key!r}): merge it with peft")
    # nothing learned leaves every bit, the sign of a zero included
    changes = {key: value for key, value in merged.items() if not torch.equal(value, own_state[key])}
    seeing = {value.data_ptr() for value in model.vision_module().state_dict().values()}
    result = model.copy(whole=any(own_state[key].data_ptr() not in seeing for key in changes))
    result.native.load_state_dict(own_state | changes)
    result.merged = None
    return result


def import_peft() -> Any:
    """The library.

    Raises:
        ModelError: if it is not installed.
    """
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ModelError("low-rank adapters need peft: pip install 'molyneux[lora]'") from error


@final
class _Dropout(nn.Module):
    """Dropout with a stream of random numbers of its own, on the CPU."""

    def __init__(self, share: float, generator: Generator) -> None:
        super().__init__()
        self._share, self._generator = share, generator

    def forward(self, inputs: Tensor) -> Tensor:
        kept = torch.rand(inputs.shape, generator=self._generator) >= self._share
        return inputs * kept.to(inputs) / (1 - self._share)


def _fits(layer: nn.Module) -> bool:
    if isinstance(layer, nn.MultiheadAttention):
        return layer.in_proj_weight is not None
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear)


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _check_read(carrier: DualEncoder, folder: Path) -> None:
    """Raise ModelError if an adapter has learned something that its model ignores until it is merged.

    Some attention reads the weights of a linear layer without calling it, and so past what peft puts around it.
    """
    layers = _adapted(carrier.native)
    called = _called(carrier, list(layers.values()), texts=True)
    for name, layer in layers.items():
        if layer not in called and layer.get_delta_weight(_NAME).any():
            raise ModelError(
                f"the adapter in {folder} changes {name!r}, whose weights the model reads past the adapter, so merged "
                "it would be another model than with peft: train it without this layer (exclude_modules)"
            )


@torch.no_grad()
def _called(model: DualEncoder, layers: Sequence[nn.Module], *, texts: bool = False) -> set[nn.Module]:
    """Which of the layers are called for an image, and with `texts` for a text and a caption, too."""
    called: set[nn.Module] = set()
    handles = [layer.register_forward_pre_hook(lambda own, _: called.add(own)) for layer in layers]
    grey = torch.full((1, 3, model.image_size, model.image_size), 0.5, device=model.device)
    try:
        model.embed_images(grey)
        if texts:
            model.encode_texts(["a"])
            if isinstance(model, Captioner):
                model.caption_logits(grey, model.caption_tokens(["a"]))
    finally:
        for handle in handles:
            handle.remove()
    return called


def _adapted(native: nn.Module) -> dict[str, Any]:
    """peft's layers by name, but those that it has inside packed attention."""
    layer_type = importlib.import_module("peft.tuners.lora").LoraLayer
    return {
        name: layer
        for name, layer in native.named_modules()
        if isinstance(layer, layer_type) and ".base_layer." not in name
    }


@torch.no_grad()
def _merge(carrier: nn.Module, native: nn.Module) -> None:
    for name, layer in _adapted(carrier).items():
        own = native.get_submodule(name)
        weight = own.in_proj_weight if isinstance(own, nn.MultiheadAttention) else own.weight
        assert isinstance(weight, Tensor)
        change = layer.get_delta_weight(_NAME)
        if change.any():  # so that nothing learned leaves every bit, the sign of a zero included
            weight.add_(change)


def _described(folder: Path) -> dict[str, Any]:
    content = read_json(folder / CONFIG, "the adapter's configuration", error=ModelError)
    return content if isinstance(content, dict) else {}
