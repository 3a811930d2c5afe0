"""What descriptions achieve without teaching: the baselines that put words in place of names."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from molyneux.concepts import Concept, definition
from molyneux.datasets.names import name_key
from molyneux.errors import ConfigError
from molyneux.tasks.classification.features import name_texts
from molyneux.tasks.classification.prompts import PROMPTS

ValueT = TypeVar("ValueT")

Naming = Literal["asymmetric", "symmetric"]
"""Who is described: the novel names alone, or all."""

_STAND_ALONE = frozenset(("has", "often", "typically", "may", "can"))


def descriptor_sentence(name: str, descriptor: str) -> str:
    """'NAME, which (is|has) DESCRIPTOR.', the verb chosen by the descriptor's first word.

    'is' before 'a', 'an' and 'used'; none before 'has', 'often', 'typically', 'may' and 'can'; else 'has'.

    Source: Menon & Vondrick (2023), Visual Classification via Description from Large Language Models.

    >>> descriptor_sentence("hen", "a small bird"), descriptor_sentence("hen", "two legs")
    ('hen, which is a small bird.', 'hen, which has two legs.')
    >>> descriptor_sentence("hen", "often brown"), descriptor_sentence("hen", "used for eggs")
    ('hen, which often brown.', 'hen, which is used for eggs.')
    """
    words = descriptor.split()
    first = words[0].lower() if words else ""
    verb = ["is"] if first in ("a", "an", "used") else [] if first in _STAND_ALONE else ["has"]
    return f"{name}, which {' '.join([*verb, *words])}".rstrip(".") + "."


def descriptor_texts(names: Sequence[str], descriptors: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """For each name its descriptors as sentences, or the bare name with a full stop where it has none.

    They are meant to be scored by the ensemble 'logits': the mean of their cosines.

    Raises:
        ConfigError: if descriptors are given for a name that is not among `names`.

    Source: as for `descriptor_sentence`.

    >>> descriptor_texts(["hen", "cup"], {"hen": ["two legs", "a beak"]})
    [['hen, which has two legs.', 'hen, which is a beak.'], ['cup.']]
    """
    own = _by_key(descriptors, names)
    return [[descriptor_sentence(name, text) for text in own.get(name_key(name), ())] or [f"{name}."] for name in names]


def definition_texts(
    known: Sequence[str],
    novel: Sequence[Concept],
    *,
    naming: Naming = "asymmetric",
    descriptions: Mapping[str, str] | None = None,
    prompts: Sequence[str] = PROMPTS,
) -> list[list[str]]:
    """For each known name, then each novel concept, the texts that stand for it in the paper's baseline.

    A novel concept's are its definitions, 'A NAME is DESCRIPTION'. Known names are put into the prompts
    ('asymmetric') or defined like the novel ones ('symmetric'), for which each needs a text in `descriptions`. The
    paper does not say which of the two its Table 2 has.

    Raises:
        ConfigError: if `naming` is 'symmetric' and a known name has no description, or a description is of no
            known name.
    """
    defined = [list(concept.captions) for concept in novel]
    if naming == "asymmetric":
        return name_texts(known, prompts) + defined
    own = _by_key(descriptions or {}, known)
    bare = [name for name in known if name_key(name) not in own]
    if bare:
        raise ConfigError(
            f"{len(bare)} of {len(known)} known names have no description, the first is {bare[0]!r}: "
            "expected one for each, or the naming 'asymmetric'"
        )
    return [[definition(name, own[name_key(name)])] for name in known] + defined


def _by_key(given: Mapping[str, ValueT], names: Sequence[str]) -> dict[str, ValueT]:
    keys = {name_key(name) for name in names}
    stray = next((name for name in given if name_key(name) not in keys), None)
    if stray is not None:
        raise ConfigError(f"a description is given for {stray!r}, which is none of the {len(names)} names: remove it")
    return {name_key(name): value for name, value in given.items()}
