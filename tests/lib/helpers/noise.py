"""Photos of noise that are the same in every process."""

import numpy as np
from PIL import Image


def noise_photo(size: tuple[int, int], spread: float, seed: int = 0) -> Image.Image:
    """Grey noise around 128 with a standard deviation of `spread`, width by height, as RGB."""
    values = np.random.default_rng(seed).normal(128, spread, (size[1], size[0]))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")
