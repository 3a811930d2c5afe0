"""Several texts for each class, and how their answers become one score."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder, frozen
from molyneux.errors import DataError
from molyneux.evaluation.features import checked_scores
from molyneux.shapes import Embeddings, Features

Ensemble = Literal["embeddings", "logits", "max"]
"""'embeddings': the cosine to the texts' mean direction (CLIP). 'logits': the mean of the cosines (Menon & Vondrick;
MedCLIP's `ensemble=True`). 'max': the best of them (MedCLIP's other choice)."""

_TEXTS_AT_ONCE = 100


def ensemble_scores(
    images: Embeddings, texts: Sequence[Float[Tensor, "_ d"]], rule: Ensemble = "embeddings"
) -> Float[Tensor, "n c"]:
    """A score in [-1, 1] for each picture and each class, given the unit-length embeddings of the classes' texts.

    With one text for each class the three rules are one. The 'logits' score is the 'embeddings' score times the
    length of the class's mean embedding: a class whose texts disagree loses.

    Raises:
        DataError: if there is no class, or a class without texts.
    """
    bare = next((place for place, rows in enumerate(texts) if len(rows) == 0), None)
    if bare is not None or not texts:
        raise DataError(f"no texts for {'any class' if bare is None else f'class {bare}'}: expected one or more")
    if rule == "embeddings":
        return images @ normalize(torch.stack([rows.mean(dim=0) for rows in texts]), dim=1).T
    parts = (images @ torch.cat(list(texts)).T).split([len(rows) for rows in texts], dim=1)
    return torch.stack([part.mean(dim=1) if rule == "logits" else part.amax(dim=1) for part in parts], dim=1)


def scores_of_texts(
    model: DualEncoder, features: Features, texts: Sequence[Sequence[str]], rule: Ensemble = "embeddings"
) -> Float[Tensor, "n c"]:
    """`ensemble_scores` of photos, given as features (`photo_features`), and of the classes' texts; on the CPU.

    Raises:
        DataError: as for `ensemble_scores`.
        ModelError: if a text has more tokens than the model reads, or a score is not a number.
    """
    flat = [text for group in texts for text in group]
    rows = [
        model.embed_texts(flat[start : start + _TEXTS_AT_ONCE]).float().cpu()
        for start in range(0, len(flat), _TEXTS_AT_ONCE)
    ]
    groups = torch.cat(rows).split([len(group) for group in texts]) if rows else ()
    with torch.no_grad(), frozen(model.projection_module()):
        images = model.project(features.to(model.device)).float().cpu()
    return checked_scores(model, ensemble_scores(images, groups, rule))
