"""A concept's words as points of the shared space, to be learned from beside its images."""

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
"""Temperature of the consensus, over cosines less the mean of what is compared with."""


def nothing_to_learn(name: str) -> str:
    """What to say of a concept without images that a lesson cannot learn from words either."""
    return (
        f"{name!r} has nothing to learn from: give images; words alone need teaching.update.part 'embedding_map', "
        "teaching.mixup, and teaching.text_anchor or known names with teaching.conse_anchor"
    )


@torch.no_grad()
def description_embedding(model: DualEncoder, descriptions: Sequence[str]) -> Embeddings:
    """What inversion of no layer at all gives, (1, d): the mean direction of the words.

    Eq. 5 of the paper's appendix inverts only the layers above a chosen one; above the shared space there is none, and
    the point that matches the words best is where they are themselves.
    """
    return normalize(model.embed_texts(descriptions).mean(dim=0, keepdim=True), dim=1)


@torch.no_grad()
def conse(points: Embeddings, names: Float[Tensor, "m d"], keys: Float[Tensor, "m d"]) -> Embeddings:
    """The known names that each point is most like, blended by how much (ConSE; Norouzi et al., 2014), (n, d).

    A text that describes lies apart from texts that name, and images were learned by names: the blend is where a
    model that knows those names alone would look for the described thing. What is like is seen by the keys: the
    names, or better, since descriptions are compared, what describes them.
    """
    centre = keys.mean(dim=0)
    likeness = normalize(points - centre, dim=1) @ normalize(keys - centre, dim=1).T
    return normalize((likeness / TEMPERATURE).softmax(dim=1) @ names, dim=1)


MIN_DESCRIBED = 0.9
"""Share of known names that must have descriptions if any is to be used."""


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """What the model knows by name, for the consensus: row by row a name and its key."""

    names: Float[Tensor, "m d"]
    keys: Float[Tensor, "m d"]

    @classmethod
    @torch.no_grad()
    def of(cls, model: DualEncoder, names: Sequence[str]) -> "KnownTexts":
        """By descriptions, if there are any for `described_names`; else by the names themselves."""
        described, shipped = described_names(model, names), described_classes()
        prompts = model.embed_texts([NAME_PROMPT.format(name) for name in described or names])
        return cls(prompts, model.embed_texts([shipped[name] for name in described]) if described else prompts)


def described_names(model: DualEncoder, names: Sequence[str]) -> list[str]:
    """Those names that Molyneux has a description of (it has ImageNet's) which the model can read.

    None at all unless these are nearly all: in other lists a name may well mean another thing than in ImageNet.
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
    """Rows, owners and weights of the points that the images' words stand for; no rows for images without words.

    Args:
        model: what reads the words.
        images: one value for each concept; those of another source than inversion have no words.
        known: names that the model knows; without any there is no consensus.
        text_anchor: weight of the words themselves; 0 leaves them out.
        conse_anchor: weight of their consensus; 0 leaves it out.
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
            found = found or KnownTexts.of(model, known)  # not before there are words to compare
            rows.append(conse(point, found.names, found.keys))
            weights.append(conse_anchor)
        owners += [owner] * (len(rows) - len(owners))
    points = torch.cat(rows) if rows else torch.zeros(0, 0)
    return points, torch.tensor(owners, dtype=torch.long), torch.tensor(weights)
