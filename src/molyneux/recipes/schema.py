"""A recipe is plain data: one experiment, the axes along which it varies, what is read off, and what the paper found.

An experiment is a model, concepts, images of them, how they are taught and on what the model is then scored. A point of
an axis is a change to it. Nothing here needs torch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from molyneux.backends.options import Generation
from molyneux.concepts import Concept, read_concepts
from molyneux.datasets.imagenet import ClassNames, SameNames
from molyneux.errors import ConceptError, ConfigError
from molyneux.foreign import LARGEST_YAML, parse_yaml, read_text
from molyneux.inversion.config import InversionConfig
from molyneux.recipes.settings import (
    captioning_of,
    generation_of,
    inversion_of,
    masks_of,
    saliency_of,
    teaching_of,
)
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.classification.prompts import Ensemble
from molyneux.tasks.localisation.config import MaskConfig, SaliencyConfig
from molyneux.teaching.config import TeachingConfig

BASELINE = "baseline"
"""The point of an axis at which nothing is taught."""

CONCEPT = "concept"
"""The axis along which the concepts are taught, each alone; without it they are taught together."""

NOT_MEASURED = "not measured"


def _dumped(value: Any) -> Any:
    return json.loads(json.dumps(asdict(value)))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Classification(_Strict):
    """Photos sorted under names: those of novel concepts among all known names, those of known classes among them."""

    task: Literal["classification"]
    novel: str | None = None
    """The data set with photos of the concepts."""
    known: str | None = None
    """The data set with photos of known classes; its classes are the known names."""
    class_names: ClassNames = "wordnet"
    """What ImageNet's classes are called; the paper's figures show the first of WordNet's names."""
    same_names: SameNames = "index"
    """Whether known classes that share a name (crane, maillot) are told apart by index, as in ImageNet's published
    numbers, or 'merged' into one."""
    templates: str = "one"
    """What each name is put into: see `PromptConfig`."""
    ensemble: Ensemble = "embeddings"
    described: Literal["no", "asymmetric", "symmetric"] = "no"
    """Whether definitions stand in place of the concepts' names, or of all: what words achieve without teaching."""
    best_names: int = Field(default=0, ge=0)
    """How many names of each photo of the concepts a page shows, the untaught model's beside; without any, no page."""


class Retrieval(_Strict):
    """Photos and captions that find each other."""

    task: Literal["retrieval"]
    data: str
    split: str = "test"


class Captioning(_Strict):
    """Sentences about photos, beside those that people wrote."""

    task: Literal["captioning"]
    data: str
    split: str = "test"
    java: bool = True
    """Whether METEOR is computed, where Java is there."""
    corenlp: Path | None = None
    """The folder of Stanford CoreNLP 3.6.0, with which SPICE reads sentences; None leaves SPICE out."""
    compared: bool = False
    """Whether the untaught model writes captions too, for a page of those that gained most and lost most."""
    samples: int = Field(default=10, ge=0)
    """How many of each the page shows."""
    decoding: Annotated[CaptioningConfig, BeforeValidator(captioning_of), PlainSerializer(_dumped)] = Field(
        default_factory=CaptioningConfig
    )


class Localisation(_Strict):
    """Heat maps and masks of what a text names, beside the marks, and beside those of a text that means nothing."""

    task: Literal["localisation"]
    data: str
    text: str
    sam: str | None = None
    """The Segment Anything Model that draws the last mask; without one it is drawn from the heat map."""
    limit: int = Field(default=0, ge=0)
    """How many images are drawn from the set; 0 takes all."""
    limit_seed: int = Field(default=0, ge=0, lt=2**63)
    """From which seed."""
    compared: bool = False
    """Whether the untaught model is scored too, for a page of the images that gained most and lost most."""
    shown: int = Field(default=10, ge=0)
    """How many of each the page shows."""
    saliency: Annotated[SaliencyConfig, BeforeValidator(saliency_of), PlainSerializer(_dumped)] = Field(
        default_factory=SaliencyConfig
    )
    masks: Annotated[MaskConfig, BeforeValidator(masks_of), PlainSerializer(_dumped)] = Field(
        default_factory=MaskConfig
    )


class Cost(_Strict):
    """The time and memory that the images take; nothing is taught."""

    task: Literal["cost"]


class Likeness(_Strict):
    """How like a concept's description its images are, and photos of it, on a page with both; nothing is taught."""

    task: Literal["likeness"]
    novel: str
    """The data set with photos of the concepts."""
    class_names: ClassNames = "wordnet"
    shown: int = Field(default=10, ge=1)
    """How many of each the page shows."""


