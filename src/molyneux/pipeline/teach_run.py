"""`molyneux teach`: words in, a folder with a taught model, its scores and a report out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from molyneux.backends.abilities import Matcher, scorer
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.long_text import TEXTS_AT_ONCE
from molyneux.backends.lora import with_adapter
from molyneux.backends.packs import check_new, untaught
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.cards import CARD, write_card
from molyneux.images.choices import CONTROLS, taught_controls
from molyneux.images.jobs import ImageMaker
from molyneux.images.replay import replay_images
from molyneux.images.sources import control_images, fresh_images, run_images
from molyneux.inversion.invert import OnImages
from molyneux.pipeline.checks import CheckedRequest, check_request, check_texts, scored_texts
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.pipeline.means import means_of
from molyneux.pipeline.settings import TeachSettings
from molyneux.records import (
    CLASSES,
    CONCEPTS,
    CONFIG,
    MISTAKEN,
    PREDICTIONS,
    SCORES,
    SHOWN,
    Classes,
    Lineage,
    RunSettings,
    TeachResult,
    as_record,
    read_record,
    write_record,
)
from molyneux.report.html import write_report
from molyneux.runs.environment import write_environment
from molyneux.runs.folder import RunFolder, check_out, open_run
from molyneux.runs.options import Progress
from molyneux.runs.stage import Stage
from molyneux.runs.text_cache import read_texts
from molyneux.synthetic import SyntheticImages
from molyneux.tasks.classification.features import photo_features
from molyneux.tasks.classification.predictions import MISTAKEN_PHOTOS, write_mistaken, write_predictions
from molyneux.tasks.classification.results import Evaluation
from molyneux.tasks.classification.text_only import FRESH, TextReader, read_from_text
from molyneux.tasks.classification.zero_shot import evaluate
from molyneux.tasks.recognition.shown import FOLDER, read_shown, shown_photos
from molyneux.teaching.fine_tune import check_ability, fine_tune
from molyneux.teaching.memory import memory_note
from molyneux.teaching.updates import changes_texts, shares_trunk

PHOTOS = "photos"
KNOWN_NAMES = "known names for scoring, once for this model"
"""What progress calls the reading of their texts."""


def teach_concepts(
    settings: TeachSettings,
    *,
    command: Sequence[str] = (),
    on_step: Progress | None = None,
    on_images: OnImages | None = None,
) -> Path:
    """Teach a model concepts from words, score it, write everything into `settings.out` and return that.

    All that is cheap to check is checked before the folder is made. An unfinished run of the same settings
    there is continued, and ends as if it had never been interrupted.

    Args:
        settings: all that decides the result.
        command: the command line, for the record.
        on_step: told of the progress.
        on_images: shown images while they are made, those of a control too.

    Raises:
        MolyneuxError: if the request cannot be fulfilled; one line says why.
    """
    request = check_request(settings)
    check_out(settings.out, settings.resolved())
    started = time.perf_counter()
    base = scorer(load(settings.model, **asdict(settings.running)), "a run, which is scored,")
    check_ability(base, settings.teaching)
    if settings.teaching.objective.merges:
        check_new(base, settings.concept_names)
    # what the model learned before is among the answers it can give
    request = replace(request, labels=request.labels.beside([concept.name for concept in base.concepts]))
    left_out = check_texts(base, settings, request)
    run = TeachRun(settings, request, base, on_step, left_out, on_images)
    if not (settings.out / SCORES).exists():
        _ = run.score  # a photo that cannot be decoded is met before anything is written
    folder = open_run(settings.out, settings.resolved(), {settings.model: weights_digest(base.native)}, on_step)
    folder.add_time("load", time.perf_counter() - started)
    run.finish_stages(folder)
    write_environment(folder, base.device.type, command, base)
    write_report(folder.root)
    if (folder.root / settings.saved / CONCEPTS).is_file():
        lineage = read_record(Lineage, folder.root / settings.saved / CONCEPTS)
        scores = read_record(TeachResult, folder.root / SCORES)
        write_card(folder.root / settings.saved, lineage, read_record(RunSettings, folder.root / CONFIG), scores)
    folder.finish()
    return folder.root


def read_scores(root: Path) -> TeachResult:
    """The scores of a finished run, with the taught model's folder as a path from here."""
    found = read_record(TeachResult, root / SCORES)
    return found.model_copy(update={"model": str(root / found.model)})


