"""A recipe's stages: images, and scores of a model taught on them. Each is kept by all that decides it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.files import write_json
from molyneux.images.choices import taught_controls
from molyneux.images.config import ImageRequest
from molyneux.images.jobs import ImageMaker
from molyneux.images.sources import run_images
from molyneux.pipeline.public import teach
from molyneux.recipes.schema import Case, Experiment
from molyneux.recipes.tasks import Base, Data, Place, score
from molyneux.runs.folder import RunFolder
from molyneux.runs.options import Progress
from molyneux.runs.stage import Stage, digest

STAGES, IMAGES, KEPT = "stages", "images", "reports"


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
        cost = self.experiment.evaluate.task == "cost"
        left_out = unused | ({"teaching"} if cost else set()) if self.experiment.taught else {*made, "teaching", "seed"}
        about = self.experiment.model_dump(mode="json", exclude={"only", "concepts", *left_out})
        # an untaught model's scores do not depend on descriptions unless these stand in the prompts
        bare = not self.experiment.taught and getattr(self.experiment.evaluate, "described", "no") == "no"
        concepts = [one.name if bare else asdict(one) for one in self.concepts]
        return {"experiment": about, "concepts": concepts, "data": dict(self.data)}

    @property
    def file(self) -> str:
        """Where the scores are kept, relative to the run's folder."""
        return f"{STAGES}/{digest(self.inputs)}.json"

    @property
    def images_key(self) -> str:
        """A digest of everything that decides the images."""
        about = self.experiment.model_dump(mode="json", include={"model", "inversion", "generation", "images", "seed"})
        return digest({"experiment": about, "concepts": [asdict(one) for one in self.concepts]})

    def stage(
        self, base: Callable[[], Base], data: Data, folder: RunFolder, running: Running, on_step: Progress | None
    ) -> Stage:
        """The stage that makes the images, teaches and scores; `base` loads the untaught model."""

        def make() -> None:
            key = digest(self.inputs)
            untaught = base()
            student = untaught.model
            if self.experiment.taught and self.experiment.evaluate.task != "cost":
                student = self.taught(student, folder, running, on_step)
            place = Place(kept=folder.root / KEPT / key, work=folder.work / key)
            found = score(
                student, untaught, self.experiment, self.concepts, data, place, running=running, on_step=on_step
            )
            content = {
                "experiment": self.experiment.model_dump(mode="json"),
                "concepts": [one.name for one in self.concepts],
                "data": dict(self.data),
                "scores": found,
            }
            write_json(folder.root / self.file, content)

        kind = self.experiment.evaluate.task
        return Stage(name=f"{kind}/{digest(self.inputs)}", inputs=self.inputs, files=(self.file,), make=make)

    def scores(self, root: Path) -> dict[str, Any]:
        """What the finished stage left below `root`."""
        found: dict[str, Any] = json.loads((root / self.file).read_text(encoding="utf-8"))["scores"]
        return found

    def image_request(self, running: Running) -> ImageRequest:
        """What the images are made from."""
        source, controls = self.experiment.images, taught_controls()
        return ImageRequest(
            concepts=self.concepts,
            seed=self.experiment.seed,
            inversion=self.experiment.inversion,
            images_from=None if source == "inverted" or source in controls else source,
            generation=self.experiment.generation,
            control=source if source in controls else None,
            running=running,
            needs_images=not self.experiment.teaching.uses_text_anchors,
        )

    def taught(
        self, model: VisionLanguageModel, folder: RunFolder, running: Running, on_step: Progress | None
    ) -> VisionLanguageModel:
        """A copy of the model that was taught on the images, which are made first."""
        key = self.images_key
        image_maker = ImageMaker(model=model, name=self.experiment.model, running=running, folder=folder)
        request = self.image_request(running)
        images = run_images(image_maker, request, folder.root / IMAGES / key, folder.work / key, on_step)
        step = None if on_step is None else lambda done, total: on_step("teaching", done, total)
        return teach(model, images, self.experiment.teaching, seed=self.experiment.seed, on_step=step)


def on_case(on_step: Progress | None, place: int, total: int) -> Progress | None:
    """Progress that says which of a recipe's experiments is at work."""
    return None if on_step is None else lambda what, done, of: on_step(f"[{place}/{total}] {what}", done, of)