Evaluation = Annotated[
    Classification | Retrieval | Captioning | Localisation | Cost | Likeness, Field(discriminator="task")
]


class Experiment(_Strict):
    """What is taught to which model, how, and on what it is scored."""

    model: str
    concepts: str
    """A file of concepts: one of `concept_names()`, or a path."""
    only: tuple[str, ...] = ()
    """The concepts of the file that are taught; all if empty."""
    taught: bool = True
    """Whether anything is: else the model is scored as it is."""
    images: str = Field(default="inverted", min_length=1)
    """What it is taught on: 'inverted', the name of a control, or what --images-from takes."""
    generation: Annotated[Generation, BeforeValidator(generation_of), PlainSerializer(_dumped)] = Field(
        default_factory=Generation
    )
    """How 'sdxl' makes images."""
    inversion: Annotated[InversionConfig, BeforeValidator(inversion_of), PlainSerializer(_dumped)] = Field(
        default_factory=InversionConfig
    )
    teaching: Annotated[TeachingConfig, BeforeValidator(teaching_of), PlainSerializer(_dumped)] = Field(
        default_factory=TeachingConfig
    )
    evaluate: Evaluation
    keep: bool = False
    """Whether the taught model stays in the run's folder, as `models/KEY`."""
    seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def teaches(self) -> bool:
        """Whether a model is taught, not only images made."""
        return self.taught and not isinstance(self.evaluate, Cost | Likeness)

    @property
    def compared(self) -> bool:
        """Whether the untaught model is scored beside the taught one."""
        return self.teaches and bool(getattr(self.evaluate, "compared", getattr(self.evaluate, "best_names", 0)))

    def read_concepts(self) -> tuple[Concept, ...]:
        """All concepts of the file."""
        return _concepts(concept_file(self.concepts))

    @property
    def data(self) -> tuple[str, ...]:
        """The data sets that scoring needs."""
        return tuple(name for key in ("novel", "known", "data") if (name := getattr(self.evaluate, key, None)))


class Sweep(_Strict):
    """An axis along which a setting takes several values."""

    set: str | tuple[str, ...]
    """The setting, with dots: 'teaching.learning_rate'; or several that take the same value."""
    to: tuple[str | int | float, ...] = Field(min_length=1)
    times: bool = False
    """Whether these multiply the value that the experiment has, instead of taking its place."""
    baseline: bool = False
    """Whether the untaught model stands before them."""

    @property
    def settings(self) -> tuple[str, ...]:
        """Those that take the values."""
        return (self.set,) if isinstance(self.set, str) else self.set


class Column(_Strict):
    """A number that is read off the scores."""

    title: str
    times: float = 100.0
    """What it is multiplied by: 100 for percent."""


class Needs(_Strict):
    """What has to be brought."""

    data: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


Points = dict[str, dict[str, Any]]