class TeachRun:
    """The stages of one run, and what they share."""

    folder: RunFolder
    image_maker: ImageMaker
    images: Sequence[SyntheticImages]

    def __init__(
        self,
        settings: TeachSettings,
        request: CheckedRequest,
        base: DualEncoder | Matcher,
        on_step: Progress | None = None,
        left_out: Mapping[str, str] | None = None,
        on_images: OnImages | None = None,
    ) -> None:
        """`left_out` gives for each control that is not run the reason."""
        self.settings, self.request, self.base, self.on_step = settings, request, base, on_step
        self.source = base
        """Makes the images; an edit is computed without the model's packs, so they are to leave no trace in these."""
        if settings.teaching.objective.merges:
            self.source = untaught(dual_encoder(base, "an edit"))
        self._control_models: dict[str, DualEncoder | Matcher] = {}
        self.left_out = left_out or {}
        self.on_images = on_images

    def finish_stages(self, folder: RunFolder) -> None:
        """Invert, teach, measure, and write `scores.json`; what the folder holds already is not done again."""
        settings = self.settings
        self.folder = folder
        self.image_maker = ImageMaker(
            model=self.source,
            name=settings.model,
            running=settings.running,
            folder=folder,
            executor=settings.executor,
            on_images=self.on_images,
        )
        for name, reason in self.left_out.items() if settings.controls and settings.control is None else ():
            text = f"the control {name!r} is left out: {reason}"
            if text not in folder.notes:
                folder.note(text)
        self.read()
        self.images = run_images(
            self.image_maker, settings.image_request, folder.root / "synthetic", folder.work, self.on_step
        )
        about = settings.resolved()
        card = f"{settings.saved}/{CARD}"
        folder.run([Stage(name="teach", inputs=about, files=(settings.saved,), make=self.teach, rewritten=(card,))])
        scores = folder.value("evaluate", about, self.measure, PREDICTIONS, PHOTOS, CLASSES, MISTAKEN, MISTAKEN_PHOTOS)
        scores["model"] = settings.saved
        if settings.drawn:
            scores["protocol"]["novel_images"] = "drawings, not photos"
        if settings.novel is None and settings.fresh and settings.image_request.source.has_images:
            scores["text_only"] = folder.value("fresh images", about, self.text_only)
        if settings.show is not None:
            folder.run([Stage(name="shown photos", inputs=about, files=(SHOWN, FOLDER), make=self.show)])
        if settings.compares:
            scores["controls"] = {
                name: folder.value(f"controls/{name}", about, partial(self.control, name))
                for name in CONTROLS
                if name not in self.left_out
            }
        scores["replay"] = {"images": sum(len(one) for one in self.replay), "names": len(self.replay)}
        scores["descriptions"] = settings.teaching.objective.reads_descriptions
        write_record(folder.root / SCORES, as_record(TeachResult, scores))

    def read(self) -> None:
        """Have the base read all texts, whichever stages are left to do: a text's last digits depend on its company."""
        if isinstance(self.base, DualEncoder):
            load_known_texts(self.source, self.request.bank, self.settings.teaching, self.on_step)
            known, own = scored_texts(self.settings, self.request)
            read_texts(self.base, known, KNOWN_NAMES, self.on_step)
            for start in range(0, len(own), TEXTS_AT_ONCE):
                self.base.embed_texts(own[start : start + TEXTS_AT_ONCE])
                if self.on_step is not None:
                    self.on_step("new names", min(start + TEXTS_AT_ONCE, len(own)), len(own))

    @cached_property
    def score(self) -> Callable[..., Evaluation]:
        """`evaluate` on the run's photos; what the taught model shares with its base is computed once, here."""
        base, request, prompts, teaching = self.base, self.request, self.settings.prompt_config, self.settings.teaching
        shared_trunk = isinstance(base, DualEncoder) and shares_trunk(teaching)
        photos: dict[str, Any] = {"novel": request.novel, "known": request.known}
        for what, folder in photos.items():
            if shared_trunk and folder is not None:
                photos[what] = photo_features(dual_encoder(base, "photos"), folder, self.on_step, f"{what} photos")
        return partial(
            evaluate,
            **photos,
            names=request.labels.known,
            concepts=request.labels.novel,
            prompts=request.prompts,
            ensemble=prompts.ensemble,
            class_names=prompts.class_names,
            shared_trunk=shared_trunk,
            shared_texts=not changes_texts(base, teaching),
            on_step=self.on_step,
        )

    @cached_property
    def replay(self) -> tuple[SyntheticImages, ...]:
        """Images of known classes, where the loss learns from them."""
        settings = self.settings
        if not settings.teaching.uses_replay:
            return ()
        with self.folder.timed("replay"):
            return replay_images(self.source, settings.replay, taught=settings.concept_names, on_step=self.on_step)

    @cached_property
    def taught(self) -> DualEncoder | Matcher:
        """The taught model."""
        saved = self.folder.root / self.settings.saved
        if self.settings.adapter_only:
            return with_adapter(dual_encoder(self.base, "an adapter"), saved)
        taught = scorer(load(saved, **asdict(self.settings.running)), "teaching")
        same = not changes_texts(self.base, self.settings.teaching)
        if same and isinstance(taught, TokenizedEncoder) and isinstance(self.base, TokenizedEncoder):
            taught.remember_all(self.base)
        return taught

    def teach(self) -> None:
        """Teach the concepts and save the model, or its adapter alone."""
        settings, saved = self.settings, self.folder.root / self.settings.saved
        if settings.adapter_only:
            self.taught = self.lesson(self.images, "teaching", saved)
            self.taught.learned(settings.concepts, self.means)
            self.taught.write_about(saved)
            return
        self.taught = self.lesson(self.images, "teaching")
        self.taught.learned(settings.concepts, self.means)
        self.taught.save(saved)

    @property
    def means(self) -> tuple[str, ...]:
        """What the lesson was made with."""
        return means_of(self.base, self.settings.teaching, self.images, self.settings.inversion.batch_norm > 0)

    def lesson(
        self, images: Sequence[SyntheticImages], what: str, adapter: Path | None = None
    ) -> DualEncoder | Matcher:
        """A model taught on `images`; progress calls it `what`."""
        config = self.settings.teaching
        known = load_known_texts(self.source, self.request.bank, config, self.on_step)
        said = memory_note(self.base, config)
        if said and said.split(",")[0] not in "\n".join(self.folder.notes):
            self.folder.note(said)
        replay, on_step = self.replay, self.on_step
        told = None if on_step is None else lambda done, total: on_step(what, done, total)
        return fine_tune(
            self.base,
            images,
            config,
            known=known,
            replay=replay,
            seed=self.settings.seed,
            adapter=adapter,
            on_step=told,
        )

    def measure(self) -> dict[str, Any]:
        """The scores of the taught model beside its base."""
        found, root = self.score(self.taught, base=self.base), self.folder.root
        write_predictions(root, self.request.novel, found.predictions)
        if any(found.mistaken.values()):
            write_mistaken(root, self.request.known, found.mistaken)
        if found.after.classes:
            write_record(root / CLASSES, Classes(found.classes))
        return found.as_dict()

    def show(self) -> None:
        """Ask all models of the run about the photos that the report shows."""
        settings, prompts = self.settings, self.settings.prompt_config
        assert settings.show is not None
        wanted = taught_controls() if settings.controls and settings.control is None else ()
        models = {"before": self.base, "after": self.taught}
        models |= {control: self.control_lesson(control) for control in wanted}
        found = shown_photos(
            models,
            read_shown(settings.show, settings.concept_names),
            settings.concept_names,
            self.request.labels.known,
            self.folder.root,
            prompts=self.request.prompts,
            ensemble=prompts.ensemble,
        )
        write_record(self.folder.root / SHOWN, found)

    def text_only(self) -> dict[str, Any]:
        """For each concept, how both models read fresh images of it, and models taught on a control's images."""
        wanted = taught_controls() if self.settings.controls and self.settings.control is None else ()
        reader = partial(TextReader, known=self.request.labels.known, replay=self.replay)
        base, after = reader(self.base), reader(self.taught)
        others = {name: reader(self.control_lesson(name)) for name in wanted if name not in self.left_out}
        fresh = fresh_images(self.image_maker, self.settings.image_request, FRESH, self.folder.work, self.on_step)
        return {one.concept.name: read_from_text(base, after, others, one, self.replay).as_dict() for one in fresh}

    def control(self, control: str) -> dict[str, Any]:
        """The concepts' scores after the same teaching on a control's images, or of the untaught model."""
        if CONTROLS[control].images:
            found = self.score(self.control_lesson(control))
        else:
            described = {concept.name: concept.descriptions[0] for concept in self.settings.concepts}
            found = self.score(self.base, described=described)
        return {name: result.as_dict() for name, result in found.concepts.items()}

    def control_lesson(self, control: str) -> DualEncoder | Matcher:
        """A model taught in the same way on a control's images."""
        if control in self._control_models:
            return self._control_models[control]
        request = self.settings.image_request
        images = control_images(control, self.image_maker, request, self.images, self.folder.work, self.on_step)
        found = self.lesson(images, f"{control} control")
        if self.settings.show is not None:  # asked twice: for its scores, and for the photos to show
            self._control_models[control] = found
        return found
