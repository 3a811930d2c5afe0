"""A concept is a name and words about how it looks; nothing here needs a model."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from molyneux.arguments import check_kind
from molyneux.errors import ConceptError
from molyneux.files import slug
from molyneux.foreign import is_blank, read_json, read_yaml, shown, unpaired, unprintable

LONGEST_NAME = 100

_KEYS = ("description", "descriptions")
"""What a file of one concept, laid out as people guess, would have beside its name."""

LONGEST_DESCRIPTION = 10_000
"""Characters; no model reads a tenth of them."""


@dataclass(frozen=True, slots=True)
class Concept:
    """Something to be taught: its name and one or more visual descriptions that do not use the name.

    Raises:
        ConceptError: for an empty, overlong or path-like name, or an empty description.

    >>> Concept("moongate", "A circular archway built of stone.").captions
    ('A moongate is a circular archway built of stone.',)
    """

    name: str
    descriptions: tuple[str, ...]

    def __init__(self, name: str, descriptions: str | Iterable[str]) -> None:
        check_kind(name, str, "the concept's name", "a word such as 'moongate'", ConceptError)
        what = f"the description of {name[:LONGEST_NAME]!r}"
        check_kind(descriptions, Iterable, what, "a sentence, or several, on how it looks", ConceptError)
        texts = (descriptions,) if isinstance(descriptions, str) else tuple(descriptions)
        for text in texts:
            check_kind(text, str, what, "a sentence, or several, on how it looks", ConceptError)
        object.__setattr__(self, "name", _checked_name(name))
        object.__setattr__(self, "descriptions", tuple(_checked_description(self.name, t) for t in texts))
        if not texts:
            raise ConceptError(f"concept {self.name!r} has no description: give at least one sentence on how it looks")

    @property
    def slug(self) -> str:
        """The name as a safe file name."""
        return slug(self.name)

    @property
    def captions(self) -> tuple[str, ...]:
        """'A NAME is DESCRIPTION' for each description, its first letter lower-cased (paper, 3.1.2)."""
        return tuple(definition(self.name, text) for text in self.descriptions)


def definition(name: str, description: str) -> str:
    """'A NAME is DESCRIPTION', the description's first letter lower-cased (paper, 3.1.2).

    >>> definition("moongate", "A circular archway.")
    'A moongate is a circular archway.'
    """
    return f"A {name} is {description[:1].lower()}{description[1:]}"


def check_distinct(concepts: Iterable[Concept]) -> tuple[Concept, ...]:
    """The concepts as a tuple.

    Raises:
        ConceptError: if there are none, or two names differ in case only or not at all.
    """
    found = tuple(concepts)
    if not found:
        raise ConceptError("no concept given: expected at least one name with a description")
    seen: dict[str, str] = {}
    for concept in found:
        key = concept.name.casefold()
        if key in seen:
            raise ConceptError(f"two concepts are called {concept.name!r}: give each concept a name of its own")
        seen[key] = concept.name
    return found


def read_concepts(path: Path) -> tuple[Concept, ...]:
    """Read a JSON or YAML file that maps each name to a description, a list of them, or {descriptions: ...}.

    Raises:
        ConceptError: if the file cannot be read, is no such mapping, repeats a name or has unknown keys.
    """
    return check_distinct(Concept(name, texts) for name, texts in read_descriptions(path).items())


def read_descriptions(path: Path) -> dict[str, tuple[str, ...]]:
    """What a concept file holds, by name; names that no concept may have, with a slash, are read as well.

    Raises:
        ConceptError: as `read_concepts`.
    """
    path = Path(path)
    what = "the concept file"
    read = read_json if path.suffix.lower() == ".json" else read_yaml
    content = read(path, what, error=ConceptError)
    if isinstance(content, dict) and "name" in content and len(content) > 1 and content.keys() <= {"name", *_KEYS}:
        raise ConceptError(
            f"{path} has the key 'name', which is no concept: expected the name itself as the key, as in "
            f"'{_said_name(content['name'])}: DESCRIPTION'"
        )
    if not isinstance(content, dict):
        raise ConceptError(f"{path}: expected a mapping of name to description, got {type(content).__name__}")
    return dict(_entry(path, name, entry) for name, entry in content.items())


def _entry(path: Path, name: object, entry: object) -> tuple[str, tuple[str, ...]]:
    if isinstance(entry, Mapping):
        unknown = sorted(str(key) for key in entry if key != "descriptions")
        if unknown:
            raise ConceptError(
                f"{path}: concept {shown(name)} has the unknown key {shown(unknown[0])}: known is 'descriptions'"
            )
        entry = entry.get("descriptions", ())
    if not isinstance(name, str):
        raise ConceptError(
            f"{path}: a name was read as {shown(name)}, which is no text: put it in double quotes, since YAML takes "
            "no, yes, on, off, null, numbers and dates for something else"
        )
    if not isinstance(entry, str | list) or not all(isinstance(e, str) for e in entry):
        raise ConceptError(
            f"{path}: expected text or a list of texts for {shown(name)}, got {shown(entry)}; put a text that is no, "
            "yes, a number or a date in double quotes"
        )
    if not name.strip():
        raise ConceptError(f"{path}: a name is empty, that of {shown(entry)}: expected a word such as 'moongate'")
    return name, (entry,) if isinstance(entry, str) else tuple(entry)


def _said_name(name: object) -> str:
    return name if isinstance(name, str) and not unprintable(name) and len(name) <= LONGEST_NAME else "NAME"


def _checked_name(name: str) -> str:
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean:
        raise ConceptError("the concept's name is empty: expected a word such as 'moongate'")
    if len(clean) > LONGEST_NAME:
        raise ConceptError(f"the concept's name has {len(clean)} characters: expected at most {LONGEST_NAME}")
    bad = next((letter for letter in clean if letter in "/\\"), None) or unprintable(clean)
    if bad is not None:
        raise ConceptError(f"the concept's name {clean!r} contains {bad!r}: expected plain words without slashes")
    return clean


def _checked_description(name: str, text: str) -> str:
    clean = " ".join(text.split())
    if is_blank(clean):
        raise ConceptError(f"a description of {name!r} is empty: expected a sentence on how it looks")
    if len(clean) > LONGEST_DESCRIPTION:
        raise ConceptError(
            f"a description of {name!r} has {len(clean):,} characters: expected at most {LONGEST_DESCRIPTION:,}"
        )
    control = next((letter for letter in clean if unicodedata.category(letter) == "Cc"), None)
    if control is not None:
        raise ConceptError(f"a description of {name!r} contains {control!r}: expected plain text")
    if unpaired(clean):
        raise ConceptError(f"a description of {name!r} holds half a character: expected text in UTF-8")
    return clean
