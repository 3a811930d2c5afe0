"""What can be told without photos: how a model reads fresh inverted pictures, and those of known classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from molyneux.backends.base import DualEncoder, frozen
from molyneux.evaluation.features import name_embeddings
from molyneux.evaluation.metrics import captured, median_rank, ranks
from molyneux.shapes import Embeddings, Images
from molyneux.synthetic import SyntheticImages

FRESH = 4
"""Fresh pictures of a concept."""

MEANING = (
    "read on fresh inverted pictures, from the same words and another seed: "
    "it says that the lesson carries over to them, not that photos are recognised"
)


def read_from_text(
    base: DualEncoder,
    taught: DualEncoder,
    fresh: SyntheticImages,
    known: Sequence[str],
    replay: Sequence[SyntheticImages],
) -> dict[str, Any]:
    """How the concept's name does on its fresh pictures, and the share of replay pictures that it captures.

    Similarity, median rank and share are each {"before": ..., "after": ...}; without replay pictures the
    share is None.
    """
    names = [*known, fresh.concept.name]
    before, after = (_read(model, name_embeddings(model, names), fresh, replay) for model in (base, taught))
    return {
        **{key: {"before": before[key], "after": after[key]} for key in before},
        "pictures": len(fresh),
        "replay_pictures": sum(len(one) for one in replay),
        "means": MEANING,
    }


def _read(
    model: DualEncoder, names: Embeddings, fresh: SyntheticImages, replay: Sequence[SyntheticImages]
) -> dict[str, float | None]:
    scores = _embedded(model, [fresh]) @ names.T
    last = torch.full((len(scores),), scores.shape[1] - 1)
    share = None
    if replay:
        others = _embedded(model, replay) @ names.T
        share = float(captured(others[:, :-1], others[:, -1]).double().mean())
    return {
        "similarity": float(scores[:, -1].mean()),
        "median_rank": median_rank(ranks(scores, last)),
        "replay_captured": share,
    }


def _embedded(model: DualEncoder, pictures: Sequence[SyntheticImages]) -> Embeddings:
    with torch.no_grad(), frozen(model.native):
        rows = [model.embed_images(_sized(model, one.pixels)).float().cpu() for one in pictures]
    return torch.cat(rows)


def _sized(model: DualEncoder, pixels: Images) -> Tensor:
    """The pictures at the size of the photos that the model sees, on its device."""
    size = (model.image_size, model.image_size)
    pixels = pixels.to(model.device)
    if pixels.shape[-2:] == size:
        return pixels
    return interpolate(pixels, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
