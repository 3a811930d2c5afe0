"""Inversions as plain data, and what does them, on this machine or elsewhere; the pixels are the same."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.images.config import Executor
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import OnImages, OnStep, invert
from molyneux.runs.options import Progress
from molyneux.runs.stage import Stage, StageFolder
from molyneux.synthetic import LazyImages, SyntheticImages

STAGE = "invert"


@dataclass(frozen=True, slots=True, kw_only=True)
class InversionJob:
    """One concept's images from one seed."""

    concept: Concept
    config: InversionConfig
    seed: int
    folder: Path
    """Where they are saved."""
    work: Path
    """The folder for checkpoints of unfinished jobs."""
    what: str = "images"

    @property
    def label(self) -> str:
        """What progress calls it."""
        return f"{self.what} of {self.concept.name}"

    def make(
        self, model: VisionLanguageModel, on_step: OnStep | None = None, on_images: OnImages | None = None
    ) -> SyntheticImages:
        """Invert, from the checkpoint if there is one."""
        checkpoint = self.work / f"{self.folder.parent.name}-{self.folder.name}.pt"
        return invert(
            model,
            self.concept,
            self.config,
            seed=self.seed,
            checkpoint=checkpoint,
            on_step=on_step,
            on_images=on_images,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMaker:
    """Does jobs with a model, each as a stage of a run's folder; `executor` says where."""

    model: VisionLanguageModel
    name: str
    """What `load` makes the model from, elsewhere."""
    running: Running
    folder: StageFolder
    executor: Executor = "serial"
    on_images: OnImages | None = None
    """Watches images form that are made on this machine."""

    def __call__(self, jobs: Sequence[InversionJob], on_step: Progress | None = None) -> LazyImages:
        """The images of each job, inverted first where they are not there yet."""
        left = [job for job in jobs if not self.folder.is_finished(self._stage(job, job.make))]
        if left and self.executor == "ray":
            from molyneux.images.ray_jobs import on_cluster

            with self.folder.timed(STAGE):
                on_cluster(self.model, self.name, self.running, left, self.keep, on_step)
        for job in left:
            self.keep(job, partial(job.make, self.model, _told(on_step, job.label), self.on_images))
        return LazyImages.saved(job.folder for job in jobs)

    def keep(self, job: InversionJob, make: Callable[[], SyntheticImages], about: Any = None) -> None:
        """Save what `make` returns as the job's images, unless they are there; `about` is what else decides them."""
        self.folder.run([self._stage(job, lambda: make().save(job.folder), about)])

    def _stage(self, job: InversionJob, make: Callable[..., object], about: Any = None) -> Stage:
        name = job.folder.relative_to(self.folder.root).as_posix()
        inputs = {"model": self.name, "concept": asdict(job.concept), "config": asdict(job.config), "seed": job.seed}
        return Stage(name=f"{STAGE}/{name}", inputs=inputs | {"about": about}, files=(name,), make=make)


def _told(on_step: Progress | None, what: str) -> OnStep | None:
    return None if on_step is None else lambda done, total: on_step(what, done, total)
