"""The texts that images are compared with: a concept's own, and prompts with known names."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from molyneux.concepts import Concept
from molyneux.errors import ConfigError, DataError
from molyneux.foreign import read_text

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


CAPTION_TEMPLATES = ("paper", "coco")
"""The sets of target captions that ship with Molyneux."""


def caption_templates(spec: str = "paper") -> tuple[str, ...]:
    """The target captions of that name, else the lines of a text file; empty lines and those with '#' first are none.

    Raises:
        DataError: if the file cannot be read.
        ConfigError: if it holds no caption, or one without '{}' exactly once.

    >>> len(caption_templates()), caption_templates()[0], caption_templates("coco")[0]
    (26, 'a bad photo of a {}.', 'A close up of a {}.')
    """
    if spec in CAPTION_TEMPLATES:
        text = resources.files("molyneux.teaching").joinpath("captions", f"{spec}.txt").read_text("utf-8")
    else:
        try:
            text = read_text(Path(spec), "the caption templates in")
        except DataError as error:
            raise DataError(f"{error}; expected 'paper', 'coco' or a text file with one a line") from error
    lines = (" ".join(line.split()) for line in text.splitlines())
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found:
        raise ConfigError(
            f"the caption templates in {spec} are none: expected one a line, such as 'A photo of a {{}}.'"
        )
    wrong = next((line for line in found if line.count("{}") != 1), None)
    if wrong is not None:
        raise ConfigError(f"the caption template {wrong!r} in {spec} must hold '{{}}' once, where the name goes")
    return found
