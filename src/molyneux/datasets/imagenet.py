"""The 1,000 ImageNet classes in model order, by the names OpenAI curated for prompts."""

from functools import cache
from importlib import resources


def imagenet_names() -> tuple[str, ...]:
    """The names of the 1,000 classes, in model order.

    Two pairs of classes share a name (missile, sunglasses): 998 names are distinct.

    >>> len(imagenet_names()), imagenet_names()[:2], len(set(imagenet_names()))
    (1000, ('tench', 'goldfish'), 998)
    """
    return tuple(_table().values())


def imagenet_wnids() -> tuple[str, ...]:
    """The WordNet ids of the 1,000 classes, in model order.

    >>> imagenet_wnids()[0]
    'n01440764'
    """
    return tuple(_table())


def name_of_wnid(wnid: str) -> str | None:
    """The name of the class with a WordNet id; None outside ImageNet-1k.

    >>> name_of_wnid("n01440764"), name_of_wnid("n00000000")
    ('tench', None)
    """
    return _table().get(wnid)


@cache
def _table() -> dict[str, str]:
    text = resources.files("molyneux.datasets").joinpath("imagenet-1k.tsv").read_text(encoding="utf-8")
    return dict(line.split("\t") for line in text.splitlines())
