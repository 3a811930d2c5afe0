"""The texts that images are compared with: a concept's own, and prompts with known names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from molyneux.concepts import Concept

NAME_PROMPT = "a photo of a {}."

KnownNames: TypeAlias = Sequence[str] | Mapping[str, str]
"""Names that a model knows; a mapping tells of each how it looks."""


def own_texts(concept: Concept, texts: Literal["definition", "names", "both", "description"]) -> tuple[str, ...]:
    """The texts that a concept's images are pulled to.

    >>> own_texts(Concept("ring", "A circle."), "both")
    ('A ring is a circle.', 'a photo of a ring.', 'ring')
    """
    named = (NAME_PROMPT.format(concept.name), concept.name)
    both = (*concept.captions, *named)
    return {"definition": concept.captions, "names": named, "both": both, "description": concept.descriptions}[texts]


def known_prompts(known: KnownNames, concepts: Iterable[Concept]) -> list[str]:
    """A prompt with each known name, without the concepts' names (upper or lower case)."""
    return [NAME_PROMPT.format(name) for name in other_names(known, concepts)]


def other_names(known: KnownNames, concepts: Iterable[Concept]) -> list[str]:
    """The distinct known names, in order, without the concepts' names (upper or lower case)."""
    taken = {concept.name.casefold() for concept in concepts}
    return [name for name in dict.fromkeys(known) if name.casefold() not in taken]
