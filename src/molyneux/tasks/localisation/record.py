"""What `molyneux localise` writes: `scores.json` and `gallery/gallery.json`. Importing this needs no torch."""

from collections.abc import Mapping

from pydantic import RootModel, model_validator
from pydantic_core import PydanticCustomError

from molyneux.records import (
    PLAIN,
    Bootstrap,
    Compared,
    Count,
    Interval,
    Number,
    Record,
    Settings,
    Share,
    Texts,
)


class Spread(Record):
    """The mean of a number over images, with its bootstrap interval."""

    mean: Number
    interval: Interval


class HeatSpreads(Record):
    """How heat maps lie on what is marked."""

    energy_ratio: Spread
    pointing: Spread


class MaskSpreads(Record):
    """How masks agree with what is marked."""

    dice: Spread
    iou: Spread
    contour_dice: Spread
    slice_dice: Spread


class Stages(Record):
    """Heat maps, the masks made of them, and with a Segment Anything Model its masks."""

    heat: HeatSpreads
    mask: MaskSpreads
    sam: MaskSpreads | None = None


class Seen(Record):
    """One model's numbers for the text, for a text that means nothing, and their differences image by image."""

    text: Stages
    gibberish: Stages
    text_minus_gibberish: Stages


class Chance(Record):
    """What chance reaches."""

    energy_ratio: Number
    pointing: Share


class LocaliseProtocol(Record):
    """All that is needed to say what the numbers mean."""

    set: str
    images: Count
    marked_images: Count
    left_out: Count
    texts: Texts
    gibberish: str
    saliency: Settings
    blocks: Mapping[str, tuple[Count, Count]]
    """By model, the block that was looked into and how many there are."""
    masks: Settings
    sam: str
    image: str
    metrics: Mapping[str, str]
    interval: Bootstrap


class LocaliseResult(Compared):
    """`scores.json`."""

    chance: Chance
    protocol: LocaliseProtocol
    before: Seen | None = None
    after: Seen
    change: Stages | None = None
    controls: Mapping[str, Seen]

    @model_validator(mode="after")
    def _same_stages(self) -> "LocaliseResult":
        models = [one for one in (self.before, self.after, *self.controls.values()) if one is not None]
        parts = [part for one in models for part in (one.text, one.gibberish, one.text_minus_gibberish)]
        with_sam = {part.sam is not None for part in (*parts, self.change) if part is not None}
        if len(with_sam) > 1:
            raise PydanticCustomError("whole", "'sam' in each part or in none")
        return self


class Card(Record):
    """An image of the gallery, with what was looked for and its pictures: what each shows, and its file's name."""

    name: str
    texts: Texts
    figures: tuple[tuple[str, str], ...]


class Gallery(RootModel[tuple[Card, ...]]):
    """`gallery/gallery.json`."""

    model_config = PLAIN