class Cell(_Strict):
    """What holds for some combinations of points alone."""

    at: dict[str, str] = Field(min_length=1)
    """By axis, the point."""
    change: dict[str, Any] = {}
    """To the experiment, after those of the points."""
    left_out: bool = False
    """Whether there is no such experiment."""

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether the combination is one of them."""
        return all(labels.get(axis) == point for axis, point in self.at.items())


class Recipe(_Strict):
    """An experiment, and the paper's numbers beside which its own are printed."""

    name: str
    paper: str
    """The table or figure, in the paper's numbering and, where it differs, the supplement's."""
    caption: str
    """What it shows."""
    command: str
    needs: Needs
    time: str = NOT_MEASURED
    memory: str = NOT_MEASURED
    differences: tuple[str, ...] = ()
    """Where this is known to differ from what the paper did."""
    experiment: dict[str, Any]
    axes: dict[str, Literal["each"] | Sweep | Points] = Field(min_length=1)
    cells: tuple[Cell, ...] = ()
    columns: dict[str, Column] = Field(min_length=1)
    """By the path within the scores, with dots. There {concept} stands for the concept's name, and {mask} for the last
    mask of a localisation: 'sam' where it has a Segment Anything Model, else 'mask'."""
    expect: tuple[dict[str, Any], ...] = ()
    """The paper's numbers: points of axes, and by title of column a number, or one for each point of the last axis."""

    others: dict[str, dict[str, float]] = {}
    """Systems that the paper names for comparison and that are not run: its numbers of each, by title of column."""
    average: dict[str, tuple[float | None, ...]] = {}
    """The paper's means over all points of the other axes, by title of column, for each point of the last axis."""

    @staticmethod
    def read(name: str | Path) -> "Recipe":
        """The recipe of that name in the package ('paper/table-2'), or in a YAML file.

        Raises:
            ConfigError: if there is none, or it is not laid out as one; one line says where.
        """
        return _shipped(str(name)) if str(name) in recipe_names() else _read(name)

    def text(self) -> str:
        """As it is written down; a recipe that extends another shows what it adds."""
        return _recipe_file(self.name).read_text(encoding="utf-8")

    def but(self, **others: Any) -> "Recipe":
        """The same with other values of these fields."""
        return Recipe(**{name: getattr(self, name) for name in Recipe.model_fields} | others)

    @property
    def digest(self) -> str:
        """Of all that decides its numbers."""
        # recipes without cells keep the digest that they had before there were any
        decide = {"experiment", "axes", "columns", *(["cells"] if self.cells else [])}
        whole = self.model_dump(mode="json", include=decide)
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]

    def points(self, axis: str) -> tuple[str, ...]:
        """The labels of an axis's points, in order."""
        return tuple(dict.fromkeys(case.labels[axis] for case in self.cases))

    @cached_property
    def cases(self) -> tuple["Case", ...]:
        """All combinations of points, the last axis changing fastest.

        Raises:
            ConfigError: if a point's change gives no experiment; one line says which and why.
        """
        return tuple(self._expand(self.experiment, list(self.axes.items()), {}))

    def _expand(
        self, experiment: Mapping[str, Any], axes: list[tuple[str, Any]], labels: Mapping[str, str]
    ) -> Iterator["Case"]:
        if not axes:
            cells = [cell for cell in self.cells if cell.holds(labels)]
            for cell in cells:
                experiment = merged(experiment, cell.change)
            if not any(cell.left_out for cell in cells):
                yield Case(dict(labels), self._lesson(experiment, labels))
            return
        (axis, found), *rest = axes
        if found == "each":
            names = [one.name for one in self._lesson(experiment, labels).read_concepts()]
            points: Points = {name: {"only": [name]} for name in names if name in (experiment.get("only") or names)}
        else:
            points = changes(found, experiment)
        for label, change in points.items():
            yield from self._expand(merged(experiment, change), rest, {**labels, axis: label})

    def _lesson(self, experiment: Mapping[str, Any], labels: Mapping[str, str]) -> Experiment:
        try:
            return Experiment(**experiment)
        except (TypeError, ValueError, ConfigError) as error:
            at = ", ".join(f"{axis} {label}" for axis, label in labels.items())
            raise ConfigError(f"the recipe {self.name}{f' at {at}' if at else ''}: {_first(error)}") from error

    def check(self) -> None:
        """Raise ConfigError unless the experiments, and the paper's numbers, are as the axes and columns say."""
        titles = {column.title for column in self.columns.values()}
        last = list(self.axes)[-1]
        count = len(self.points(last))
        for title, values in self.average.items():
            if title not in titles or len(values) != count:
                raise ConfigError(f"the recipe {self.name} has {len(values)} averages of {title!r}: expected {count}")
        for cell in self.cells:
            for axis, point in cell.at.items():
                if axis not in self.axes or point not in self.points(axis):
                    raise ConfigError(f"the recipe {self.name} has a cell at {axis} {point!r}, which is no point of it")
        for system, numbers in self.others.items():
            stray = next((title for title in numbers if title not in titles), None)
            if stray is not None:
                raise ConfigError(f"the recipe {self.name} has {stray!r} of {system}, which is no column")
        for entry in self.expect:
            for key, value in entry.items():
                if key in self.axes:
                    if value not in self.points(key):
                        raise ConfigError(f"the recipe {self.name} expects {key} {value!r}, which is no point of it")
                elif key not in titles:
                    raise ConfigError(f"the recipe {self.name} expects {key!r}, which is no axis and no column")
                elif isinstance(value, list) and (len(value) != count or last in entry):
                    raise ConfigError(
                        f"the recipe {self.name} expects {len(value)} numbers for {key!r}: "
                        f"it has {count} points of {last!r}"
                    )

    def expected(self, labels: Mapping[str, str], title: str) -> float | None:
        """The paper's number in that place; None where it has none."""
        last = list(self.axes)[-1]
        for entry in self.expect:
            if title in entry and all(labels.get(axis) == entry[axis] for axis in self.axes if axis in entry):
                value = entry[title]
                if isinstance(value, list):
                    value = value[self.points(last).index(labels[last])]
                return None if value is None else float(value)
        return None


@dataclass(frozen=True, slots=True)
class Case:
    """One experiment of a recipe, and where on its axes it lies."""

    labels: dict[str, str]
    experiment: Experiment


