"""Files that others wrote: weights read as tensors and nothing else, and tokenizers; never code."""

import argparse
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from molyneux.errors import ModelError

PICKLED = "pytorch_model.bin"
SAFE = "model.safetensors"

_PARTS = ("state_dict", "model_state_dict", "model")
"""Where training checkpoints keep the weights."""
_WRAPPERS = ("module.", "model.")
"""What DataParallel and Lightning put before every name."""

ANOTHER = "they are another model's, or damaged; give the model that they are for, or fetch them again"
"""What to say of weights that do not fit."""

LARGEST_MEMBER = 8 * 2**30
"""Bytes; a larger file inside a .zip is refused before it is unpacked."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, of a pickled state dict, or of a .zip that holds one such file, on the CPU.

    Pickles are read as tensors only: one that would run code is refused. Of a training checkpoint its state dict is
    taken, without what wrappers (DataParallel, torch.compile, Lightning) put before its names.

    Raises:
        ModelError: if the file is missing, cut short, or holds anything but named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there are no weights at {path}: expected a file such as {SAFE} or {PICKLED}")
    try:
        if path.suffix == ".safetensors":
            return _unwrapped(dict(load_file(path)))
        source = _unpacked(path) if path.suffix == ".zip" else path
        if isinstance(source, Path):
            _check_no_program(source)
        # the settings beside a training run's weights: names and values, no code
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(source, weights_only=True, map_location="cpu")
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"the weights {path} cannot be read as tensors alone: the file is damaged, or holds code, which is not run "
            "(a whole pickled model); fetch it again, or where you trust it, load it with torch and save its "
            "state_dict()"
        ) from error
    except Exception as error:  # a foreign file: the libraries have many words for one that they cannot read
        raise ModelError(f"the weights {path} cannot be read ({one_line(error)}): fetch or save them again") from error
    state = _state_dict(content)
    if state is None:
        raise ModelError(f"the weights {path} are no state dict: expected names with tensors, got {_kind(content)}")
    return _unwrapped(state)


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    """The content, or the part of a training checkpoint, that is names with tensors."""
    parts = [content, *(content.get(key) for key in _PARTS)] if isinstance(content, dict) else []
    for part in parts:
        if isinstance(part, dict) and part and all(isinstance(value, Tensor) for value in part.values()):
            return dict(part)
    return {} if content == {} else None


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {key: key.replace("_orig_mod.", "") for key in state}
    while prefix := next((one for one in _WRAPPERS if all(name.startswith(one) for name in names.values())), ""):
        if not names:
            break
        names = {key: name.removeprefix(prefix) for key, name in names.items()}
    return {names[key]: value for key, value in state.items()}


def _check_no_program(path: Path) -> None:
    """Raise ModelError for a TorchScript archive, the form in which OpenAI publishes its models."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if not any("/code/" in name for name in archive.namelist()):
            return
    name = path.stem.removesuffix("px")
    known = any(name.startswith(kind) for kind in ("ViT-", "RN"))
    asked = f"'open_clip:{name}-quickgelu/openai'" if known else "'open_clip:ViT-B-32-quickgelu/openai'"
    raise ModelError(
        f"{path} is a TorchScript archive, which holds code that is not run: if it is OpenAI's, {asked} loads the same "
        "weights; else save the state_dict() of the model that it came from"
    )


def find_weights(folder: Path) -> Path:
    """The weights' file in a folder: safetensors before a pickle.

    Raises:
        ModelError: if there is neither.
    """
    for name in (SAFE, PICKLED):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder} has neither {SAFE} nor {PICKLED}: expected a folder that holds a saved model")


def check_keys(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names and shapes.

    Raises:
        ModelError: naming the first tensor that is missing, unknown or of another shape, and how many are.
    """
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    shapes = sorted(key for key in expected.keys() & found.keys() if expected[key].shape != found[key].shape)
    for fault, keys in (("lack", missing), ("have the unknown key", extra), ("have another shape for", shapes)):
        if keys:
            raise ModelError(f"the weights {path} {fault} {keys[0]!r} ({len(keys)} in all): {ANOTHER}")


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds a tokenizer's entries."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))


def read_tokenizer(folder: Path) -> Any:
    """A tokenizer from files; where nothing describes it, it is BERT's, lower-casing, as transformers decides.

    Raises:
        ModelError: if it cannot be read.
    """
    from transformers import AutoTokenizer, BertTokenizerFast

    described = any((folder / name).is_file() for name in ("tokenizer_config.json", "config.json"))
    kind = AutoTokenizer if described else BertTokenizerFast
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers meet damaged files with errors of every kind
        raise ModelError(
            f"the tokenizer in {folder} cannot be read ({one_line(error)}): fetch its files again"
        ) from error


def one_tower(kind: Any) -> str:
    """What to say of a model_type that is one tower of a dual encoder, such as 'clip_vision_model'."""
    if not str(kind).endswith(("_vision_model", "_text_model")):
        return ""
    tower = "vision" if "vision" in str(kind) else "text"
    return f"; this is a {tower} tower alone, so give the model that it was taken from, with both towers"


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer as transformers does, without the padding and truncation of the texts that it read last."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # both are set anew with every text
        backend.no_padding()
        backend.no_truncation()
    tokenizer.save_pretrained(folder)


def one_line(error: Exception) -> str:
    """What an error says, without line breaks and not at length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _unpacked(path: Path) -> io.BytesIO:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if Path(member.filename).name == PICKLED]
        if len(members) != 1:
            raise ModelError(f"{path} holds {len(members)} files called {PICKLED}: expected one")
        if members[0].file_size > LARGEST_MEMBER:
            raise ModelError(f"{PICKLED} in {path} has {members[0].file_size} bytes: expected at most {LARGEST_MEMBER}")
        return io.BytesIO(archive.read(members[0]))


def _kind(content: object) -> str:
    if not isinstance(content, dict):
        return type(content).__name__
    key, value = next((key, value) for key, value in content.items() if not isinstance(value, Tensor))
    return f"{key!r} with {type(value).__name__}"
