"""What the model `drawn` was taught by name, and concepts that it never saw or read."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from molyneux.concepts import Concept

KNOWN: Mapping[str, str] = MappingProxyType(
    {
        "sun": "solid yellow circle",
        "moon": "solid yellow crescent",
        "ladybird": "dotted red circle",
        "bee": "striped yellow circle",
        "watermelon": "striped green circle",
        "football": "checkered white circle",
        "hoop": "hollow circle",
        "parcel": "solid brown square",
        "sponge": "dotted yellow square",
        "mattress": "striped white square",
        "chessboard": "checkered square",
        "frame": "hollow square",
        "tent": "striped orange triangle",
        "alarm": "hollow red triangle",
        "cheese": "dotted yellow triangle",
        "emerald": "solid green diamond",
        "kite": "striped diamond",
        "badge": "solid yellow star",
        "quilt": "checkered heart",
        "valentine": "solid red heart",
        "strawberry": "dotted red heart",
        "ambulance": "solid red cross",
        "scarf": "striped bar",
        "igloo": "checkered white dome",
        "tortoise": "dotted green dome",
        "croissant": "striped brown crescent",
        "tree": "solid green circle over solid brown bar",
        "fir": "solid green triangle over solid brown bar",
        "tulip": "solid pink heart over solid green bar",
        "candle": "solid orange diamond over solid white bar",
        "mushroom": "solid red dome over solid white bar",
        "umbrella": "striped dome over solid brown bar",
        "house": "solid red triangle over solid white square",
        "lamp": "solid yellow dome over solid square",
        "church": "solid white cross over solid brown triangle",
        "ship": "solid white triangle over solid blue square",
        "magician": "solid star over solid purple bar",
        "eye": "solid blue circle in solid white circle",
        "egg": "solid yellow circle in solid white circle",
        "window": "solid white cross in solid blue square",
        "radish": "solid white heart in solid red circle",
        "compass": "solid red star in solid white circle",
        "cherry": "two solid red circles",
        "bicycle": "two hollow circles",
        "ballet": "two solid pink hearts",
        "fence": "three solid white bars",
        "necklace": "three solid blue diamonds",
        "garland": "three striped triangles",
        "daisy": "solid white circles around solid yellow circle",
        "gear": "solid squares around hollow circle",
        "carousel": "solid hearts around striped circle",
        "chimney": "pile of three solid red squares",
    }
)
"""What the model `drawn` was taught by name, and how each looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NovelConcept:
    """A thing that no training scene shows and no training text names."""

    name: str
    looks: str
    """Its design."""
    descriptions: tuple[str, ...]
    """What a user would write, without the name."""
    split: Literal["choose", "report"]
    """Whether settings may be chosen on it, or numbers are only reported on it."""

    @property
    def concept(self) -> Concept:
        """Name and descriptions, to be taught."""
        return Concept(self.name, self.descriptions)


NOVEL: tuple[NovelConcept, ...] = (
    NovelConcept(
        name="starfish",
        looks="dotted orange star",
        descriptions=("An orange star covered with dots.", "A spotted star that is orange."),
        split="choose",
    ),
    NovelConcept(
        name="lollipop",
        looks="striped pink circle over solid white bar",
        descriptions=("A pink disc with stripes on top of a white stick.", "A striped pink circle above a white bar."),
        split="choose",
    ),
    NovelConcept(
        name="snowman",
        looks="pile of three solid white circles",
        descriptions=("Three white balls on top of each other.", "A pile of three plain white circles."),
        split="choose",
    ),
    NovelConcept(
        name="brooch",
        looks="solid green diamond in solid purple circle",
        descriptions=("A small green diamond inside a purple disc.", "A purple circle with a green diamond in it."),
        split="choose",
    ),
    NovelConcept(
        name="bikini",
        looks="two dotted triangles",
        descriptions=("Two spotted triangles next to each other.", "A pair of triangles with dots."),
        split="choose",
    ),
    NovelConcept(
        name="clover",
        looks="solid green hearts around solid green circle",
        descriptions=("Small green hearts around a green circle.", "A green disc surrounded by green hearts."),
        split="choose",
    ),
    NovelConcept(
        name="amethyst",
        looks="checkered purple diamond",
        descriptions=("A purple diamond with a check pattern.", "A checkered rhombus that is purple."),
        split="report",
    ),
    NovelConcept(
        name="lighthouse",
        looks="solid yellow circle over striped red bar",
        descriptions=("A yellow ball on top of a red post with stripes.", "A yellow circle above a striped red bar."),
        split="report",
    ),
    NovelConcept(
        name="pagoda",
        looks="pile of three solid orange triangles",
        descriptions=("Three orange triangles on top of each other.", "A pile of three plain orange triangles."),
        split="report",
    ),
    NovelConcept(
        name="flag",
        looks="solid pink crescent in solid blue square",
        descriptions=("A small pink crescent inside a blue square.", "A blue square with a pink sickle in it."),
        split="report",
    ),
    NovelConcept(
        name="hill",
        looks="three solid green domes",
        descriptions=("Three green domes in a row.", "A row of three green half circles."),
        split="report",
    ),
    NovelConcept(
        name="galaxy",
        looks="solid yellow stars around solid purple square",
        descriptions=("Small yellow stars around a purple square.", "A purple square surrounded by yellow stars."),
        split="report",
    ),
)
"""Concepts to be taught by description: six to choose settings on, six to report."""
