"""`molyneux run`: a recipe in, a folder with its table out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.names import without
from molyneux.errors import ConfigError
from molyneux.files import slug, write_json, write_text
from molyneux.images.choices import CONTROLS
from molyneux.images.config import ReplayConfig
from molyneux.images.jobs import ImageMaker
from molyneux.images.sources import check_images, run_images, stand_in
from molyneux.pipeline.checks import check_each, lesson_texts
from molyneux.pipeline.public import teach
from molyneux.recipes.cases import ScoredCase
from molyneux.recipes.changes import alike, changed, marked, said_changes, shortened
from molyneux.recipes.miniature import MEANINGLESS, draw_data, in_miniature
from molyneux.recipes.pages import PAGE, write_report
from molyneux.recipes.plots import PLOT, plot
from molyneux.recipes.schema import Case, Classification, Likeness, Recipe, recipe_names
from molyneux.recipes.table import markdown, rows
from molyneux.recipes.tasks import Asked, Base, Data, Place, check_able, score, scored_texts
from molyneux.runs.environment import write_environment
from molyneux.runs.folder import RunFolder, check_out, open_run
from molyneux.runs.options import Progress
from molyneux.runs.stage import Stage, digest
from molyneux.synthetic import SyntheticImages

RESULTS, TABLE = "results.json", "table.md"
DRAWN, STAGES, IMAGES, REPORTS, MODELS = "data", "stages", "images", "reports", "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSettings:
    """A recipe, what is brought for it, and where its table goes."""

    recipe: Recipe
    out: Path
    data: Mapping[str, Path] = field(default_factory=dict)
    """The folder of each data set, by the recipe's name for it."""
    model: str | None = None
    """A model in place of the recipe's, or POINT=MODEL for one point of the axis 'model'."""
    concepts: Sequence[str] = ()
    """A file of concepts in place of the recipe's, and POINT=FILE where a point of an axis has others."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings, with dots, that take another value in every experiment."""
    only: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    """For an axis the one point that is wanted, or the several."""
    miniature: bool = False
    """Whether a random model and drawings take the place of models and data."""
    running: Running = field(default_factory=Running)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeResult:
    """What a finished recipe left."""

    folder: Path
    results: dict[str, Any]
    """What `results.json` holds."""
    table: str
    """What `table.md` holds."""


def run_recipe(
    settings: RecipeSettings, *, command: Sequence[str] = (), on_step: Progress | None = None
) -> RecipeResult:
    """Go through a recipe's experiments and write `results.json`, `table.md`, `plot.png` and `report.html`.

    A page of images that an experiment leaves lies below `reports/`, and `report.html` leads to it.

    All data is looked at before the first model is loaded. Before anything is written, every model is asked whether it
    can do its tasks and learn its lessons, and every text is tried on it; of a miniature's models the first is asked.
    An unfinished run of the same settings in `settings.out` is continued: finished stages, one file each, are read, and
    it ends with the same scores.

    Raises:
        MolyneuxError: if the request cannot be fulfilled; one line says why.
    """
    recipe = changed(settings.recipe, settings.changes, settings.model, settings.concepts)
    cases = wanted(recipe, settings.only)
    if settings.miniature:
        own_model = any(said.startswith("model") for said in said_of(settings))
        cases = in_miniature(recipe, cases, settings.out / DRAWN, own_model=own_model)
        if not own_model:
            tiny = ", ".join(dict.fromkeys(case.experiment.model for case in cases))
            recipe = recipe.but(caption=marked(settings.recipe.caption, [f"model = {tiny}", *said_of(settings)]))
    experiments = [case.experiment for case in cases]
    resolved = _resolved(settings, recipe, cases)
    _check_named(recipe, settings)
    if not settings.miniature:
        data = Data.read(experiments, settings.data, recipe.name)
        check_external_images(cases, data, settings)
    check_out(settings.out, resolved)
    first = experiments[0].model
    # the first is loaded last, and kept
    for name in reversed(dict.fromkeys(one.model for one in experiments[: 1 if settings.miniature else None])):
        held = name, Base(load(name, **asdict(settings.running)))
        own = [case for case in cases if case.experiment.model == name]
        for case in own:
            check_able(held[1].model, case.experiment)
        if not settings.miniature:
            check_texts(held[1].model, own, data)
    folder = open_run(settings.out, resolved, {first: weights_digest(held[1].model.native)}, on_step)
    if settings.miniature:
        drawn = partial(draw_data, experiments, folder.root / DRAWN)
        if any(experiment.data for experiment in experiments):
            folder.run([Stage(name=DRAWN, inputs=resolved, files=(DRAWN,), make=drawn)])
        data = Data.read(experiments, drawn(), recipe.name, drawn=True)
    run = RecipeRun(settings, cases, data, folder, held, on_step)
    folder.run(run.stages())
    scores = run.scores()
    found = rows(recipe, cases, scores)
    notes = _notes(settings, recipe, scores)
    results = {
        "recipe": recipe.name,
        "digest": settings.recipe.digest,
        "paper": recipe.paper,
        "miniature": settings.miniature,
        "data": {name: str(place) for name, place in settings.data.items()},
        "changed": dict(settings.changes),
        "model": settings.model,
        "concepts": list(settings.concepts),
        "only": {axis: [one] if isinstance(one, str) else list(one) for axis, one in settings.only.items()},
        "rows": found,
    }
    undrawn = plot(recipe, found, folder.root / PLOT)
    table = markdown(recipe, found, notes if undrawn is None else [*notes, undrawn])
    write_json(folder.root / RESULTS, results | {"notes": notes})
    write_text(folder.root / TABLE, table)
    write_report(folder.root, recipe, found, run.pages(), notes)
    write_environment(folder, settings.running.device, command)
    folder.finish()
    return RecipeResult(folder=folder.root, results=results | {"notes": notes}, table=table)


