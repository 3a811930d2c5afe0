"""The 1,000 ImageNet classes in model order, under each of the names that are in use.

The order is that of the sorted WordNet ids. `imagenet-1k.tsv` is written by `scripts/write_imagenet_names.py`: OpenAI's
curated names (MIT licence) and the lemmas of WordNet 3.0 (Copyright 2006 by Princeton University, WordNet licence).
"""

from functools import cache
from importlib import resources
from typing import Literal

ClassNames = Literal["openai", "wordnet", "wordnet-all"]
"""'openai': curated for prompts. 'wordnet': the first lemma, as the paper's figures have it. 'wordnet-all': all of the
synset's lemmas with commas between them."""

CLASS_NAMES: dict[ClassNames, str] = {
    "openai": "OpenAI's names, curated for prompts",
    "wordnet": "the first lemma of each WordNet synset",
    "wordnet-all": "all lemmas of each WordNet synset, with commas between them",
}

SameNames = Literal["merged", "index"]
"""Of classes that share a name: 'merged', they are one class; 'index', each is its own, as where class names are rows
and the best row is the answer: the rows score the same, `argmax` takes the first, and photos of the others are never
right."""

SAME_NAMES: dict[SameNames, str] = {
    "merged": "classes that share a name are one class",
    "index": "classes by index: of those that share a name the first is always the answer",
}


def imagenet_names(class_names: ClassNames = "openai") -> tuple[str, ...]:
    """The names of the 1,000 classes, in model order.

    Some classes share a name: of OpenAI's (missile, sunglasses) and of WordNet's first lemmas (crane, maillot) 998
    are distinct.

    >>> len(imagenet_names()), imagenet_names()[:2], len(set(imagenet_names()))
    (1000, ('tench', 'goldfish'), 998)
    >>> imagenet_names("wordnet")[821], len(set(imagenet_names("wordnet")))
    ('steel arch bridge', 998)
    >>> imagenet_names("wordnet-all")[2]
    'great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias'
    """
    return tuple(names[class_names] for names in _table().values())


def imagenet_wnids() -> tuple[str, ...]:
    """The WordNet ids of the 1,000 classes, in model order.

    >>> imagenet_wnids()[0]
    'n01440764'
    """
    return tuple(_table())


@cache
def imagenet_descriptions() -> tuple[tuple[str, str], ...]:
    """How each of the 1,000 classes looks, in model order: a sentence, and a phrase of a few words.

    Written for Molyneux by a language model that was given name and WordNet definition; the class's name is in neither.

    >>> imagenet_descriptions()[1][1]
    'small bright orange swimmer with flowing tail, aquarium'
    """
    text = resources.files("molyneux.datasets").joinpath("imagenet-descriptions.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return tuple((sentence, phrase) for _, sentence, phrase in rows)


def described_classes() -> dict[str, str]:
    """Name to sentence of `imagenet_descriptions`, for OpenAI's names and for WordNet's first lemmas.

    Of classes that share a name the first is kept.

    >>> described_classes()["steel arch bridge"] == described_classes()["through arch bridge"]
    True
    """
    found: dict[str, str] = {}
    for class_names in ("openai", "wordnet"):
        for name, (sentence, _) in zip(imagenet_names(class_names), imagenet_descriptions(), strict=True):
            found.setdefault(name, sentence)
    return found


def name_of_wnid(wnid: str, class_names: ClassNames = "openai") -> str | None:
    """The name of the class with a WordNet id; None outside ImageNet-1k.

    >>> name_of_wnid("n01440764"), name_of_wnid("n00000000")
    ('tench', None)
    """
    names = _table().get(wnid)
    return None if names is None else names[class_names]


@cache
def _table() -> dict[str, dict[ClassNames, str]]:
    text = resources.files("molyneux.datasets").joinpath("imagenet-1k.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {
        wnid: {"openai": curated, "wordnet": lemmas.split(", ")[0], "wordnet-all": lemmas}
        for wnid, curated, lemmas in rows
    }
