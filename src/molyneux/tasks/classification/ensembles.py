"""Several texts for each class, and how their answers become one score."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.errors import DataError
from molyneux.shapes import Embeddings, Features
from molyneux.tasks.classification.features import embedded_texts, scores_from_features
from molyneux.tasks.classification.prompts import Ensemble

Groups = Sequence[Float[Tensor, "_ d"]]
"""For each class the embeddings of its texts."""


def ensemble_scores(images: Embeddings, texts: Groups, rule: Ensemble = "embeddings") -> Float[Tensor, "n c"]:
    """A score in [-1, 1] for each image and each class, given the unit-length embeddings of the classes' texts.

    With one text for each class the three rules are one. The 'logits' score is the 'embeddings' score times the
    length of the class's mean embedding: a class whose texts disagree loses.

    Raises:
        DataError: if there is no class, or a class without texts.
    """
    columns = combined(texts, rule)
    return best_of_each(images @ torch.cat(list(columns)).T, [len(rows) for rows in columns])


def combined(texts: Groups, rule: Ensemble = "embeddings") -> Groups:
    """For each class the vectors of which the one nearest to an image gives its score: one, but for 'max'.

    Raises:
        DataError: if there is no class, or a class without texts.
    """
    bare = next((place for place, rows in enumerate(texts) if len(rows) == 0), None)
    if bare is not None or not texts:
        raise DataError(f"no texts for {'any class' if bare is None else f'class {bare}'}: expected one or more")
    if rule == "max":
        return texts
    means = torch.stack([rows.mean(dim=0) for rows in texts])
    return list((means if rule == "logits" else normalize(means, dim=1))[:, None])


def best_of_each(scores: Float[Tensor, "n t"], sizes: Sequence[int]) -> Float[Tensor, "n c"]:
    """Columns in groups of these sizes, each group by its best; as they are where each stands alone."""
    if all(size == 1 for size in sizes):
        return scores
    return torch.stack([part.amax(dim=1) for part in scores.split(list(sizes), dim=1)], dim=1)


def class_columns(model: DualEncoder, texts: Sequence[Sequence[str]], rule: Ensemble = "embeddings") -> Groups:
    """`combined` embeddings of the classes' texts, on the CPU; () for no class.

    Raises:
        DataError: if a class has no text.
        ModelError: if a text has more tokens than the model reads.
    """
    return combined(embedded_texts(model, texts), rule) if texts else ()


def scores_of_columns(model: DualEncoder, features: Features, columns: Groups) -> Float[Tensor, "n c"]:
    """Scores of photos, given as features (`photo_features`), for classes given as `class_columns`; on the CPU.

    Raises:
        ModelError: if a score is not a number.
    """
    if not columns:
        return torch.zeros(len(features), 0)
    cosines = scores_from_features(model, features, torch.cat(list(columns)))
    return best_of_each(cosines, [len(rows) for rows in columns])
