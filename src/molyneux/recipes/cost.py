"""What the images of one concept cost: seconds, and memory."""

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.diffusion import ImageGenerator
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.images.choices import SOURCES, source_of, taught_controls
from molyneux.images.external import generator_name
from molyneux.inversion.invert import invert
from molyneux.recipes.schema import Experiment
from molyneux.runs.options import Progress

MEMORY_OF = (
    "the weights of the model that makes the images, and the most that was in use beside what was held before, "
    "of {where}"
)
STATUS = Path("/proc/self/status")


def cost(
    model: VisionLanguageModel,
    experiment: Experiment,
    concept: Concept,
    running: Running,
    on_step: Progress | None = None,
) -> dict[str, Any]:
    """Seconds for the images of one concept, and MiB of memory; a generator is loaded before the clock starts.

    Raises:
        ConfigError: if the images are of a kind that is not made from the description.
        ModelError: if there is no such generator, or the description is too long for it.
    """
    small = experiment.model_copy(
        update={
            "inversion": replace(experiment.inversion, images=1, steps=1, growth=()),
            "generation": replace(experiment.generation, images=1, steps=1),
        }
    )
    make, weights = _maker(model, experiment, concept, running, on_step)
    _maker(model, small, concept, running, None)[0]()  # what is set up once is no image's cost
    cuda = model.device.type == "cuda"
    before = _fresh(model.device)
    started = time.perf_counter()
    make()
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated(model.device) if cuda else _resident("VmHWM")
    where = "the GPU's allocations" if cuda else "the process"
    if before is None or peak is None:
        reason = f"not computed: {sys.platform} does not say how much memory a process had at most"
        return {"seconds": seconds, "memory_mib": {"value": None, "reason": reason}}
    memory = weights + max(0, peak - before)
    return {"seconds": seconds, "memory_mib": memory / 2**20, "memory_of": MEMORY_OF.format(where=where)}


def _maker(
    model: VisionLanguageModel, experiment: Experiment, concept: Concept, running: Running, on_step: Progress | None
) -> tuple[Callable[[], object], int]:
    """What makes the images, and the bytes of its weights."""
    step = None if on_step is None else lambda done, total: on_step("images", done, total)
    asked = experiment.images
    kind = "noise" if asked in taught_controls() else "inverted" if asked == "inverted" else source_of(asked)
    if kind == "inverted":
        config, seed = experiment.inversion, experiment.seed
        return lambda: invert(model, concept, config, seed=seed, on_step=step), _bytes(model.native)
    if not SOURCES[kind].is_generated:
        raise ConfigError(f"images is {asked!r}: the cost is measured of 'inverted' and of 'sdxl[:MODEL]'")
    generator = _generator(generator_name(asked), running)
    parts = [one for one in generator.native.components.values() if isinstance(one, nn.Module)]
    texts, chosen = concept.descriptions, experiment.generation
    return lambda: generator.generate(texts, chosen, seed=experiment.seed, on_step=step), sum(map(_bytes, parts))


@lru_cache(maxsize=1)
def _generator(name: str, running: Running) -> ImageGenerator:
    return ImageGenerator.load(name, device=running.device, precision=running.precision)


def _bytes(native: nn.Module) -> int:
    return sum(one.numel() * one.element_size() for one in (*native.parameters(), *native.buffers()))


def _fresh(device: torch.device) -> int | None:
    """Bytes in use, from which on the peak is counted anew; None where the system does not say."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what is free is not in use
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _resident("VmRSS")


def _resident(key: str) -> int | None:
    """A line of the process's status, in bytes."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)
