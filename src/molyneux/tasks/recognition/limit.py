"""When no name fits: a limit for the best name's probability, set from texts alone.

A description of a known class is read by the text tower and stands in for a photo of it: its best name should be
probable. The limit is the probability that all but a small share of these stand-ins reach. What softmax leaves is the
difference between scores, so the distance between the two towers' embeddings (the modality gap), which adds about the
same to all scores, has little influence. That the best name's softmax tells known from unknown photos: Ming et al.,
"Delving into Out-of-Distribution Detection with Vision-Language Representations", NeurIPS 2022.
"""

from collections.abc import Mapping, Sequence

import torch

from molyneux.backends.base import DualEncoder
from molyneux.datasets.imagenet import described_classes
from molyneux.datasets.names import name_key
from molyneux.errors import ConfigError, ModelError
from molyneux.tasks.classification.ensembles import Groups, best_of_each
from molyneux.tasks.classification.features import embedded_texts
from molyneux.tasks.recognition.record import Limit

REJECTED = 0.05
"""The share of stand-ins that are turned away."""

FEWEST, MOST = 20, 250
"""How many descriptions a limit is set from; with fewer none is set, of more every n-th is read."""


def text_limit(model: DualEncoder, columns: Groups, names: Sequence[str], rejected: float = REJECTED) -> Limit:
    """The limit for names given as `class_columns`; none if too few of them are described, or `rejected` is 0.

    Raises:
        ConfigError: if `rejected` is not at least 0 and less than 1.
    """
    check_rejected(rejected)
    texts = stand_ins(model, names)
    if len(texts) < FEWEST or not rejected:
        return Limit(probability=None, texts=0)
    seen = torch.cat(list(embedded_texts(model, [[text] for text in texts])))
    scores = best_of_each(seen @ torch.cat(list(columns)).T, [len(rows) for rows in columns])
    best = (scores / model.temperature).softmax(dim=1).amax(dim=1)
    return Limit(probability=float(best.quantile(rejected)), texts=len(texts))


def stand_ins(model: DualEncoder, names: Sequence[str]) -> list[str]:
    """A description of each name that is described, by the model's lesson or with Molyneux; those that it can read."""
    described: Mapping[str, str] = {name_key(name): text for name, text in described_classes().items()}
    described = {**described, **{name_key(one.name): one.descriptions[0] for one in model.concepts}}
    found = [described[name_key(name)] for name in names if name_key(name) in described]
    return [text for text in found[:: -(-len(found) // MOST)] if fits(model, text)] if found else []


def fits(model: DualEncoder, text: str) -> bool:
    """Whether the model reads a text to its end."""
    try:
        model.check_text(text)
    except ModelError:
        return False
    return True


def check_rejected(rejected: float) -> None:
    """Raise ConfigError for a share of stand-ins that cannot be turned away."""
    if not 0 <= rejected < 1:
        raise ConfigError(f"the share of stand-ins to reject is {rejected}: expected at least 0, less than 1")
