"""What `molyneux caption` writes and prints: `scores.json` and `captions.json`. Importing this needs no torch."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from molyneux.records import (
    PLAIN,
    Amount,
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


class Measured(Record):
    """A number, or why there is none; never both."""

    value: Share | None
    reason: str = ""

    @model_validator(mode="after")
    def _number_or_reason(self) -> "Measured":
        if (self.value is None) != bool(self.reason):
            raise PydanticCustomError("whole", "either a number under 'value', or the 'reason' why there is none")
        return self


class CaptionMetrics(Record):
    """How captions compare with what people wrote; see `CaptionScores`."""

    images: Count
    bleu_1: Share
    bleu_2: Share
    bleu_3: Share
    bleu_4: Share
    rouge_l: Share
    cider: Amount
    cider_interval: tuple[Amount, Amount]
    meteor: Measured
    spice: Measured


class ControlMetrics(CaptionMetrics):
    """The same of a model that was taught on what cannot help."""

    model: str


class Gain(Record):
    """By how much a score rose."""

    value: Number


class MeanGain(Gain):
    """The same of a mean over images."""

    interval: Interval


class MeteorGain(Gain):
    """The same of METEOR, which is no mean over images."""

    over_images: MeanGain


class CaptionChange(Record):
    """By how much each score rose."""

    bleu_1: Gain
    bleu_2: Gain
    bleu_3: Gain
    bleu_4: Gain
    rouge_l: MeanGain
    cider: MeanGain
    meteor: MeteorGain | None = None
    spice: MeanGain | None = None


class ComparedMetrics(Record):
    """One model's scores, beside those of its base and of controls."""

    before: CaptionMetrics | None = None
    after: CaptionMetrics
    change: CaptionChange | None = None
    controls: Mapping[str, ControlMetrics]


class Caption(Record):
    """A caption with its score."""

    caption: str
    score: Number


class Sample(Record):
    """A photo with what people wrote and both captions."""

    photo: str
    references: Annotated[Texts, Field(min_length=1)]
    before: Caption
    after: Caption


class Samples(Record):
    """The captions that gained most and those that lost most."""

    by: Literal["meteor", "cider"]
    means: str
    gained: Count
    lost: Count
    improved: tuple[Sample, ...]
    worsened: tuple[Sample, ...]


class CaptionProtocol(Record):
    """All that is needed to say what the captions and the numbers mean."""

    task: Literal["captioning"]
    photos: Count
    image_size: Count
    crop_fraction: Amount
    photo_fit: str
    captioning: Settings
    seed: Count
    references: Count | None = None
    """How many; like all below set where there are any."""
    split: str | None = None
    left_out: Count = 0
    words: str = ""
    cider: str = ""
    java: str | None = None
    interval: Bootstrap | None = None


class CaptionResult(Compared):
    """`scores.json`; what is printed holds the captions too."""

    images: str
    """The folder of the photos."""
    protocol: CaptionProtocol
    captions: Mapping[str, str] = {}
    base_captions: Mapping[str, str] = {}
    scores: ComparedMetrics | None = None
    samples: Samples | None = None


class CaptionEntry(Record):
    """What was said about a photo: before teaching where there is a base, after, and by people where that is known."""

    before: str | None = None
    after: str
    references: Annotated[Texts, Field(min_length=1)] | None = None


class Captions(RootModel[Mapping[str, CaptionEntry]]):
    """`captions.json`: by photo."""

    model_config = PLAIN
