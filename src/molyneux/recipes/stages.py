"""A recipe's stages: images, and scores of a model taught on them. Each is kept by all that decides it."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.files import write_json
from molyneux.images.config import Control
from molyneux.images.jobs import ImageMaker
from molyneux.images.sources import run_images
from molyneux.pipeline.public import teach
from molyneux.pipeline.settings import TeachSettings
from molyneux.recipes.schema import Case, Experiment
from molyneux.recipes.tasks import Base, Data, Place, score
from molyneux.runs.options import Progress
from molyneux.synthetic import SyntheticImages

STAGES, IMAGES, KEPT = "stages", "images", "reports"

_CONTROLS: Mapping[str, Control] = {"noise": "noise", "shuffled": "shuffled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one case asks to be scored; cases that ask for the same share it."""

    experiment: Experiment
    concepts: tuple[Concept, ...]
    """Those taught; where nothing is, all that are scored."""
    data: Mapping[str, str]
    """A digest of each data set."""

    @staticmethod
    def of(case: Case, data: Mapping[str, str]) -> "Stage":
        """The stage of a case; `data` has a digest for each data set of the recipe."""
        experiment = case.experiment
        everything = experiment.read_concepts()
        # an untaught model is scored once for all concepts, however they would have been taught
        if not experiment.taught:
            experiment = experiment.model_copy(update={"only": ()})
        concepts = tuple(one for one in everything if not experiment.only or one.name in experiment.only)
        return Stage(experiment=experiment, concepts=concepts, data={name: data[name] for name in experiment.data})

    @property
    def key(self) -> str:
        """A digest of everything that decides the scores."""
        made = {"inversion", "generation", "images"}
        unused = {"generation"} if self.experiment.images in ("inverted", *_CONTROLS) else {"inversion"}
        cost = self.experiment.evaluate.task == "cost"
        left_out = unused | ({"teaching"} if cost else set()) if self.experiment.taught else {*made, "teaching", "seed"}
        about = self.experiment.model_dump(mode="json", exclude={"only", "concepts", *left_out})
        # an untaught model's scores do not depend on descriptions unless these stand in the prompts
        bare = not self.experiment.taught and getattr(self.experiment.evaluate, "described", "no") == "no"
        concepts = [one.name if bare else asdict(one) for one in self.concepts]
        return digest({"experiment": about, "concepts": concepts, "data": dict(self.data)})

    @property
    def images_key(self) -> str:
        """A digest of everything that decides the images."""
        about = self.experiment.model_dump(mode="json", include={"model", "inversion", "generation", "images", "seed"})
        return digest({"experiment": about, "concepts": [asdict(one) for one in self.concepts]})

    def kept(self, root: Path) -> dict[str, Any] | None:
        """The scores of this stage, where it has been finished below `root`."""
        path = root / STAGES / f"{self.key}.json"
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return found

    def scores(
        self,
        base: Base,
        data: Data,
        root: Path,
        work: Path,
        *,
        running: Running,
        on_step: Progress | None = None,
    ) -> dict[str, Any]:
        """Make the images, teach, score, and keep the scores below `root`; what is there already is read."""
        kept = self.kept(root)
        if kept is not None:
            return kept
        started = time.perf_counter()
        model = student = base.model
        if self.experiment.taught and self.experiment.evaluate.task != "cost":
            student = self.taught(model, self.images(model, root, work, running, on_step), on_step)
        place = Place(kept=root / KEPT / self.key, work=work / self.key)
        found = score(student, base, self.experiment, self.concepts, data, place, running=running, on_step=on_step)
        seconds = round(time.perf_counter() - started, 3)
        content = {
            "experiment": self.experiment.model_dump(mode="json"),
            "concepts": [one.name for one in self.concepts],
            "data": dict(self.data),
            "seconds": seconds,
            "scores": found,
        }
        write_json(root / STAGES / f"{self.key}.json", content)
        return found

    def images(
        self, model: VisionLanguageModel, root: Path, work: Path, running: Running, on_step: Progress | None
    ) -> Sequence[SyntheticImages]:
        """The images of each concept, below `root`; half a concept's are gone on with from `work`."""
        key = self.images_key
        image_maker = ImageMaker(model=model, name=self.experiment.model, running=running)
        return run_images(
            image_maker, self.teach_settings(root, running).image_request, root / IMAGES / key, work / key, on_step
        )

    def teach_settings(self, root: Path, running: Running) -> TeachSettings:
        """What the images are made from, as a run of `molyneux teach` says it."""
        source = self.experiment.images
        return TeachSettings(
            concepts=self.concepts,
            out=root,
            model=self.experiment.model,
            seed=self.experiment.seed,
            control=_CONTROLS.get(source),
            images_from=None if source == "inverted" or source in _CONTROLS else source,
            generation=self.experiment.generation,
            inversion=self.experiment.inversion,
            running=running,
        )

    def taught(
        self, model: VisionLanguageModel, images: Sequence[SyntheticImages], on_step: Progress | None
    ) -> VisionLanguageModel:
        """A copy of the model that has had the experiment."""
        step = None if on_step is None else lambda done, total: on_step("teaching", done, total)
        return teach(model, images, self.experiment.teaching, seed=self.experiment.seed, on_step=step)


def on_case(on_step: Progress | None, place: int, total: int) -> Progress | None:
    """Progress that says which of a recipe's experiments is at work."""
    return None if on_step is None else lambda what, done, of: on_step(f"[{place}/{total}] {what}", done, of)


def digest(value: Any) -> str:
    """A short name of any plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
