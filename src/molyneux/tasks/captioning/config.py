"""The settings of captioning; importing this needs no torch."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from molyneux.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptioningConfig:
    """How a caption is chosen among all that the model could write."""

    method: Literal["beam", "greedy", "top_p"] = "beam"
    """The likeliest that a beam finds; the likeliest token each time; or tokens drawn from the likeliest ones."""
    longest: int = 30
    """Most tokens of a caption, start and end included; one that has not ended by then is cut."""
    shortest: int = 0
    """Fewest tokens of a caption, start and end included."""
    beams: int = 6
    """Beam search: how many captions are kept at a time; 1 is the greedy method."""
    length_power: float = 0.0
    """Beam search: captions are compared by log-probability divided by (tokens after the start) to this power;
    0 compares probabilities, which favours short captions, 1 the mean over tokens."""
    top_p: float = 0.9
    """Drawing: the likeliest tokens that together have this probability; 0 takes the one likeliest, 1 all."""
    temperature: float = 1.0
    """Drawing: below 1 the likely tokens become likelier."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"captioning.{item.name} is {value}: expected a finite number of at least 0")
        if self.longest < 2:
            raise ConfigError(f"captioning.longest is {self.longest}: expected at least 2, for start and end")
        if self.shortest > self.longest:
            raise ConfigError(f"captioning.shortest is {self.shortest}: expected at most the longest, {self.longest}")
        if self.beams < 1:
            raise ConfigError(f"captioning.beams is {self.beams}: expected a whole number of at least 1")
        if self.top_p > 1:
            raise ConfigError(f"captioning.top_p is {self.top_p}: expected a share between 0 and 1")
        if self.temperature == 0:
            raise ConfigError("captioning.temperature is 0: expected more, or the method 'greedy'")
