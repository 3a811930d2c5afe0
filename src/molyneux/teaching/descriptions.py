"""What known classes look like, in words: the descriptions that ship with Molyneux, as far as a model can read them."""

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.datasets.imagenet import described_classes
from molyneux.errors import ModelError
from molyneux.shapes import Embeddings
from molyneux.teaching.texts import NAME_PROMPT, KnownNames

MIN_DESCRIBED = 0.5
"""Fraction of names that must have descriptions, and of descriptions that a model must read to the end."""


MIN_NAMES = 20
"""Described names that a regression needs; with fewer, ImageNet's classes come first."""


@torch.no_grad()
def description_embedding(model: DualEncoder, descriptions: Sequence[str]) -> Embeddings:
    """The mean direction of the descriptions' embeddings, (1, d), of unit length."""
    return normalize(model.embed_texts(descriptions).mean(dim=0, keepdim=True), dim=1)


def known_texts(model: DualEncoder, names: KnownNames = ()) -> dict[str, tuple[str, str]]:
    """For each known name: a prompt with it, and how it looks; ImageNet's classes if no names are given.

    Molyneux ships descriptions of ImageNet's classes. If it has a description that the model can read for half of the
    names, and for twenty at least, those are taken. If not, ImageNet's classes come first, and for the names the prompt
    stands for the description. Where the model can read too few of the shipped descriptions, prompts stand for all.
    A mapping brings its own descriptions, and nothing else is read.
    """
    if isinstance(names, Mapping):
        return {name: (NAME_PROMPT.format(name), text) for name, text in names.items()}
    shipped = described_classes()
    readable = {name for name, text in shipped.items() if _readable(model, text)}
    if len(readable) < MIN_DESCRIBED * len(shipped):
        return _named(model, names or tuple(shipped))
    described = {name: (NAME_PROMPT.format(name), shipped[name]) for name in names or shipped if name in readable}
    if len(described) >= max(MIN_DESCRIBED * len(names or shipped), min(MIN_NAMES, len(shipped))):
        return described
    everything = {name: (NAME_PROMPT.format(name), shipped[name]) for name in shipped if name in readable}
    return everything | _named(model, [name for name in names if name not in everything])


def _named(model: DualEncoder, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    prompts = {name: NAME_PROMPT.format(name) for name in names}
    return {name: (prompt, prompt) for name, prompt in prompts.items() if _readable(model, prompt)}


def _readable(model: DualEncoder, text: str) -> bool:
    try:
        model.check_text(text)
    except ModelError:
        return False
    return True
