"""Text anchors: embeddings made from a concept's descriptions, learned from beside its images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.datasets.imagenet import described_classes
from molyneux.errors import ModelError
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.texts import NAME_PROMPT

TEMPERATURE = 0.03
"""Temperature of ConSE's soft-max, over cosines of centred embeddings."""


def nothing_to_learn(name: str) -> str:
    """The error for a concept with nothing to train on: no images, and no text anchors."""
    return (
        f"{name!r} has nothing to learn from: give images; without images teaching needs teaching.update.part "
        "'embedding_map', teaching.mixup, and teaching.text_anchor, or teaching.conse_anchor with known names"
    )


@torch.no_grad()
def description_embedding(model: DualEncoder, descriptions: Sequence[str]) -> Embeddings:
    """The text anchor, (1, d): the mean of the descriptions' embeddings, of unit length.

    Eq. 5 of the paper's appendix inverts only the layers above a chosen one. Above the shared space there are no
    layers, and the embedding that matches a description best is the description's own.
    """
    return normalize(model.embed_texts(descriptions).mean(dim=0, keepdim=True), dim=1)


@torch.no_grad()
def conse(points: Embeddings, names: Float[Tensor, "m d"], keys: Float[Tensor, "m d"]) -> Embeddings:
    """The ConSE anchors, (n, d): for each point a blend of the names nearest to it.

    Embeddings of descriptions lie apart from embeddings of names, and the model learned images by their names. The
    blend weights names by a soft-max over the similarity of the point to their keys: the names themselves, or better,
    their descriptions.

    Source: Norouzi et al. (2014), ConSE.
    """
    centre = keys.mean(dim=0)
    similarity = normalize(points - centre, dim=1) @ normalize(keys - centre, dim=1).T
    return normalize((similarity / TEMPERATURE).softmax(dim=1) @ names, dim=1)


MIN_DESCRIBED = 0.9
"""Fraction of the known names that must have descriptions for descriptions to be keys."""


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """Embeddings of the known names, and for each the key that `conse` compares with."""

    names: Float[Tensor, "m d"]
    keys: Float[Tensor, "m d"]

    @classmethod
    @torch.no_grad()
    def of(cls, model: DualEncoder, names: Sequence[str]) -> "KnownTexts":
        """Keys are descriptions, where `described_names` finds any; else the names themselves."""
        described, shipped = described_names(model, names), described_classes()
        prompts = model.embed_texts([NAME_PROMPT.format(name) for name in described or names])
        return cls(prompts, model.embed_texts([shipped[name] for name in described]) if described else prompts)


def described_names(model: DualEncoder, names: Sequence[str]) -> list[str]:
    """The names that Molyneux ships a description of (it ships ImageNet's) which the model can read.

    Empty if that is less than `MIN_DESCRIBED` of them: in another list a name may mean another thing than in ImageNet.
    """
    shipped = described_classes()
    found = [name for name in names if name in shipped and _readable(model, shipped[name])]
    return found if len(found) >= MIN_DESCRIBED * len(names) else []


def _readable(model: DualEncoder, text: str) -> bool:
    try:
        model.check_text(text)
    except ModelError:
        return False
    return True


def text_anchors(
    model: DualEncoder,
    images: Sequence[SyntheticImages],
    known: Sequence[str],
    text_anchor: float,
    conse_anchor: float,
) -> tuple[Float[Tensor, "k d"], Tensor, Tensor]:
    """Embeddings, owners and mixing weights of the anchors; none for images without descriptions.

    Args:
        model: embeds the descriptions.
        images: one value for each concept.
        known: names that the model knows; without any there are no ConSE anchors.
        text_anchor: weight of the text anchors; 0 leaves them out.
        conse_anchor: weight of the ConSE anchors; 0 leaves them out.
    """
    found: KnownTexts | None = None
    owners: list[int] = []
    rows, weights = [], []
    for owner, value in enumerate(images):
        if not value.source_descriptions:
            continue
        point = description_embedding(model, value.source_descriptions)
        if text_anchor:
            rows.append(point)
            weights.append(text_anchor)
        if known and conse_anchor:
            found = found or KnownTexts.of(model, known)  # costs time: only if there is a description
            rows.append(conse(point, found.names, found.keys))
            weights.append(conse_anchor)
        owners += [owner] * (len(rows) - len(owners))
    points = torch.cat(rows) if rows else torch.zeros(0, 0)
    return points, torch.tensor(owners, dtype=torch.long), torch.tensor(weights)
