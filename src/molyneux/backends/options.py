"""How a model is run, beside which one it is; importing this needs no torch."""

from dataclasses import dataclass
from typing import Literal

from molyneux.errors import ConfigError

LongText = Literal["error", "truncate", "mean"]
"""Refuse a text that does not fit; read its beginning; or read its sentences in groups that fit, and average."""

Precision = Literal["fp32", "bf16"]
"""Single precision throughout; or the towers' products in bfloat16 over weights that stay in single precision."""


SDXL = "stabilityai/stable-diffusion-xl-base-1.0"

TINY_SDXL = "tiny:sdxl"
"""A random one of its architecture, to try out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a text-to-image model makes images; the defaults are its library's for SDXL."""

    images: int = 10
    """Images of each concept."""
    steps: int = 50
    """Denoising steps."""
    guidance: float = 5.0
    """How much more than an unconditional image the text counts."""
    size: int = 0
    """Side of the images in pixels before they are made the model's size; 0 for the generator's own (1024)."""

    def __post_init__(self) -> None:
        for name in ("images", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"generation.{name} is {getattr(self, name)}: expected a whole number of at least 1")
        if self.size < 0 or self.size % 8:
            raise ConfigError(f"generation.size is {self.size}: expected a multiple of 8, or 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What `load` takes beside the model's name."""

    device: str = "cpu"
    """Where the model computes: 'cpu', 'cuda' or 'mps'; 'auto' takes the first of cuda, mps and cpu that is there."""
    precision: Precision = "fp32"
    """What the towers compute in; 'bf16' is faster on GPUs that have it, and weights, pixels and losses stay fp32."""
    long_text: LongText = "error"
    """A text that has more tokens than the model reads is refused, read as far as it fits, or read in groups of
    sentences whose embeddings are averaged."""
