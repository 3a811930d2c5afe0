"""`molyneux teach`: words in, a folder with a taught model, its scores and a report out."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from molyneux.backends.abilities import Matcher, scorer
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.lora import with_adapter
from molyneux.images.config import Control, without_images
from molyneux.images.jobs import ImageMaker
from molyneux.images.replay import replay_images
from molyneux.images.sources import control_images, fresh_images, run_images
from molyneux.pipeline.checks import CheckedRequest, check_request, check_texts, without
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.pipeline.scoring import Scoring
from molyneux.pipeline.settings import TeachSettings
from molyneux.records import (
    CLASSES,
    ENVIRONMENT,
    SCORES,
    Classes,
    ConceptResult,
    Forecast,
    Replay,
    TeachResult,
    TextOnly,
    read_record,
    write_record,
)
from molyneux.report.html import write_report
from molyneux.runs.environment import environment
from molyneux.runs.folder import RunFolder, check_out, open_run
from molyneux.runs.options import Progress
from molyneux.synthetic import SyntheticImages
from molyneux.tasks.classification.predictions import write_predictions
from molyneux.tasks.classification.text_only import FRESH, TextReader, read_from_text
from molyneux.teaching.budget import check_budget, teach_within
from molyneux.teaching.fine_tune import check_ability, fine_tune, uses_replay
from molyneux.teaching.updates import moves_texts, shares_trunk

FORECAST = "forecast.json"
"""What was chosen within a budget of forgetting; beside the scores, of which it becomes part."""

CONTROLS: tuple[Control, ...] = ("noise", "shuffled")


def teach_concepts(settings: TeachSettings, *, command: Sequence[str] = (), on_step: Progress | None = None) -> Path:
    """Teach a model concepts from words, score it, write everything into `settings.out` and return that.

    All that is cheap to check is checked before the folder is made. An unfinished run of the same settings
    there is continued, and ends as if it had never been interrupted.

    Args:
        settings: all that decides the result.
        command: the command line, for the record.
        on_step: told of the progress.

    Raises:
        MolyneuxError: if the request cannot be fulfilled; one line says why.
    """
    if settings.max_forgetting is not None:
        check_budget(settings.max_forgetting, settings.teaching)
    request = check_request(settings)
    check_out(settings.out, settings.resolved())
    started = time.perf_counter()
    base = scorer(load(settings.model, **asdict(settings.running)), "a run, which is scored,")
    check_ability(base, settings.teaching)
    if settings.max_forgetting is not None:
        dual_encoder(base, "a budget of forgetting")
    check_texts(base, settings, request)
    run = _TeachRun(settings, request, base, on_step)
    if not (settings.out / SCORES).exists():
        run.look()
    folder = open_run(settings.out, settings.resolved(), weights_digest(base.native))
    folder.add_time("load", time.perf_counter() - started)
    if not (folder.root / SCORES).exists():
        run.score(folder)
    write_record(folder.root / ENVIRONMENT, environment(base, folder.weights, folder.timings, command))
    write_report(folder.root)
    folder.finish()
    return folder.root


def read_scores(root: Path) -> TeachResult:
    """The scores of a finished run, with the taught model's folder as a path from here."""
    found = read_record(TeachResult, root / SCORES)
    return found.model_copy(update={"model": str(root / found.model)})


