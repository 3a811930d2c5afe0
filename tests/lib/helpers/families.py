"""Tiny random models of every family, as `families_NAME` in this package makes them.

FAMILIES says how each is made, and VENDOR, how its library alone reads a saved folder and embeds images and texts (for
a model without embeddings: how well each image fits its text, and what it would write in each word's place).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from helpers import families_hf, families_medclip, families_open_clip, families_vilt
from molyneux.backends.base import DualEncoder, VisionLanguageModel

_MODULES = (families_hf, families_open_clip, families_medclip, families_vilt)

FAMILIES: dict[str, Callable[[], VisionLanguageModel]] = {}
VENDOR: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {}
for _module in _MODULES:
    FAMILIES |= _module.FAMILIES
    VENDOR |= _module.VENDOR


def sample_images(model: VisionLanguageModel, count: int = 3, seed: int = 1) -> Tensor:
    """Patches of colour, as whole bytes."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = interpolate(coarse, size=(model.image_size, model.image_size), mode="bilinear")
    return (fine * 255).round() / 255


@torch.no_grad()
def in_double(encoder: DualEncoder, images: Tensor) -> Tensor:
    """The embeddings of images in double precision; the weights are as they were afterwards, to the bit."""
    encoder.native.double()
    try:
        return encoder.embed_images(images.double())
    finally:
        encoder.native.float()
