"""From a name to a model: 'mini', a folder, or LOADER:NAME."""

import json
from pathlib import Path
from typing import get_args

import torch

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.families import FAMILIES, Family
from molyneux.backends.long_text import check_policy
from molyneux.backends.options import LongText, Precision
from molyneux.errors import ModelError
from molyneux.tables import imported


def _module(family: Family) -> str:
    return family.implementation.partition(":")[0]


LOADERS = {family.loader.partition(":")[0]: _module(family) for family in FAMILIES if ":" in family.loader} | {
    "tiny": "tiny"
}
"""For each loader, the LOADER of LOADER:NAME, the module whose `load_named` takes NAME."""

MARKS = {family.mark: _module(family) for family in FAMILIES if family.mark} | {"adapter_config.json": "lora"}
"""For each file that tells who saved a folder, the module whose `load_folder` loads that."""

TYPES = {kind: _module(family) for family in FAMILIES for kind in family.model_types}
"""The same for each model_type in config.json, for folders without such a file."""


def load(
    name: str | Path, *, device: str = "cpu", long_text: LongText = "error", precision: Precision = "fp32"
) -> VisionLanguageModel:
    """Load a model, with weights in float32.

    Args:
        name: 'mini'; a folder that Molyneux or the model's own library saved; or LOADER:NAME: 'hf:ORG/NAME' or
            'hf:FOLDER' (transformers), 'open_clip:NAME/TAG', 'medclip:PATH', 'vilt:NAME', 'tiny:FAMILY'.
            Weights that are not on this machine are fetched by the library that the loader belongs to.
        device: where the weights go: 'cpu', 'cuda', 'mps'.
        long_text: for a text with more tokens than the model reads: 'error' refuses it, 'truncate' reads its
            beginning, 'mean' reads its sentences in groups and averages their embeddings.
        precision: what the towers compute in: 'fp32', or 'bf16', which is faster on GPUs that support it. Weights,
            pixels and losses are float32 either way.

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
    if name == "mini":
        from molyneux.backends.mini import load_mini

        return load_mini()
    loader, colon, rest = name.partition(":")
    if colon and loader in LOADERS:
        if not rest:
            raise ModelError(f"{name!r} names no model: expected one behind the colon, see 'molyneux list models'")
        return _loaded(LOADERS[loader], "load_named", rest)
    folder = Path(name)
    if folder.is_file():
        raise ModelError(f"{folder} is a file: expected 'mini' or the folder that holds a saved model")
    if not folder.is_dir():
        raise ModelError(
            f"there is no model {name!r}: expected 'mini' or a folder that holds a saved model, or a name that begins "
            f"with {', '.join(f'{known}:' for known in LOADERS)}"
        )
    return _loaded(reader_of(folder), "load_folder", folder)


def reader_of(folder: Path) -> str:
    """The module whose `load_folder` loads a folder, by the files there.

    Raises:
        ModelError: listing what was looked for.
    """
    for mark, module in MARKS.items():
        if (folder / mark).is_file():
            return module
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


def _loaded(module: str, function: str, given: str | Path) -> VisionLanguageModel:
    model: VisionLanguageModel = imported("molyneux.backends", f"{module}:{function}")(given)
    return model


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