def changes(axis: Sweep | Points | Any, experiment: Mapping[str, Any]) -> Points:
    """Each point's label and its change to the experiment.

    >>> changes(Sweep(set="teaching.learning_rate", to=["1e-5"], baseline=True), {})
    {'baseline': {'taught': False}, '1e-5': {'teaching': {'learning_rate': '1e-5'}}}
    """
    if not isinstance(axis, Sweep):
        return dict(axis)
    found: Points = {BASELINE: {"taught": False}} if axis.baseline else {}
    for value in axis.to:
        change: dict[str, Any] = {}
        for path in axis.settings:
            change = merged(change, nested(path, float(value) * _at(experiment, path) if axis.times else value))
        found[str(value)] = change
    return found


def _at(experiment: Any, path: str) -> float:
    for key in path.split("."):
        experiment = experiment[key]
    return float(experiment)


def nested(path: str, value: Any) -> dict[str, Any]:
    """The change that gives one setting a value.

    >>> nested("teaching.update.part", "text")
    {'teaching': {'update': {'part': 'text'}}}
    """
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def merged(one: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The first with the change's values in place of its own, mappings merged key by key.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    found = dict(one)
    for key, value in change.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = merged(found[key], value) if both else value
    return found


def tasks_of() -> dict[str, str]:
    """The tasks that an experiment's model can be scored at, and what each is."""
    return {task: (kind.__doc__ or "").splitlines()[0] for task, kind in _kinds().items()}


def _kinds() -> dict[str, type[_Strict]]:
    """What is said of each task."""
    kinds: tuple[type[_Strict], ...] = get_args(get_args(Evaluation)[0])
    return {get_args(kind.model_fields["task"].annotation)[0]: kind for kind in kinds}


def recipe_names() -> tuple[str, ...]:
    """The recipes in the package, main tables and figures first."""
    folder = Path(str(resources.files("molyneux.recipes") / "paper"))
    names = [f"paper/{path.stem}" for path in folder.glob("*.yaml")]
    return tuple(sorted(names, key=lambda name: ("supplement" in name, "figure" in name, _number(name))))


def concept_names() -> tuple[str, ...]:
    """The paper's concept files in the package."""
    folder = Path(str(resources.files("molyneux.recipes") / "concepts"))
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def concept_file(name: str) -> Path:
    """Where the concepts of that name are; a path is taken as it is."""
    if name in concept_names():
        return Path(str(resources.files("molyneux.recipes") / "concepts" / f"{name}.yaml"))
    return Path(name)


def _recipe_file(name: str | Path) -> Path:
    if str(name) in recipe_names():
        return Path(str(resources.files("molyneux.recipes") / f"{name}.yaml"))
    return Path(name)


def _read(name: str | Path) -> Recipe:
    path = _recipe_file(name)
    if not path.is_file():
        raise ConfigError(f"there is no recipe {str(name)!r}: see 'molyneux list recipes', or give a YAML file")
    try:
        recipe = Recipe(name=str(name), **_extended(path))
        recipe.check()
    except (TypeError, ValueError, OSError, RecursionError, yaml.YAMLError, ConceptError) as error:
        raise ConfigError(f"the recipe {name} is not laid out as one: {_first(error)}") from error
    return recipe


_shipped = cache(_read)
"""A recipe of the package is read once."""


@cache
def _concepts(path: Path) -> tuple[Concept, ...]:
    return read_concepts(path)


def _extended(path: Path) -> dict[str, Any]:
    """A file's content over that of the recipe that it `extends`; axes and expected numbers are replaced whole."""
    content = parse_yaml(read_text(path, "the recipe", error=ConfigError, limit=LARGEST_YAML))
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping, got {type(content).__name__}")
    other = content.pop("extends", None)
    if other is None:
        return content
    if other not in recipe_names():
        raise ValueError(f"it extends {other!r}, which is no recipe")
    base = _extended(_recipe_file(other))
    return base | content | {"experiment": merged(base["experiment"], content.get("experiment", {}))}


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        # of evaluate.TASK.SETTING people write evaluate.SETTING
        whole, task = first["loc"], first["loc"][1] if first["loc"][:1] == ("evaluate",) and first["loc"][2:] else None
        place = ".".join(str(key) for key in whole if key != task)
        if first["type"] != "extra_forbidden":
            return f"{place}: {first['msg']}"
        kind = None if error.title != "Experiment" else _kinds().get(str(task), Experiment)
        known = "" if kind is None else f": known are {', '.join(kind.model_fields)}"
        return f"there is no setting {place}{known}"
    return " ".join(str(error).split())


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])
