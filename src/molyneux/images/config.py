"""Which images a run teaches on; importing this needs no torch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from molyneux.backends.options import Generation, Running
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import ClassNames
from molyneux.datasets.windows import Window
from molyneux.errors import ConfigError
from molyneux.images.choices import SOURCES, SourceKind, source_of, taught_controls
from molyneux.inversion.config import InversionConfig

if TYPE_CHECKING:
    Control = str
else:
    Control = Literal[*taught_controls()]

Executor = Literal["serial", "ray"]
"""Where images are made: one concept after the other on this machine, or on a Ray cluster. The pixels are the same."""

MOST_REPLAYED = 993
"""Number of ImageNet's distinct names without a slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """Replay images: inverted images of known classes.

    An edit reads from them where a model's images lie. A contrastive loss keeps the untaught model's answers on them.
    """

    count: int = 20
    """Number of known classes, drawn at random from ImageNet's names."""
    seed: int = 0
    """Decides the classes and their images. It is not the run's seed, so that runs share the images."""
    together: int = 20
    """Classes inverted in one job; priors on statistics apply to all images of a job together."""
    inversion: InversionConfig = field(
        default_factory=lambda: InversionConfig(
            steps=6, learning_rate=0.2, affine_probability=0.0, color_shift=0.0, noise=0.0
        )
    )
    """How the images are inverted, one for each class: without random views, so that a few long steps are enough."""

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
    """What --images-from takes; None for inversion where the lesson needs images, else for none."""
    generation: Generation = field(default_factory=Generation)
    control: Control | None = None
    running: Running = field(default_factory=Running)
    class_names: ClassNames = "openai"
    """Which names the folders of external images have."""
    window: Window = field(default_factory=Window)
    needs_images: bool = True
    """Whether the lesson that follows cannot do without images."""

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The concepts' names, in order."""
        return tuple(concept.name for concept in self.concepts)

    @property
    def source(self) -> SourceKind:
        """The row of `SOURCES`."""
        return SOURCES[source_of(self.images_from, needs_images=self.needs_images)]
