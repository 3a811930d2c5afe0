"""What can be told without photos: how a model reads fresh inverted pictures, and those of known classes."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.backends.abilities import Matcher
from molyneux.backends.base import DualEncoder, frozen
from molyneux.evaluation.features import name_embeddings, name_texts
from molyneux.evaluation.matches import match_names
from molyneux.evaluation.metrics import ScoreMatrix, captured, median_rank, ranks
from molyneux.synthetic import SyntheticImages, resized

Written = Float[Tensor, "m d"] | list[list[str]]
"""What stands for names: their embeddings, or the texts beside which a model judges a picture."""

FRESH = 4
"""Fresh pictures of a concept."""

READINGS = ("similarity", "median_rank", "replay_captured")
"""What is read, each before and after."""

MEANING = (
    "read on fresh inverted pictures, from the same words and another seed: "
    "it says that the lesson carries over to them, not that photos are recognised"
)


def read_from_text(
    base: DualEncoder | Matcher,
    taught: DualEncoder | Matcher,
    fresh: SyntheticImages,
    known: Sequence[str],
    replay: Sequence[SyntheticImages],
) -> dict[str, Any]:
    """How the concept's name does on its fresh pictures, and the share of replay pictures that it captures.

    Similarity (a cosine, or the log-probability of a match), median rank and share are each
    {"before": ..., "after": ...}; without replay pictures the share is None.
    """
    names = (*known, fresh.concept.name)
    before, after = (_read(model, _written(model, names), fresh, replay) for model in (base, taught))
    return {
        **{key: {"before": before[key], "after": after[key]} for key in before},
        "pictures": len(fresh),
        "replay_pictures": sum(len(one) for one in replay),
        "means": MEANING,
    }


def _written(model: DualEncoder | Matcher, names: Sequence[str]) -> Written:
    return name_texts(names) if isinstance(model, Matcher) else name_embeddings(model, names)


def _read(
    model: DualEncoder | Matcher, names: Written, fresh: SyntheticImages, replay: Sequence[SyntheticImages]
) -> dict[str, float | None]:
    scores = _scores(model, names, [fresh])
    last = torch.full((len(scores),), scores.shape[1] - 1)
    share = None
    if replay:
        others = _scores(model, names, replay)
        share = float(captured(others[:, :-1], others[:, -1]).double().mean())
    return {
        "similarity": float(scores[:, -1].mean()),
        "median_rank": median_rank(ranks(scores, last)),
        "replay_captured": share,
    }


def _scores(model: DualEncoder | Matcher, names: Written, pictures: Sequence[SyntheticImages]) -> ScoreMatrix:
    sized = (resized(one.pixels.to(model.device), model.image_size) for one in pictures)
    if isinstance(model, Matcher):
        assert not isinstance(names, Tensor)
        return torch.cat([match_names(model, images, names) for images in sized])
    assert isinstance(names, Tensor)
    with torch.no_grad(), frozen(model.native):
        rows = [model.embed_images(images).float().cpu() for images in sized]
    return torch.cat(rows) @ names.T
