"""From a name to a model: one of those shipped, a folder, or a loader's own name for one."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.long_text import check_policy
from molyneux.backends.options import LongText, Precision
from molyneux.errors import ModelError

SHIPPED = {
    "mini": ("mini", "load_mini"),
    "drawn": ("drawn", "load_drawn"),
}
"""Models that come with Molyneux, and the module and function that build them."""

LOADERS = {
    "hf": "hugging_face",
    "open_clip": "open_clip",
    "medclip": "medclip",
    "vilt": "vilt",
    "tiny": "tiny",
}
"""What stands before the colon of a name, and the module whose `load_named` reads what stands behind it."""

MARKS = {
    "open_clip_config.json": ("open_clip", "load_folder"),
    "medclip_config.json": ("medclip", "load_medclip"),
    "adapter_config.json": ("lora", "load_folder"),
}
"""A file that tells who saved a folder, and the module and function that read it."""

TYPES = {
    "clip": ("hugging_face", "load_folder"),
    "siglip": ("hugging_face", "load_folder"),
    "siglip2": ("hugging_face", "load_folder"),
    "vision-text-dual-encoder": ("hugging_face", "load_folder"),
    "vilt": ("vilt", "load_folder"),
}
"""model_type in a folder's config.json, where there is no such mark, and the module and function that read it."""


def load(
    name: str | Path, *, device: str = "cpu", long_text: LongText = "error", precision: Precision = "fp32"
) -> VisionLanguageModel:
    """Load a model, with weights in single precision.

    Args:
        name: 'mini' or 'drawn'; a folder that Molyneux or the model's own library saved; or a loader's name for a
            model: 'hf:ORG/NAME' or 'hf:FOLDER' (transformers), 'open_clip:NAME/TAG', 'medclip:PATH', 'vilt:NAME',
            'tiny:FAMILY'.
            What is not on this machine is fetched by the loader's own client.
        device: where the weights go: 'cpu', 'cuda', 'mps'.
        long_text: what becomes of a text that has more tokens than the model reads: it is refused, its beginning
            is read ('truncate'), or its sentences are read in groups and their embeddings averaged ('mean').
        precision: what the towers compute in: 'fp32', or 'bf16', which is faster on GPUs that have it and for which
            weights, pixels and losses stay in single precision.

    Raises:
        ModelError: if there is no such model, it cannot be read, or the device is not there.
    """
    check_policy(long_text)
    check_precision(precision)
    place = named_device(device)
    model = _read(str(name))
    if long_text == "mean" and not isinstance(model, DualEncoder):
        raise ModelError(
            f"long_text='mean' averages embeddings, and {model.name!r} has none: use 'error' or 'truncate'"
        )
    model.native.to(place)
    model.long_text, model.precision = long_text, precision
    return model


def check_precision(name: str) -> None:
    """Raise ModelError if there is no such precision."""
    known = get_args(Precision)
    if name not in known:
        raise ModelError(f"precision is {name!r}: expected one of {', '.join(map(repr, known))}")


def _read(name: str) -> VisionLanguageModel:
    if name in SHIPPED:
        return _function(*SHIPPED[name])()
    loader, colon, rest = name.partition(":")
    if colon and loader in LOADERS:
        if not rest:
            raise ModelError(f"{name!r} names no model: expected one behind the colon, see 'molyneux list models'")
        return _function(LOADERS[loader], "load_named")(rest)
    folder = Path(name)
    if folder.is_file():
        raise ModelError(f"{folder} is a file: expected {_shipped()} or the folder that holds a saved model")
    if not folder.is_dir():
        raise ModelError(
            f"there is no model {name!r}: expected {_shipped()} or a folder that holds a saved model, or a name that "
            f"begins with {', '.join(f'{known}:' for known in LOADERS)}"
        )
    return _function(*reader_of(folder))(folder)


def reader_of(folder: Path) -> tuple[str, str]:
    """The module and the function in it that read a folder, by the files there.

    Raises:
        ModelError: listing what was looked for.
    """
    for mark, reader in MARKS.items():
        if (folder / mark).is_file():
            return reader
    kind = None
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = content.get("model_type") if isinstance(content, dict) else None
    except (OSError, ValueError):
        pass
    if kind in TYPES:
        return TYPES[kind]
    found = f"model_type {kind!r}" if kind else "none"
    raise ModelError(
        f"{folder} has no {' and no '.join(MARKS)}, and no config.json with a model_type of {', '.join(TYPES)} "
        f"(found {found}): expected a folder that Molyneux or the model's own library saved"
    )


def _function(module: str, name: str) -> Callable[..., VisionLanguageModel]:
    function: Callable[..., VisionLanguageModel] = getattr(importlib.import_module(f"molyneux.backends.{module}"), name)
    return function


def _shipped() -> str:
    return ", ".join(map(repr, SHIPPED))


def named_device(name: str) -> torch.device:
    """The device; ModelError if it is not there."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"there is no device {name!r} here: expected 'cpu', or 'cuda' or 'mps' where present"
        ) from error
    return device
