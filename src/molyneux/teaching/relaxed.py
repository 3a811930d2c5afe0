"""A concept's words as points of the shared space, to be learned from beside its pictures."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.updates import in_space

SHARPNESS = 0.05
"""Temperature of the consensus, over cosines less the names' mean."""


def learns_from_words(config: TeachingConfig) -> bool:
    """Whether points that words stand for are among what is learned from."""
    contrasts = config.loss in ("bank", "anchors", "symmetric")
    return contrasts and in_space(config.update) and config.mixed and bool(config.relaxed or config.consensus)


@torch.no_grad()
def words_point(model: DualEncoder, words: Sequence[str]) -> Embeddings:
    """What inversion of no layer at all gives, (1, d): the mean direction of the words.

    Eq. 5 of the paper's appendix inverts only the layers above a chosen one; above the shared space there is none, and
    the point that matches the words best is where they are themselves.
    """
    return normalize(model.embed_texts(words).mean(dim=0, keepdim=True), dim=1)


@torch.no_grad()
def consensus(points: Embeddings, names: Float[Tensor, "m d"]) -> Embeddings:
    """The known names that each point is most like, blended by how much (ConSE; Norouzi et al., 2014), (n, d).

    A text that describes lies apart from texts that name, and pictures were learned by names: the blend is where a
    model that knows those names alone would look for the described thing.
    """
    centre = names.mean(dim=0)
    likeness = normalize(points - centre, dim=1) @ normalize(names - centre, dim=1).T
    return normalize((likeness / SHARPNESS).softmax(dim=1) @ names, dim=1)


def word_points(
    model: DualEncoder,
    pictures: Sequence[SyntheticImages],
    names: Float[Tensor, "m d"],
    relaxed: float,
    blended: float,
) -> tuple[Float[Tensor, "k d"], Tensor, Tensor]:
    """Rows, owners and weights of the points that the pictures' words stand for; no rows for pictures without words.

    Args:
        model: what reads the words.
        pictures: one value for each concept; those of another source than inversion have no words.
        names: embeddings of the known names, (m, d); without any there is no consensus.
        relaxed: weight of the words themselves; 0 leaves them out.
        blended: weight of their consensus; 0 leaves it out.
    """
    rows, owners, weights = [names.new_zeros(0, names.shape[1])], [], []
    for owner, value in enumerate(pictures):
        if not value.words or not (relaxed or blended):
            continue
        point = words_point(model, value.words)
        for weight, row in ((relaxed, point), (blended, consensus(point, names) if len(names) else None)):
            if weight and row is not None:
                rows.append(row)
                owners.append(owner)
                weights.append(weight)
    return torch.cat(rows), torch.tensor(owners, dtype=torch.long), torch.tensor(weights)
