"""What a whole run is asked to do; importing this needs no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from molyneux.backends.options import Generation, Running
from molyneux.concepts import Concept
from molyneux.datasets.windows import Window
from molyneux.errors import ConfigError
from molyneux.images.choices import SOURCES, source_of
from molyneux.images.config import Control, Executor, ImageRequest, ReplayConfig
from molyneux.inversion.config import InversionConfig
from molyneux.runs.options import check_seed
from molyneux.tasks.classification.prompts import PromptConfig
from molyneux.tasks.localisation.config import SaliencyConfig
from molyneux.teaching.config import LoRA, TeachingConfig

PRESETS: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "inversion": {
        "paper": InversionConfig.paper,
        "authors-code": InversionConfig.authors_code,
        "paper-vilt": InversionConfig.paper_vilt,
    },
    "teaching": {
        "paper": TeachingConfig.paper,
        "paper-matching": TeachingConfig.paper_matching,
        "paper-implicit": TeachingConfig.paper_implicit,
        "paper-captioning": TeachingConfig.paper_captioning,
    },
    "saliency": {"paper": SaliencyConfig.paper},
}
"""The named presets of each group of settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachSettings:
    """Everything that decides the result of a run, and the folder for it."""

    concepts: tuple[Concept, ...]
    out: Path
    model: str = "mini"
    seed: int = 0
    novel: str | Path | None = None
    """Photos of the concepts to score on: a folder with a folder for each, or NAME:FOLDER (`datasets.sets`)."""
    known: str | Path | None = None
    """Photos of known classes, likewise, to measure forgetting."""
    names: str | None = None
    """The known names: 'imagenet-1k' or a file; by default the classes of `known`, or ImageNet's if there are none."""
    drawn: bool = False
    """Whether the novel images are drawings; scores and report then say so."""
    control: Control | None = None
    """Teach on this control's images instead."""
    prompt_config: PromptConfig = field(default_factory=PromptConfig)
    """Prompts for class names in scoring."""
    window: Window = field(default_factory=Window)
    """How DICOM and NIfTI files become images."""
    controls: bool = True
    """Whether all controls are run and scored too, if there are photos of the concepts."""
    fresh: bool = False
    """Without photos: whether the taught model is measured on fresh images of each concept, beside controls. That takes
    up to twice as long as the images; a model that judges pairs reads each image beside all names."""
    images_from: str | None = None
    """What --images-from takes; None for inversion where the lesson needs images, else for none."""
    generation: Generation = field(default_factory=Generation)
    """For images from a text-to-image model: how they are generated."""
    inversion: InversionConfig = field(default_factory=InversionConfig)
    teaching: TeachingConfig = field(default_factory=TeachingConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    running: Running = field(default_factory=Running)
    executor: Executor = "serial"
    show: Path | None = None
    """A folder of photos to look at: those in a sub-folder that is named like a concept show it, others something
    else. The report begins with the answers of all models for them."""
    adapter_only: bool = False
    """Whether only the low-rank adapter is saved, not the whole taught model."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.images_from is not None and self.control is not None:
            raise ConfigError(f"the control {self.control!r} makes images of its own: leave --images-from out")
        if self.teaching.objective.merges and self.replay.count < 2:
            raise ConfigError("replay.count is 1: an edit needs two replay images, better twenty")
        if self.adapter_only and not isinstance(self.teaching.update, LoRA):
            raise ConfigError("there is no adapter to save without a low-rank update: set teaching.update.rank")
        source = SOURCES[source_of(self.images_from)]
        if relaxed(self.inversion) and (source.has_images or not source.inverts):
            raise ConfigError(
                "--inversion.block and --inversion.statistics change nothing without --images-from hidden: give it, or "
                "leave them out"
            )
        if self.generation != Generation() and not SOURCES[source_of(self.images_from)].is_generated:
            raise ConfigError("--generation.* changes nothing without --images-from sdxl: give it, or leave them out")

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The concepts' names, in order."""
        return tuple(concept.name for concept in self.concepts)

    @property
    def saved(self) -> str:
        """The sub-folder for the taught model or adapter."""
        return "adapter" if self.adapter_only else "model"

    @property
    def compares(self) -> bool:
        """Whether the controls are run and scored too."""
        return self.controls and self.control is None and self.novel is not None

    @property
    def image_request(self) -> ImageRequest:
        """Everything that decides the images."""
        return ImageRequest(
            concepts=self.concepts,
            seed=self.seed,
            inversion=self.inversion,
            images_from=self.images_from,
            generation=self.generation,
            control=self.control,
            running=self.running,
            class_names=self.prompt_config.class_names,
            window=self.window,
            needs_images=self.teaching.needs_images,
        )

    @property
    def _makes_images(self) -> bool:
        """Whether the settings of inversion decide anything; noise as a control has the default number of images."""
        source = self.image_request.source
        given = self.control is not None or self.inversion != InversionConfig()
        return source.has_images or source.inverts or given

    def resolved(self) -> dict[str, Any]:
        """Plain data for YAML: everything that decides the result."""
        # pydantic takes a while to import, and --help needs the settings alone
        from molyneux.records import ConceptTexts, RunSettings, ScoringSettings

        window: dict[str, Any] = {} if self.window == Window() else asdict(self.window)
        drawn: dict[str, Any] = {"drawn": True} if self.drawn else {}
        return RunSettings(
            version=1,
            model=self.model,
            **asdict(self.running),
            seed=self.seed,
            control=self.control,
            concepts=tuple(ConceptTexts(**asdict(concept)) for concept in self.concepts),
            images_from=self.images_from,
            generation=asdict(self.generation) if self.image_request.source.is_generated else None,
            inversion=_plain(asdict(self.inversion)) if self._makes_images else None,
            teaching=_plain(asdict(self.teaching)),
            replay=_plain(asdict(self.replay)) if self.teaching.uses_replay else None,
            evaluation=ScoringSettings(
                novel=None if self.novel is None else str(self.novel),
                known=None if self.known is None else str(self.known),
                names=self.names,
                **asdict(self.prompt_config),
                **window,
                **drawn,
                controls=self.compares,
            ),
            **({} if self.show is None else {"show": str(self.show)}),
            adapter_only=self.adapter_only,
            fresh=self.fresh,
        ).as_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertSettings:
    """Concepts to image, and where the images go."""

    concepts: tuple[Concept, ...]
    out: Path
    model: str = "mini"
    seed: int = 0
    inversion: InversionConfig = field(default_factory=InversionConfig)
    running: Running = field(default_factory=Running)
    executor: Executor = "serial"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if relaxed(self.inversion):
            raise ConfigError(
                "inversion.block and inversion.statistics are for hidden states, which are no images: make them with "
                "`molyneux teach --images-from hidden`"
            )

    def resolved(self) -> dict[str, Any]:
        """Plain data for YAML: everything that decides the result."""
        return {
            "model": self.model,
            **asdict(self.running),
            "seed": self.seed,
            "concepts": _concepts(self.concepts),
            "inversion": _plain(asdict(self.inversion)),
        }


def relaxed(inversion: InversionConfig) -> bool:
    """Whether a setting is given that is for hidden states alone."""
    return replace(InversionConfig(), block=inversion.block, statistics=inversion.statistics) != InversionConfig()


def _concepts(concepts: Sequence[Concept]) -> list[dict[str, Any]]:
    return [{"name": concept.name, "descriptions": list(concept.descriptions)} for concept in concepts]


def _plain(value: Any) -> Any:
    """The same with lists for tuples, as YAML and JSON give it back."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
