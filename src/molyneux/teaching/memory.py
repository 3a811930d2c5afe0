"""The memory of a step: what it needs, and the same gradients with less of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.gradients import with_gradients
from molyneux.teaching.config import LoRA, TeachingConfig

FoundT = TypeVar("FoundT", bound=Tensor | tuple[Tensor, ...])

_GIB = 2**30
_PROMPT = "a photo of a thing with a name of some length."


def in_parts(function: Callable[..., FoundT], size: int, *inputs: Tensor | Sequence[str]) -> FoundT:
    """The function of rows, of at most `size` of them at a time, whose intermediate values are not kept.

    They are computed again when gradients are: the gradients are equal but for rounding, memory is that of one part,
    and a pass costs about a third more. With `size` 0, or no more rows than that, it is called once.

    Source: gradient checkpointing (Chen et al., 2016, 1604.06174); GradCache (Gao et al., 2021) for contrastive losses.
    """
    count = len(inputs[0])
    if not size or count <= size:
        return function(*inputs)
    found = [
        checkpoint(
            function, *(rows[start : start + size] for rows in inputs), use_reentrant=False, preserve_rng_state=False
        )
        for start in range(0, count, size)
    ]
    if isinstance(found[0], Tensor):
        return cast(FoundT, torch.cat(cast(list[Tensor], found)))
    return cast(FoundT, tuple(torch.cat(parts) for parts in zip(*found, strict=True)))


def step_memory(model: VisionLanguageModel, config: TeachingConfig) -> int:
    """About how many bytes a step of teaching takes beside the model itself; 0 where next to nothing moves in it.

    Gradients and the optimiser's two moments, and what one image or text leaves behind for its gradient, times those
    that are kept at once. Measured on one grey image and one short prompt; the weights stay.
    """
    kind = config.update.kind
    if not isinstance(model, DualEncoder) or config.objective.merges or (kind.shares_trunk and not kind.moves_texts):
        return 0
    # adapters alone have gradients, but what is kept of an image is about that of the whole tower
    modules: list[Any] = [model.vision_module()] if kind.modules is None else kind.modules(model, config.update)
    moving = [weight for module in modules for weight in module.parameters()]
    weights = (
        0 if isinstance(config.update, LoRA) else 3 * sum(value.numel() * value.element_size() for value in moving)
    )
    needed = weights
    if not kind.shares_trunk:
        images = config.batch + (config.replay_batch if config.uses_replay else 0)
        grey = torch.full((1, 3, model.image_size, model.image_size), 0.5, device=model.device)
        needed += _at_once(images, config) * _kept(model, moving, lambda: model.embed_images(grey))
    if kind.moves_texts:
        texts = config.batch + config.bank_batch
        needed += _at_once(texts, config) * _kept(model, moving, lambda: model.encode_texts([_PROMPT]))
    return needed


def _at_once(count: int, config: TeachingConfig) -> int:
    return min(count, config.micro_batch) if config.micro_batch else count


@with_gradients
def _kept(model: DualEncoder, moving: Sequence[Tensor], embed: Callable[[], Tensor]) -> int:
    own = {value.untyped_storage().data_ptr() for value in model.native.state_dict().values()}
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(value)  # so that no other value takes its place
        return value

    held: list[Tensor] = []
    wanted = [value.requires_grad for value in moving]
    try:
        for value in moving:
            value.requires_grad_()
        with saved_tensors_hooks(keep, lambda value: value):
            embed()
    finally:
        for value, before in zip(moving, wanted, strict=True):
            value.requires_grad_(before)
    return sum(kept.values())


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where that is not told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(dict(line.split(":", 1) for line in lines)["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def memory_note(model: VisionLanguageModel, config: TeachingConfig) -> str:
    """What to say before a step that takes more than a GiB, or more than is free; '' otherwise."""
    needed, free = step_memory(model, config), free_memory(model.device)
    if needed < _GIB and (free is None or needed < free):
        return ""
    known = "" if free is None else f", and {free / _GIB:.1f} GiB are free"
    less = "" if config.micro_batch else "; --teaching.micro-batch 4 needs less, and about a third more time"
    return f"teaching takes about {needed / _GIB:.1f} GiB of memory beside the model{known}{less}"
