"""The package's random Stable Diffusion XL, where diffusers can load it."""

from pathlib import Path

from molyneux.backends.tiny import tiny_sdxl

SIDE = 32

__all__ = ["SIDE", "save_tiny_sdxl", "tiny_sdxl"]


def save_tiny_sdxl(folder: Path) -> Path:
    """Save it there."""
    tiny_sdxl().save_pretrained(folder, safe_serialization=True)
    return folder
