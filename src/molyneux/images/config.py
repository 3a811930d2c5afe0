"""Which images a run teaches on; importing this needs no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from molyneux.backends.options import Generation, Running
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import ClassNames
from molyneux.datasets.windows import Window
from molyneux.errors import ConfigError
from molyneux.inversion.config import InversionConfig

Control = Literal["noise", "shuffled"]

Executor = Literal["serial", "ray"]
"""Where images are made: here, one concept after the other, or on a Ray cluster; it changes no pixel."""

NO_IMAGES = "none"
"""In place of images: the points where the words themselves are in the shared space."""

MOST_REPLAYED = 993
"""ImageNet's distinct names without a slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """Which inverted images of known classes stand for what must not be forgotten."""

    count: int = 80
    """Known classes, drawn at random from ImageNet's names."""
    seed: int = 0
    """Decides which classes, and their images; not the run's seed, so that runs share the set."""
    together: int = 20
    """Classes inverted in one job; a prior on statistics holds over them together."""
    inversion: InversionConfig = field(default_factory=lambda: InversionConfig(steps=60))
    """How the classes are depicted, one image each."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST_REPLAYED:
            raise ConfigError(f"replay.count is {self.count}: expected 1 to {MOST_REPLAYED}")
        if self.together < 1:
            raise ConfigError(f"replay.together is {self.together}: expected a whole number of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """All that decides a run's images."""

    concepts: tuple[Concept, ...]
    seed: int
    inversion: InversionConfig
    images_from: str | None = None
    """None inverts; else a folder with a folder for each concept, 'sdxl[:MODEL]', or 'none'."""
    generation: Generation = field(default_factory=Generation)
    control: Control | None = None
    running: Running = field(default_factory=Running)
    class_names: ClassNames = "openai"
    """Which names the folders of external images go by."""
    window: Window = field(default_factory=Window)
    needs_images: bool = True
    """Whether the teaching that follows learns nothing without images."""

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The concepts' names, in order."""
        return tuple(concept.name for concept in self.concepts)


def without_images(images_from: str | None) -> bool:
    """Whether there are to be no images; a folder that is called so is a folder."""
    return images_from == NO_IMAGES and not Path(NO_IMAGES).is_dir()
