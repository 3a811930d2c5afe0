"""Weights files of the open_clip family: read safely, brought to today's names, and checked key by key."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.checkpoints import check_keys, read_weights
from molyneux.errors import ModelError

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
OTHER_WEIGHTS = ("open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth")
"""What open_clip and its users call the file in a folder, beside `WEIGHTS`."""

_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")

# stated in OpenAI's archives beside the weights
_FACTS = ("input_resolution", "context_length", "vocab_size")


def load_weights(model: VisionLanguageModel, path: Path) -> None:
    """Fill all weights from a file: safetensors, or one of PyTorch that holds tensors alone.

    Raises:
        ModelError: if the file is corrupt, could run code, its keys or shapes differ from the model's, or it is marked
            as trained with QuickGELU, which the model has not.
    """
    found = _read(Path(path))
    _check_activation(Path(path), found, model.native)
    state = _todays_names(found, model.native)
    own = model.native.state_dict()
    if state and not any(key.startswith("visual.") for key in own.keys() - state.keys()) and not _reads_texts(state):
        raise ModelError(f"the weights {path} are a vision tower alone: expected those of both towers, of one training")
    check_keys(path, state, own)
    model.native.load_state_dict(state)


def weights_in(folder: Path) -> Path:
    """The weights file of a folder.

    Raises:
        ModelError: if it has none.
    """
    for name in (WEIGHTS, *OTHER_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder} has no {WEIGHTS}: expected a folder that Molyneux or open_clip saved")


def _reads_texts(state: Mapping[str, Tensor]) -> bool:
    return any(not key.startswith("visual.") and not key.startswith("logit_") for key in state)


def _check_activation(path: Path, state: Mapping[str, Tensor], native: nn.Module) -> None:
    """QuickGELU's weights run under plain GELU too, only worse; OpenAI's archives and some files' names tell."""
    marked = [key for key in _FACTS if key in state]
    named = "quickgelu" in path.name.casefold().replace("_", "").replace("-", "")
    if (marked or named) and not any(type(part).__name__ == "QuickGELU" for part in native.modules()):
        mark = f"they hold {marked[0]!r}, as OpenAI's do" if marked else "their name says so"
        raise ModelError(
            f"the weights {path} were trained with QuickGELU ({mark}) and the architecture has GELU: ask for the "
            f'architecture whose name ends in -quickgelu, or set "quick_gelu": true in model_cfg of {CONFIG}'
        )


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix not in _ENDINGS:
        raise ModelError(f"the weights {path} end in {path.suffix!r}: expected one of {', '.join(_ENDINGS)}")
    return read_weights(path)


def _todays_names(state: dict[str, Tensor], native: nn.Module) -> dict[str, Tensor]:
    """What older versions saved under other names or with one axis more, as open_clip's own loader brings it over."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    own = native.state_dict()
    state = dict(convert_state_dict(native, state))
    if "positional_embedding" in state and "positional_embedding" not in own:
        state = convert_to_custom_text_state_dict(state)
    for key in (*_FACTS, "text.transformer.embeddings.position_ids"):
        if key not in own:
            state.pop(key, None)
    for key in ("logit_scale", "logit_bias"):
        if key in state and key in own and state[key].numel() == own[key].numel():
            state[key] = state[key].reshape(own[key].shape)
    return state
