"""From a name to a model: one that Molyneux ships, a folder, or LOADER:NAME."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import get_args

import torch

from molyneux.arguments import check_kind
from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.checkpoints import one_tower
from molyneux.backends.families import FAMILIES, Family
from molyneux.backends.gradients import with_gradients
from molyneux.backends.hub import fetch_saved, quiet_hub
from molyneux.backends.long_text import check_policy
from molyneux.backends.options import LongText, Precision
from molyneux.backends.packs import apply, recall
from molyneux.concepts import Concept
from molyneux.digests import check_digests
from molyneux.errors import DataError, HubError, ModelError
from molyneux.foreign import is_file, read_json
from molyneux.packs import model_named, read_listed
from molyneux.records import CONCEPTS, DIGESTS, PACKS, Lineage, read_record
from molyneux.tables import SHIPPED, imported

LOG = logging.getLogger(__name__)

BUILDERS = {"mini": "mini:load_mini", "drawn": "drawn:load_drawn"}
"""Where each of `SHIPPED` is built, as MODULE:FUNCTION."""

AGAIN = "put the file back, or teach, convert or fetch the model again"

_BEING_LOADED: ContextVar[tuple[str, ...]] = ContextVar("_BEING_LOADED", default=())


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


@with_gradients
def load(
    name: str | Path, *, device: str = "cpu", long_text: LongText = "error", precision: Precision = "fp32"
) -> VisionLanguageModel:
    """Load a model, with weights in float32.

    A folder that a model taught by edits was saved in tells which packs are merged into it (`model.packs`). The files
    of a folder that Molyneux saved are compared with the SHA-256 that it wrote there, about a second for each gigabyte.

    Args:
        name: 'mini' or 'drawn'; a folder that Molyneux or the model's own library saved; the folder of a run, for the
            model that it taught; or LOADER:NAME: 'hf:ORG/NAME' or 'hf:FOLDER' (transformers, or what `push` put there:
            a model of any family, or packs, which are applied to the model that they are for), 'open_clip:NAME/TAG',
            'medclip:PATH', 'vilt:NAME', 'tiny:FAMILY'.
            Weights that are not on this machine are fetched by the library that the loader belongs to.
        device: where the weights go: 'cpu', 'cuda', 'mps', or 'auto' for the first of cuda, mps and cpu that is there.
        long_text: for a text with more tokens than the model reads: 'error' refuses it, 'truncate' reads its
            beginning, 'mean' reads its sentences in groups and averages their embeddings.
        precision: what the towers compute in: 'fp32', or 'bf16', which is faster on GPUs that support it. Weights,
            pixels and losses are float32 either way.

    Raises:
        DataError: if a pack in the folder cannot be read.
        ModelError: if there is no such model, it cannot be read, a file is not what was saved, a weight is not a
            number, the weights are not those that its packs were merged into, or the device is not there.
    """
    check_policy(long_text)
    check_precision(precision)
    place = named_device(device)
    started = time.perf_counter()
    check_kind(name, (str, Path), "the name of the model", "text or a path, such as 'mini'", ModelError)
    if not str(name).strip():
        raise ModelError("the name of the model is empty: expected 'mini', a folder, or another name for a model")
    name = model_named(str(name))
    pushed = _pushed(name)
    _check_saved(name, pushed)
    with _no_circle(name), quiet_hub():
        if pushed is not None and (pushed / PACKS).is_file():
            about, packs = read_listed(pushed)
            return apply(load(about.name, device=device, long_text=long_text, precision=precision), packs)
        model = _read(name) if pushed is None else _loaded(reader_of(pushed), "load_folder", pushed, name=name)
    if long_text == "mean" and not isinstance(model, DualEncoder):
        raise ModelError(
            f"long_text='mean' averages embeddings, and {model.name!r} has none: use 'error' or 'truncate'"
        )
    _check_numbers(model)
    folder = pushed or _folder_of(name)
    if folder is not None:
        recall(model, folder)
    model.place_on(place)
    model.long_text, model.precision = long_text, precision
    known = _lineage(name if pushed is None else str(pushed))
    model.family = known.family if known else family_of(model)
    if known:
        model.base, model.means = known.base, known.means
        model.concepts = tuple(Concept(one.name, one.descriptions) for one in known.concepts)
    LOG.info("loaded %r in %.1f seconds", model, time.perf_counter() - started)
    return model


def _pushed(name: str) -> Path | None:
    """`fetch_saved`, whose error is that of a model."""
    try:
        return fetch_saved(name)
    except HubError as error:
        raise ModelError(f"{error}; or give the folder of a downloaded model") from error


def _check_saved(name: str, pushed: Path | None) -> None:
    """Raise ModelError if a file that a name leads to is not what Molyneux saved there."""
    if pushed is not None:
        again = f"fetch it again: hf download {name.partition(':')[2]} --force-download"
        check_digests(pushed, again=again, error=ModelError)
        return
    behind, _, more = name.partition(":")[2].partition("?tokenizer=")
    for path in (Path(one) for one in (name, behind, behind.partition("/")[2], more) if one and name not in SHIPPED):
        if is_file(path / DIGESTS):
            check_digests(path, again=AGAIN, error=ModelError)
        elif is_file(path) and is_file(path.parent / DIGESTS):
            check_digests(path.parent, (path.name,), again=AGAIN, error=ModelError)


def _check_numbers(model: VisionLanguageModel) -> None:
    """Raise ModelError if a weight is not a number: every answer would be none either."""
    for key, value in model.native.state_dict().items():
        if value.is_floating_point() and value.isnan().any():
            raise ModelError(
                f"the weights of {model.name!r} hold values that are no numbers, in {key!r} for one: if it was taught, "
                "teach it with a lower learning rate; else get its weights anew"
            )


@contextmanager
def _no_circle(name: str) -> Iterator[None]:
    """Within the block a model of this name is being loaded; it cannot be the base that it is made from."""
    if name in _BEING_LOADED.get():
        raise ModelError(f"{name!r} says that it is made from itself: its packs or its adapter must name another base")
    token = _BEING_LOADED.set((*_BEING_LOADED.get(), name))
    try:
        yield
    finally:
        _BEING_LOADED.reset(token)


def _folder_of(name: str) -> Path | None:
    """The folder that a name leads to: itself, or what stands behind LOADER:."""
    behind = name.partition(":")[2].partition("?")[0]
    return next((Path(one) for one in (name, behind) if one and Path(one).is_dir()), None)


def family_of(model: VisionLanguageModel) -> str:
    """The name of the model's row in `FAMILIES`, by its class and its configuration; else the name of its class."""
    if model.name in SHIPPED:
        return model.name
    kind = getattr(getattr(model.native, "config", None), "model_type", None)
    rows = [row for row in FAMILIES if row.implementation.endswith(f":{type(model).__name__}")]
    rows = [row for row in rows if row.name not in SHIPPED]
    better = [row for row in rows if kind in row.model_types or row.name.casefold() in model.name.casefold()]
    return next((row.name for row in better or rows), type(model).__name__)


