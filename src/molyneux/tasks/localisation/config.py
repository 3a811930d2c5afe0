"""The settings of heat maps; importing this needs no torch."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from molyneux.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SaliencyConfig:
    """How an information bottleneck is put into a vision tower (M2IB, and IBA before it).

    There is no `var`, although M2IB and MedCLIP-SAMv2 search over it: their code stores it and uses it nowhere, so
    that such a search compares seeds. What `beta` and the block are by default was chosen for `mini`, on half of a
    sample of COCO's photos; with other models it is untried.
    """

    beta: float = 1.0
    """The price of information against similarity to the text, per nat of a mean element."""
    block: int = 0
    """After how many of the tower's blocks the bottleneck lies; 0 is two thirds of a transformer's, and all but one of
    a convolutional network's."""
    steps: int = 10
    """Of Adam."""
    draws: int = 10
    """Noises that each step averages over."""
    learning_rate: float = 1.0
    noise: Literal["layer", "standard"] = "layer"
    """What takes a lost value's place: noise of the channel's own mean and deviation in that image, as IBA has it;
    or N(0, 1) whatever the values are, as in M2IB, which presumes tokens of about that size."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "draws"):
            _check(self, name, getattr(self, name) >= 1, "a whole number of at least 1")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float):
                _check(self, field.name, math.isfinite(value) and value >= 0, "a finite number of at least 0")

    @classmethod
    def paper(cls) -> "SaliencyConfig":
        """What MedCLIP-SAMv2 runs with where nothing is searched for: a vision transformer's eighth block of twelve."""
        return cls(beta=0.1, noise="standard", block=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskConfig:
    """How a heat map becomes a mask, and what the Segment Anything Model is asked with."""

    method: Literal["k-means", "otsu", "threshold"] = "k-means"
    """The brighter of two clusters of values; the same of values in 256 levels, which is Otsu's threshold and what the
    published pipeline's k-means sees; or what lies above `level`."""
    level: float = 0.3
    """Of 'threshold'."""
    pieces: int = 1
    """How many of the largest connected pieces are kept; 0 keeps all."""
    ask: Literal["box", "boxes", "points"] = "box"
    """With one box around the mask, one around each piece, or random points in it."""
    points: int = 10
    """Of 'points'."""

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 1:
            raise ConfigError(f"masks.level is {self.level}: expected 0 to 1")
        if self.pieces < 0 or self.points < 1:
            raise ConfigError(
                f"masks.pieces is {self.pieces} and masks.points {self.points}: expected at least 0, and at least 1"
            )


def _check(config: SaliencyConfig, name: str, fine: bool, expected: str) -> None:
    if not fine:
        raise ConfigError(f"saliency.{name} is {getattr(config, name)!r}: expected {expected}")