def default_out(recipe: Recipe, miniature: bool) -> Path:
    """Where a recipe's table goes unless said otherwise: below `runs` in the working folder."""
    name = recipe.name if recipe.name in recipe_names() else slug(Path(recipe.name).stem)
    return Path("runs") / f"{name}{'-miniature' if miniature else ''}"


def wanted(recipe: Recipe, only: Mapping[str, str | Sequence[str]]) -> tuple[Case, ...]:
    """The cases at the given points.

    Raises:
        ConfigError: if there are none, listing the points.
    """
    points = {axis: (one,) if isinstance(one, str) else tuple(one) for axis, one in only.items()}
    found = [case for case in recipe.cases if all(case.labels.get(axis) in some for axis, some in points.items())]
    lacking = [
        (axis, one)
        for axis, some in points.items()
        for one in some
        if not any(case.labels.get(axis) == one for case in found)
    ]
    if lacking:
        at = ", ".join(f"{axis}={point}" for axis, point in lacking)
        axes = "; ".join(f"{axis}: {', '.join(recipe.points(axis))}" for axis in recipe.axes)
        raise ConfigError(f"{recipe.name} has nothing at {at}: its points are {axes}")
    return tuple(found)


class RecipeRun:
    """The stages of one run, in the order of its cases; one model is held at a time."""

    def __init__(
        self,
        settings: RecipeSettings,
        cases: Sequence[Case],
        data: Data,
        folder: RunFolder,
        held: tuple[str, Base],
        on_step: Progress | None,
    ) -> None:
        self.settings, self.data, self.folder, self.held, self.on_step = settings, data, folder, held, on_step
        digests = {name: digest(files) for name, files in data.files().items()}
        self.cases = [ScoredCase.of(case, digests) for case in cases]
        self.labels = [", ".join(case.labels.values()) for case in cases]

    def stages(self) -> list[Stage]:
        """One for each case; it leaves the case's scores."""
        return [
            Stage(
                name=f"{case.experiment.evaluate.task}/{case.key}",
                inputs=case.inputs,
                files=run_files(case),
                make=partial(self.score, case, labels, self._told(place)),
                continued=(f"{REPORTS}/{case.key}",),
            )
            for place, (case, labels) in enumerate(zip(self.cases, self.labels, strict=True), start=1)
        ]

    def pages(self) -> dict[str, str]:
        """The page that a case left, relative to the run's folder, by what it shows; one that cases share, once."""
        found: dict[str, str] = {}
        for labels, scored in zip(self.labels, self.cases, strict=True):
            path = f"{REPORTS}/{scored.key}/{PAGE}"
            if (self.folder.root / path).is_file() and path not in found.values():
                found[labels] = path
        return found

    def scores(self) -> list[dict[str, Any]]:
        """What the finished stages left, case by case."""
        paths = [self.folder.root / STAGES / f"{case.key}.json" for case in self.cases]
        return [json.loads(path.read_text(encoding="utf-8"))["scores"] for path in paths]

    def score(self, case: ScoredCase, labels: str, on_step: Progress | None) -> None:
        """Make the images, teach, and write the scores; `labels` says where the case stands in the table."""
        base, folder, experiment = self.base(case.experiment.model), self.folder, case.experiment
        work = folder.work / case.key
        place = Place(
            kept=folder.root / REPORTS / case.key,
            work=work,
            model=folder.root / MODELS / case.key if experiment.keep else work / "model",
            called=f"{shortened(experiment.model)} ({labels})",
        )
        model = base.model
        images: Sequence[SyntheticImages] = ()
        if experiment.teaches or isinstance(experiment.evaluate, Likeness):
            images = self.images(case, model, on_step)
        if experiment.teaches:
            step = None if on_step is None else lambda done, total: on_step("teaching", done, total)
            model = teach(model, images, experiment.teaching, seed=experiment.seed, on_step=step)
            if experiment.keep or experiment.compared:
                place.save(model)
        asked = Asked(experiment, case.concepts, images, self.settings.running)
        write_json(
            folder.root / STAGES / f"{case.key}.json",
            {**case.inputs, "scores": score(model, base, asked, self.data, place, on_step=on_step)},
        )

    def images(
        self, case: ScoredCase, model: VisionLanguageModel, on_step: Progress | None
    ) -> Sequence[SyntheticImages]:
        """What the case is taught on; it is made first, unless another case has made it."""
        key, folder, running = case.images_key, self.folder, self.settings.running
        image_maker = ImageMaker(model=model, name=case.experiment.model, running=running, folder=folder)
        request = case.image_request(running)
        return run_images(image_maker, request, folder.root / IMAGES / key, folder.work / key, on_step)

    def base(self, name: str) -> Base:
        """The untaught model, which is loaded once for the cases that follow each other.

        Raises:
            OutputError: if its weights are others than when the run began.
        """
        if self.held[0] != name:
            with self.folder.timed("load"):
                self.held = (name, Base(load(name, **asdict(self.settings.running))))
            self.folder.use({name: weights_digest(self.held[1].model.native)})
        return self.held[1]

    def _told(self, place: int) -> Progress | None:
        """Progress that says which of the cases is at work."""
        on_step, total = self.on_step, len(self.cases)
        return None if on_step is None else lambda what, done, of: on_step(f"[{place}/{total}] {what}", done, of)