def _lineage(name: str) -> Lineage | None:
    """What stands beside the weights, where they lie in a folder that Molyneux saved."""
    loader, colon, rest = name.partition(":")
    path = Path(rest if colon and loader in LOADERS else name) / CONCEPTS
    if not path.is_file():
        return None
    try:
        return read_record(Lineage, path)
    except DataError as error:
        raise ModelError(str(error)) from error


def check_precision(name: str) -> None:
    """Raise ModelError if there is no such precision."""
    known = get_args(Precision)
    if name not in known:
        raise ModelError(f"precision is {name!r}: expected one of {', '.join(map(repr, known))}")


def _read(name: str) -> VisionLanguageModel:
    if name in SHIPPED:
        model: VisionLanguageModel = imported("molyneux.backends", BUILDERS[name])()
        return model
    loader, colon, rest = name.partition(":")
    if colon and loader in LOADERS:
        if not rest:
            raise ModelError(f"{name!r} names no model: expected one behind the colon, see 'molyneux list models'")
        return _loaded(LOADERS[loader], "load_named", rest)
    folder, shipped = Path(name), ", ".join(map(repr, SHIPPED))
    if folder.is_file():
        raise ModelError(f"{folder} is a file: expected {shipped} or the folder that holds a saved model")
    if not folder.is_dir():
        raise ModelError(
            f"there is no model {name!r}: expected {shipped} or a folder that holds a saved model, or a name that "
            f"begins with {', '.join(f'{known}:' for known in LOADERS)}"
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
        content = read_json(folder / "config.json", "the configuration")
        kind = content.get("model_type") if isinstance(content, dict) else None
    except DataError:
        pass
    if kind in TYPES:
        return TYPES[kind]
    found = f"model_type {kind!r}{one_tower(kind)}" if kind else "none"
    raise ModelError(
        f"{folder} has no {' and no '.join(MARKS)}, and no config.json with a model_type of {', '.join(TYPES)} "
        f"(found {found}): expected a folder that Molyneux or the model's own library saved"
    )


def _loaded(module: str, function: str, given: str | Path, **more: str) -> VisionLanguageModel:
    model: VisionLanguageModel = imported("molyneux.backends", f"{module}:{function}")(given, **more)
    return model


def named_device(name: str) -> torch.device:
    """The device, or with 'auto' the first of cuda, mps and cpu that is there; ModelError if it is not there."""
    if name == "auto":
        present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(kind for kind, is_there in present.items() if is_there)
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"there is no device {name!r} here: expected 'auto' or 'cpu', or 'cuda' or 'mps' where present"
        ) from error
    return device
