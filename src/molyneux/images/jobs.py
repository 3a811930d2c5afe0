"""Inversions as plain data, and where they are done: the pixels are the same everywhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.images.config import Executor
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.runs.options import Progress
from molyneux.synthetic import LazyImages, SyntheticImages


@dataclass(frozen=True, slots=True, kw_only=True)
class InversionJob:
    """One concept's images from one seed."""

    concept: Concept
    config: InversionConfig
    seed: int
    folder: Path
    """Where they are saved; they are made unless they are there."""
    work: Path
    """Where the state of half a job is kept."""
    what: str = "images"

    @property
    def label(self) -> str:
        """What progress calls it."""
        return f"{self.what} of {self.concept.name}"

    @property
    def done(self) -> bool:
        """Whether the images are there."""
        return (self.folder / "images.json").is_file()

    def make(self, model: VisionLanguageModel, on_step: Callable[[int, int], None] | None = None) -> SyntheticImages:
        """Invert, or go on where a job ended."""
        checkpoint = self.work / f"{self.folder.parent.name}-{self.folder.name}.pt"
        return invert(model, self.concept, self.config, seed=self.seed, checkpoint=checkpoint, on_step=on_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMaker:
    """A model, what `load` makes it from elsewhere, and who does the jobs."""

    model: VisionLanguageModel
    name: str
    running: Running
    executor: Executor = "serial"

    def __call__(self, jobs: Sequence[InversionJob], on_step: Progress | None = None) -> LazyImages:
        """The images of each job, made first where they are not there yet."""
        wanted = [job for job in jobs if not job.done]
        if wanted and self.executor == "ray":
            from molyneux.images.ray_jobs import on_cluster

            on_cluster(self.model, self.name, self.running, wanted, on_step)
        elif wanted:
            one_by_one(self.model, wanted, on_step)
        return LazyImages.saved(job.folder for job in jobs)


def one_by_one(model: VisionLanguageModel, jobs: Sequence[InversionJob], on_step: Progress | None = None) -> None:
    """Do the jobs here."""
    for job in jobs:
        label = job.label
        step = None if on_step is None else lambda done, total: on_step(label, done, total)  # noqa: B023
        job.make(model, step).save(job.folder)
