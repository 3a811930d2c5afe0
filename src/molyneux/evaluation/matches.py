"""Scores of a model that judges pairs: every photo beside every text that stands for a name."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.backends.abilities import Matcher
from molyneux.backends.base import frozen
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.photos import batches
from molyneux.evaluation.features import OnStep, checked_scores
from molyneux.shapes import Images

_PHOTOS_AT_ONCE = 8


def match_photos(
    model: Matcher,
    folder: PhotoFolder,
    texts: Sequence[Sequence[str]],
    on_step: OnStep | None = None,
    what: str = "photos",
) -> Float[Tensor, "n c"]:
    """For each photo and each name the log-probability of a match, averaged over the name's texts; on the CPU.

    All of a photo's texts share its patches, which are embedded once. A thousand names still are a thousand passes
    through the whole model for each photo.

    Raises:
        DataError: if a photo cannot be read.
        ModelError: if a text has more tokens than the model reads, or a score is not a number.
    """
    rows: list[Tensor] = []
    done = 0
    parts = batches(folder.paths, model.image_size, model.crop_fraction, _PHOTOS_AT_ONCE, fit=model.photo_fit)
    for images in parts:
        rows.append(match_names(model, images, texts))
        done += len(images)
        if on_step is not None:
            on_step(what, done, len(folder))
    return torch.cat(rows)


def match_names(model: Matcher, images: Images, texts: Sequence[Sequence[str]]) -> Float[Tensor, "n c"]:
    """`match_photos` for pictures at the model's own size."""
    if not texts:
        return torch.zeros(len(images), 0)
    flat = [text for group in texts for text in group]
    with torch.no_grad(), frozen(model.native):
        scores = model.match_scores(images.to(model.device), flat).float().cpu()
    groups = scores.split([len(group) for group in texts], dim=1)
    return checked_scores(model, torch.stack([group.mean(dim=1) for group in groups], dim=1))
