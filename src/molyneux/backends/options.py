"""How a model is run, beside which one it is; importing this needs no torch."""

from dataclasses import dataclass
from typing import Literal

LongText = Literal["error", "truncate", "mean"]
"""Refuse a text that does not fit; read its beginning; or read its sentences in groups that fit, and average."""

Precision = Literal["fp32", "bf16"]
"""Single precision throughout; or the towers' products in bfloat16 over weights that stay in single precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What `load` takes beside the model's name."""

    device: str = "cpu"
    """Where the model computes: 'cpu', 'cuda' or 'mps'."""
    precision: Precision = "fp32"
    """What the towers compute in; 'bf16' is faster on GPUs that have it, and weights, pixels and losses stay fp32."""
    long_text: LongText = "error"
    """A text that has more tokens than the model reads is refused, read as far as it fits, or read in groups of
    sentences whose embeddings are averaged."""