def run_files(case: ScoredCase) -> tuple[str, ...]:
    """What a case's stage leaves."""
    kept = (f"{MODELS}/{case.key}",) if case.experiment.keep and case.experiment.teaches else ()
    return (f"{STAGES}/{case.key}.json", f"{REPORTS}/{case.key}", *kept)


def said_of(settings: RecipeSettings) -> tuple[str, ...]:
    """What was changed, as a table says it."""
    return said_changes(settings.changes, settings.model, settings.concepts)


def _notes(settings: RecipeSettings, recipe: Recipe, scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """What has to be said beside the numbers."""
    found = [MEANINGLESS] if settings.miniature else []
    found += [f"changed: {text}" for text in said_of(settings)]
    found += alike(settings.recipe, recipe)
    same = dict.fromkeys(one.get("protocol", {}).get("same_names") for one in scores)
    found += [f"protocol: {text}" for text in same if text]
    if recipe.others:
        found.append(f"{', '.join(recipe.others)}: the paper's numbers of other systems, which are not run here")
    return found + [f"known difference: {text}" for text in recipe.differences]


def check_external_images(cases: Sequence[Case], data: Data, settings: RecipeSettings) -> None:
    """Check external images before anything slow; errors as for `check_images`."""
    for case in cases:
        scored = ScoredCase.of(case, dict.fromkeys(case.experiment.data, ""))
        task = case.experiment.evaluate
        novel = None
        if isinstance(task, Classification | Likeness) and task.novel is not None:
            novel = data.photos[task.novel, task.class_names]
        if case.experiment.taught:
            check_images(scored.image_request(settings.running), novel)


def check_texts(model: VisionLanguageModel, cases: Sequence[Case], data: Data) -> None:
    """Raise ModelError for the first text of a model's cases, in teaching, scoring or a control, that is too long."""
    for case in cases:
        scored = ScoredCase.of(case, dict.fromkeys(case.experiment.data, ""))
        experiment, concepts = scored.experiment, scored.concepts
        texts = scored_texts(experiment, concepts, data)
        if experiment.evaluate.task == "cost":
            texts += [text for concept in concepts for text in concept.descriptions]
        elif experiment.taught:
            bank = without(imagenet_names(), [concept.name for concept in concepts])
            texts += lesson_texts(concepts, experiment.teaching, bank, ReplayConfig())
            control = CONTROLS.get(experiment.images)
            if control is not None and control.uses_stand_in and len(concepts) == 1:
                texts += stand_in(concepts[0]).descriptions
        check_each(model, texts)


def _resolved(settings: RecipeSettings, recipe: Recipe, cases: Sequence[Case]) -> dict[str, Any]:
    """Plain data for YAML: everything that decides the result."""
    return {
        "recipe": recipe.name,
        "miniature": settings.miniature,
        **asdict(settings.running),
        "data": {name: str(folder) for name, folder in settings.data.items()},
        "experiments": [{"at": dict(case.labels), **case.experiment.model_dump(mode="json")} for case in cases],
    }


def _check_named(recipe: Recipe, settings: RecipeSettings) -> None:
    needed = dict.fromkeys(name for case in recipe.cases for name in case.experiment.data)
    stray = next((name for name in settings.data if name not in needed), None)
    if stray is not None:
        what = f"needs {' and '.join(needed)}" if needed else "needs none"
        raise ConfigError(f"{recipe.name} has no use for the data set {stray!r}: it {what}")
    if settings.data and settings.miniature:
        raise ConfigError("a miniature draws its own data: leave --data out, or --miniature")
