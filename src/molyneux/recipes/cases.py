"""What the stages of a recipe are made from: a case, told apart from others by all that decides its scores."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.images.choices import taught_controls
from molyneux.images.config import ImageRequest
from molyneux.recipes.schema import Case, Experiment
from molyneux.runs.stage import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCase:
    """What one case asks to be scored; cases that ask for the same share it."""

    experiment: Experiment
    concepts: tuple[Concept, ...]
    """Those taught; where nothing is, all that are scored."""
    data: Mapping[str, str]
    """A digest of each data set."""

    @staticmethod
    def of(case: Case, data: Mapping[str, str]) -> "ScoredCase":
        """What a case asks for; `data` has a digest for each data set of the recipe."""
        experiment = case.experiment
        everything = experiment.read_concepts()
        # an untaught model is scored once for all concepts, however they would have been taught
        if not experiment.taught:
            experiment = experiment.model_copy(update={"only": ()})
        concepts = tuple(one for one in everything if not experiment.only or one.name in experiment.only)
        return ScoredCase(experiment=experiment, concepts=concepts, data={name: data[name] for name in experiment.data})

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything that decides the scores."""
        made = {"inversion", "generation", "images"}
        unused = {"generation"} if self.experiment.images in ("inverted", *taught_controls()) else {"inversion"}
        left_out = (
            unused | (set() if self.experiment.teaches else {"teaching"})
            if self.experiment.taught
            else {*made, "teaching", "seed"}
        )
        about = self.experiment.model_dump(mode="json", exclude={"only", "concepts", *left_out})
        # an untaught model's scores do not depend on descriptions unless these stand in the prompts
        bare = not self.experiment.taught and getattr(self.experiment.evaluate, "described", "no") == "no"
        concepts = [one.name if bare else asdict(one) for one in self.concepts]
        return {"experiment": about, "concepts": concepts, "data": dict(self.data)}

    @property
    def key(self) -> str:
        """A digest of everything that decides the scores."""
        return digest(self.inputs)

    @property
    def images_key(self) -> str:
        """A digest of everything that decides the images."""
        about = self.experiment.model_dump(mode="json", include={"model", "inversion", "generation", "images", "seed"})
        return digest({"experiment": about, "concepts": [asdict(one) for one in self.concepts]})

    def image_request(self, running: Running) -> ImageRequest:
        """What the images are made from."""
        source = self.experiment.images
        return ImageRequest(
            concepts=self.concepts,
            seed=self.experiment.seed,
            inversion=self.experiment.inversion,
            images_from=None if source in taught_controls() else "inversion" if source == "inverted" else source,
            generation=self.experiment.generation,
            control=source if source in taught_controls() else None,
            running=running,
            needs_images=self.experiment.teaching.needs_images,
        )