@dataclass(slots=True)
class _TeachRun:
    """The stages of one run, in the order in which they are called."""

    settings: TeachSettings
    request: CheckedRequest
    base: DualEncoder | Matcher
    on_step: Progress | None
    scoring: Scoring | None = None
    replay: tuple[SyntheticImages, ...] = ()
    forecast: Forecast | None = None
    """What was chosen within a budget of forgetting, once the concepts are taught."""

    @property
    def image_maker(self) -> ImageMaker:
        """Where images come from."""
        settings = self.settings
        return ImageMaker(model=self.base, name=settings.model, running=settings.running, executor=settings.executor)

    def look(self) -> None:
        """Read the photos, so that one that cannot be decoded is met before anything slow."""
        teaching = self.settings.teaching
        self.scoring = Scoring.of(
            self.base,
            self.request,
            prompt_config=self.settings.prompt_config,
            shared_trunk=isinstance(self.base, DualEncoder) and shares_trunk(teaching),
            shared_texts=not moves_texts(teaching.update),
            on_step=self.on_step,
        )

    def score(self, folder: RunFolder) -> None:
        """Everything up to `scores.json`."""
        assert self.scoring is not None
        with folder.timed("invert"):
            images = run_images(
                self.image_maker, self.settings.image_request, folder.root / "synthetic", folder.work, self.on_step
            )
        if uses_replay(self.settings.teaching):
            with folder.timed("replay"):
                self.replay = self.known_images()
        with folder.timed("teach"):
            load_known_texts(self.base, images, self.request.bank, self.settings.teaching)
            taught = self.taught(folder, images)
        with folder.timed("evaluate"):
            evaluation = self.scoring(taught, self.base)
            write_predictions(folder.root, self.request.novel, evaluation.predictions)
            if evaluation.after.classes:
                write_record(folder.root / CLASSES, Classes(evaluation.classes))
        more: dict[str, Any] = {"model": self.settings.saved}
        if self.settings.drawn:
            more["protocol"] = evaluation.protocol.model_copy(update={"novel_images": "drawings, not photos"})
        if self.settings.novel is None and self.settings.fresh and not without_images(self.settings.images_from):
            with folder.timed("fresh images"):
                more["text_only"] = self.text_only(folder, taught, images)
        if self.settings.compares:
            with folder.timed("controls"):
                more["controls"] = self.controls(folder, images)
        more["replay"] = Replay(images=sum(len(one) for one in self.replay), names=len(self.replay))
        more["text_anchors"] = self.settings.teaching.uses_text_anchors
        if self.forecast is not None:
            more["forecast"] = self.forecast
        write_record(folder.root / SCORES, TeachResult(**evaluation.scores().given() | more))

    def known_images(self) -> tuple[SyntheticImages, ...]:
        """Replay images of all classes but the concepts."""
        found = replay_images(self.base, self.settings.replay, on_step=self.on_step)
        kept = set(without([one.concept.name for one in found], self.settings.concept_names))
        return tuple(one for one in found if one.concept.name in kept)

    def taught(self, folder: RunFolder, images: Sequence[SyntheticImages]) -> DualEncoder | Matcher:
        """The model taught on `images`, from the run folder where it is there already."""
        target = folder.root / self.settings.saved
        if self.settings.adapter_only:
            if not target.is_dir():
                self.lesson(images, "teaching", target)
            return with_adapter(dual_encoder(self.base, "an adapter"), target)
        chosen = folder.root / FORECAST
        if target.is_dir():
            if self.settings.max_forgetting is not None:
                self.forecast = read_record(Forecast, chosen)
            return scorer(load(target, **asdict(self.settings.running)), "teaching")
        taught = self.lesson(images, "teaching")
        if self.forecast is not None:
            write_record(chosen, self.forecast)
        taught.save(target)
        return taught

    def lesson(
        self, images: Sequence[SyntheticImages], what: str, adapter: Path | None = None
    ) -> DualEncoder | Matcher:
        """A model taught on `images` as the settings say; its adapter goes into a folder, if one is given.

        The first lesson within a budget of forgetting chooses rate and strength, and the controls follow it.
        """
        on_step = self.on_step
        told = None if on_step is None else lambda done, total: on_step(what, done, total)
        config, budget = self.settings.teaching, self.settings.max_forgetting
        shared: Any = {"known": self.request.bank, "replay": self.replay, "seed": self.settings.seed, "on_step": told}
        if budget is not None and self.forecast is None:
            base = dual_encoder(self.base, "a budget of forgetting")
            taught, self.forecast = teach_within(base, images, config, budget=budget, **shared)
            return taught
        if self.forecast is not None:
            config = replace(config, learning_rate=self.forecast.learning_rate, strength=self.forecast.strength)
        return fine_tune(self.base, images, config, adapter=adapter, **shared)

    def text_only(
        self, folder: RunFolder, taught: DualEncoder | Matcher, own: Sequence[SyntheticImages]
    ) -> dict[str, TextOnly]:
        """For each concept, how both models read fresh images of it, and models taught on a control's images."""
        wanted = CONTROLS if self.settings.controls and self.settings.control is None else ()
        reader = partial(TextReader, known=self.request.labels.known, replay=self.replay)
        base, after = reader(self.base), reader(taught)
        others: dict[str, TextReader] = {}
        for control in wanted:
            others[control] = reader(self.control_lesson(control, folder, own))
        fresh = fresh_images(self.image_maker, self.settings.image_request, FRESH, folder.work, self.on_step)
        return {one.concept.name: read_from_text(base, after, others, one, self.replay) for one in fresh}

    def controls(self, folder: RunFolder, own: Sequence[SyntheticImages]) -> dict[str, dict[str, ConceptResult]]:
        """The concepts' scores without their lesson: other images, or the description as the prompt."""
        assert self.scoring is not None
        found: dict[str, dict[str, ConceptResult]] = {}
        for control in CONTROLS:
            found[control] = self.scoring(self.control_lesson(control, folder, own)).concepts
        described = {concept.name: concept.descriptions[0] for concept in self.settings.concepts}
        found["description_prompt"] = self.scoring(self.base, described=described).concepts
        return found

    def control_lesson(
        self, control: Control, folder: RunFolder, own: Sequence[SyntheticImages]
    ) -> DualEncoder | Matcher:
        """A model taught in the same way on a control's images."""
        images = control_images(control, self.image_maker, self.settings.image_request, own, folder.work, self.on_step)
        return self.lesson(images, f"{control} control")
