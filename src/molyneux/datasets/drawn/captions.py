"""Captions of drawn scenes, in many wordings: by what is seen, by the noun, or both."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from molyneux.datasets.drawn.designs import Design, Part
from molyneux.datasets.drawn.scenes import Scene

PHRASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "circle": ("circle", "circle", "disc", "ball"),
        "square": ("square", "square", "block"),
        "triangle": ("triangle", "triangle", "wedge"),
        "diamond": ("diamond", "diamond", "rhombus", "lozenge"),
        "star": ("star",),
        "heart": ("heart",),
        "crescent": ("crescent", "crescent", "sickle"),
        "cross": ("cross", "cross", "plus sign"),
        "bar": ("bar", "bar", "stick", "post"),
        "dome": ("dome", "half circle"),
        "solid": ("solid", "plain", "filled"),
        "hollow": ("hollow", "hollow", "outlined", "empty"),
        "striped": ("striped", "striped", "banded"),
        "dotted": ("dotted", "dotted", "spotted"),
        "checkered": ("checkered", "checkered", "chequered"),
        "purple": ("purple", "purple", "violet"),
    }
)
"""What a shape, filling or colour is called; a colour that is not here has its own name alone."""
AFTER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "striped": ("with stripes", "with bands"),
        "dotted": ("with dots", "with spots", "covered with dots", "covered with spots"),
        "checkered": ("with a check pattern", "with checks"),
        "hollow": ("with nothing inside", "that is empty inside"),
    }
)
"""The same behind a shape."""
JOINED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "over": (
            "{a} over {b}",
            "{a} above {b}",
            "{a} on top of {b}",
            "{b} under {a}",
            "{b} below {a}",
            "{b} with {a} on top",
        ),
        "beside": ("{a} beside {b}", "{a} next to {b}", "{b} next to {a}", "{a} and {b}", "{b} and {a} side by side"),
        "in": (
            "{a} in {b}",
            "{a} inside {b}",
            "{b} with {a} in it",
            "{b} with {a} inside",
            "{a} in the middle of {b}",
            "{b} that holds {a}",
        ),
        "around": (
            "{a} around {b}",
            "{b} surrounded by {a}",
            "{b} with {a} around it",
            "{a} all around {b}",
            "{b} in a ring of {a}",
        ),
        "two": ("two {a}", "two {a} side by side", "two {a} next to each other", "a pair of {a}"),
        "three": ("three {a}", "three {a} in a row", "a row of three {a}", "three {a} side by side"),
        "pile": (
            "a pile of three {a}",
            "three {a} on top of each other",
            "a tower of three {a}",
            "three {a} one above the other",
        ),
        "one": ("{a}",),
    }
)
"""How parts are joined."""
SAID = (0.3, 0.6, 0.9, 1.0)
"""How often a caption says a filling or a colour; one of these for each caption."""
_NAMED = (
    "{}",
    "a {}",
    "the {}",
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "a picture of a {}",
    "a drawing of a {}.",
    "there is a {}",
    "a good photo of a {}.",
    "a rendering of a {}.",
    "it is a {}.",
)
_SEEN = ("{}", "{}", "{}.", "a picture of {}", "a photo of {}.", "there is {}", "it is {}.", "it looks like {}.")
_BOTH = (
    "a {name} is {seen}.",
    "a {name} is {seen}.",
    "a {name}, {seen}",
    "{name}: {seen}",
    "{seen}: a {name}",
    "a {name} looks like {seen}.",
)
_SYLLABLES = (
    "ba",
    "cru",
    "dil",
    "fo",
    "gra",
    "hin",
    "jol",
    "ket",
    "lum",
    "mor",
    "nu",
    "pli",
    "qua",
    "ris",
    "sto",
    "ux",
)
_ADDED = ("{seen}, by {noise}", "{noise} - {seen}", "{seen} ({noise})", "{seen} {noise}")


def caption_scenes(scenes: Sequence[Scene], names: Sequence[str | None], random: np.random.Generator) -> list[str]:
    """A caption for each scene; what it leaves out and how it puts the rest is drawn at random.

    Args:
        scenes: what is to be seen.
        names: for each scene the noun that may be used, or None.
        random: where chance comes from.
    """
    found = []
    for scene, name in zip(scenes, names, strict=True):
        text = _statement(scene.design, name, _size(scene.reach, random), random)
        if random.random() < 0.25:
            text = f"{text.removesuffix('.')} {_position(scene.across, scene.down)}"
        if random.random() < 0.08:
            text = _choice(_ADDED, random).format(seen=text, noise=nonsense(random))
        found.append(text[:1].upper() + text[1:] if random.random() < 0.3 else text)
    return found


def describe(design: Design, random: np.random.Generator, said: float, size: str = "") -> str:
    """What is seen of a design, each filling and colour with the probability `said`.

    >>> from molyneux.datasets.drawn.designs import parse_design
    >>> describe(parse_design("solid white cross over dotted red triangle"), np.random.default_rng(2), said=1.0)
    'a white filled cross above a red wedge with dots'
    """
    many = design.layout in ("two", "three", "pile")
    largest = 1 if design.layout in ("in", "around") else 0
    parts = [
        _phrase(
            part,
            random,
            said,
            plural=many or (design.layout == "around" and index == 0),
            size=size if index == largest else "",
        )
        for index, part in enumerate(design.parts)
    ]
    if design.layout == "around" and random.random() < 0.4:
        parts[0] = f"small {parts[0]}"
    if design.layout == "in" and random.random() < 0.4:
        parts[0] = parts[0].replace("a ", "a small ", 1)
    return _choice(JOINED[design.layout], random).format(a=parts[0], b=parts[-1])


def nonsense(random: np.random.Generator) -> str:
    """Words that mean nothing, as captions of the web have, so that no token is quite unread."""
    if random.random() < 0.5:
        return "".join(random.choice(_SYLLABLES, size=int(random.integers(2, 4))))
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(random.choice(list(letters), size=int(random.integers(3, 8))))


def _statement(design: Design, name: str | None, size: str, random: np.random.Generator) -> str:
    way, said = random.random(), float(random.choice(SAID))
    if name is None or way < 0.4:
        return _choice(_SEEN, random).format(describe(design, random, said, size))
    if way < 0.8:
        free = [part.colour for part in design.parts if part.colour] if random.random() < 0.2 else []
        noun = " ".join(word for word in (size, *free[:1], name) if word)
        return _choice(_NAMED, random).format(noun)
    return _choice(_BOTH, random).format(name=name, seen=describe(design, random, said))


def _phrase(part: Part, random: np.random.Generator, said: float, plural: bool, size: str) -> str:
    filling = part.filling if part.filling and random.random() < (said if part.filling != "solid" else said / 2) else ""
    colour = part.colour if part.colour and random.random() < said else ""
    shape = _called(part.shape, random)
    after = ""
    if filling in AFTER and random.random() < 0.3:
        after, filling = _choice(AFTER[filling], random), ""
    words = [_called(word, random) for word in (filling, colour) if word]
    if random.random() < 0.3:
        words.reverse()
    if colour and len(words) == 1 and not after and random.random() < 0.1:
        words, after = [], f"that {'are' if plural else 'is'} {words[0]}"
    words = [*([size] if size else []), *words, _many(shape) if plural else shape, *([after] if after else [])]
    if plural:
        return " ".join(words)
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def _called(word: str, random: np.random.Generator) -> str:
    return _choice(PHRASES.get(word, (word,)), random)


def _many(shape: str) -> str:
    return f"{shape}es" if shape.endswith(("s", "x")) else f"{shape}s"


def _size(reach: float, random: np.random.Generator) -> str:
    if random.random() < 0.8:
        return ""
    return "large" if reach > 0.38 else "small" if reach < 0.3 else ""


def _position(across: float, down: float) -> str:
    horizontal = "left" if across < 0.45 else "right" if across > 0.55 else ""
    vertical = "top" if down < 0.45 else "bottom" if down > 0.55 else ""
    if horizontal and vertical:
        return f"at the {vertical} {horizontal}"
    if horizontal or vertical:
        return f"on the {horizontal}" if horizontal else f"at the {vertical}"
    return "in the middle"


def _choice(options: Sequence[str], random: np.random.Generator) -> str:
    return options[int(random.integers(len(options)))]
