"""Packs in models: applied, removed, and remembered by the folder that a taught model is saved in."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from molyneux.arguments import check_kind, several
from molyneux.backends.base import DualEncoder, VisionLanguageModel, dual_encoder
from molyneux.backends.digest import state_digest, weights_digest
from molyneux.concepts import Concept
from molyneux.errors import ConceptError, DataError, ModelError
from molyneux.packs import FOLDER, Merged, Pack, change, in_order, read_merged, short

_ROUNDING = 3e-7
"""Relative: what another machine's sums may differ by, once rounded to single precision."""


def apply(model: VisionLanguageModel, packs: Pack | str | Path | Iterable[Any]) -> DualEncoder:
    """A copy of the model that knows the concepts of these packs too; the given one stays as it is.

    The changes of all packs, those that were merged before included, are summed in double precision in the order of
    their names and merged into the untaught weights. So the order of applying makes no difference to any bit.

    Raises:
        ConceptError: if the model has a pack of one of the names, or two packs share a name.
        DataError: for anything but packs; files are read with `load_pack`.
        ModelError: if the model has no separate embeddings, or a pack is for another one.
    """
    model = dual_encoder(model, "a pack")
    packs = several(packs)
    for one in packs:
        if not isinstance(one, Pack):
            raise DataError(f"expected a pack, got {one!r:.200}: molyneux.load_pack(FILE) reads one from its file")
    check_new(model, (pack.name for pack in packs))
    merged = memory(model)
    for pack in packs:
        _check_base(model, merged, pack)
    return with_packs(model, replace(merged, packs=(*merged.packs, *packs)))


def remove(model: VisionLanguageModel, names: str | Iterable[str]) -> DualEncoder:
    """A copy of the model without the packs of these names; without the last pack it is the untaught model to the bit.

    Raises:
        ConceptError: if the model has no pack of one of the names.
        ModelError: if the model has no separate embeddings.
    """
    model = dual_encoder(model, "a pack")
    names = several(names)
    for name in names:
        check_kind(name, str, "what is to be removed", "a concept's name", ConceptError)
    there = [pack.name for pack in model.packs]
    for name in names:
        if name not in there:
            known = f"it has {', '.join(map(repr, there))}" if there else "it has none"
            raise ConceptError(f"{model.name!r} has no pack {name!r}: {known}")
    if model.merged is None:
        return model.copy()
    kept = tuple(pack for pack in model.packs if pack.name not in names)
    return with_packs(model, replace(model.merged, packs=kept))


def untaught(model: DualEncoder) -> DualEncoder:
    """The model without any pack, to the bit; itself if it has none."""
    return remove(model, [pack.name for pack in model.packs]) if model.packs else model


def original_name(model: VisionLanguageModel) -> str:
    """What the model's weights were loaded as, also where they are those of a taught model without its packs."""
    return model.name if model.merged is None or model.packs else model.merged.name


def check_new(model: VisionLanguageModel, names: Iterable[str]) -> None:
    """Raise ConceptError if the model has a pack of one of these names; upper and lower case are one."""
    there = {pack.name.casefold(): pack.name for pack in model.packs}
    for name in names:
        if name.casefold() in there:
            own = there[name.casefold()]
            raise ConceptError(
                f"{model.name!r} has a pack {own!r} already: remove it first, with "
                f"molyneux remove {own!r} --model {model.name} --out FOLDER, or molyneux.remove in Python"
            )


def memory(model: DualEncoder) -> Merged:
    """What was merged into the model; if nothing was, its own weights as the untaught ones.

    Raises:
        ModelError: if no weights of the model can hold an edit.
    """
    if model.merged is not None:
        return model.merged
    names = {id(value): name for name, value in model.native.named_parameters()}
    weights = {names[id(value)]: value.detach().cpu().clone() for value in model.map_weights()}
    if not weights:
        raise ModelError(f"neither tower of {model.name!r} ends in a linear layer, so a pack cannot be merged into it")
    return Merged(name=model.name, weights=weights_digest(model.native), untouched=weights, packs=())


def with_packs(model: DualEncoder, merged: Merged) -> DualEncoder:
    """A copy of the model that has these packs and no others. `merged` is of this model or of one that it came from."""
    twin = model.copy(whole=model.map_side == "texts")
    merge(twin, merged)
    left = {pack.name for pack in model.packs} - {pack.name for pack in merged.packs}
    twin.concepts = tuple(one for one in model.concepts if one.name not in left)
    there = {one.name for one in twin.concepts}
    new = [Concept(p.name, p.descriptions) for p in merged.packs if p.descriptions and p.name not in there]
    twin.learned(new, ("edit",) if merged.packs else ())
    return twin


@torch.no_grad()
def merge(model: DualEncoder, merged: Merged) -> None:
    """Have the model's own weights be the untaught ones with these packs.

    Where its text tower holds them, it must not be shared with another model.

    Raises:
        ConceptError: if two packs share a name.
    """
    merged = replace(merged, packs=in_order(merged.packs))
    state = model.native.state_dict()
    for name, value in merged.untouched.items():
        state[name].copy_(value)
    if merged.packs:
        # on the CPU, so that every device has the same bits
        weights, device = model.map_weights(), model.device
        for weight in weights:
            weight.data = weight.data.cpu()
        model.merge(change(merged.packs))
        for weight in weights:
            weight.data = weight.data.to(device)
    model.merged = merged


def recall(model: VisionLanguageModel, folder: Path) -> None:
    """Give a model that was just read from a folder the memory of the packs there, if there are any.

    Raises:
        DataError: if a file of `packs` cannot be read.
        ModelError: if the weights are not the untaught ones with these packs, as when they were fine-tuned since.
    """
    merged = read_merged(folder)
    if merged is None:
        return
    model, state = dual_encoder(model, "a pack"), model.native.state_dict()
    changed = _unlike(merged, state)
    if changed is None and state_digest(state | dict(merged.untouched)) != merged.weights:
        changed = "another layer than the packs'"
    if changed is None:
        for pack in merged.packs:
            _check_base(model, merged, pack)
        found = {name: state[name].clone() for name in merged.untouched}
        merge(model, merged)
        for name, value in found.items():
            if not torch.allclose(state[name], value, rtol=_ROUNDING, atol=_ROUNDING * float(value.abs().max())):
                changed = changed or name
            state[name].copy_(value)  # as they were saved
    if changed is not None:
        raise ModelError(
            f"the weights in {folder} are not its untaught model with its packs any more (see {changed}): they were "
            f"changed since; move {Path(folder) / FOLDER} elsewhere to load them without packs"
        )


def _unlike(merged: Merged, state: dict[str, torch.Tensor]) -> str | None:
    """The first untouched tensor that the model has no like of."""
    for name, value in merged.untouched.items():
        own = state.get(name)
        if own is None or own.shape != value.shape or own.dtype != value.dtype:
            return name
    return None


def _check_base(model: DualEncoder, merged: Merged, pack: Pack) -> None:
    if pack.base != merged.weights:
        without = " without its packs" if merged.packs else ""
        raise ModelError(
            f"the pack {pack.name!r} is for {pack.base_name!r} with the weights {short(pack.base)}, and {model.name!r}"
            f"{without} has the weights {short(merged.weights)}: apply it to the model that it was made for"
        )
    if pack.side != model.map_side or any(len(pack.key) not in value.shape for value in merged.untouched.values()):
        raise ModelError(
            f"the pack {pack.name!r} edits {len(pack.key)} dimensions on the side of {pack.side}, which do not fit "
            f"{model.name!r}: the file was changed"
        )
