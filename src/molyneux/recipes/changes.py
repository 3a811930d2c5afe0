"""A recipe with something else in its place: another model, other concepts, other settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from molyneux.errors import ConfigError
from molyneux.recipes.schema import Recipe, Sweep, merged, nested

ALL = ""
"""In place of a point, all of them."""


def changed(recipe: Recipe, settings: Mapping[str, Any], model: str | None, concepts: Sequence[str] = ()) -> Recipe:
    """The recipe with other settings in all its experiments, with one model for all or for one point, other concepts.

    A model for all takes the place of the axis 'model', whose first point's other changes hold for it. Of `concepts`
    one is a file for all, others are 'POINT=FILE'. Beside another model or other concepts the paper has no numbers.
    The caption says what was changed.

    Raises:
        ConfigError: if the change gives no recipe, is of a setting that an axis goes over, or of a model at no point.
    """
    said = said_changes(settings, model, concepts)
    settings, model, concepts = _sorted_out(settings, model, concepts)
    axes: dict[str, Any] = dict(recipe.axes)
    expect, average = recipe.expect, recipe.average
    files = _files(recipe, concepts)
    over: dict[str, Any] = {"concepts": files[ALL]} if ALL in files else {}
    for path, value in settings.items():
        over = merged(over, nested(path, value))
    for axis, swept in recipe.axes.items():
        for path in swept.settings if isinstance(swept, Sweep) and not swept.times else ():
            if _decides(over, path):
                raise ConfigError(
                    f"{recipe.name} goes over {path} along {axis!r}, so it cannot be set: choose points by --only"
                )
    if "taught" in over and any(_says_what_is_taught(found) for found in axes.values()):
        raise ConfigError(f"{recipe.name} has points at which nothing is taught: choose among them by --only")
    if model is not None:
        points = axes.get("model")
        point, equals, name = model.partition("=")
        if equals and not (isinstance(points, dict) and point in points) and not Path(model).exists():
            there = f"its points are {', '.join(points)}" if isinstance(points, dict) else "it has one for all points"
            raise ConfigError(f"{recipe.name} has no model at a point {point!r} for {name}: {there}")
        if not isinstance(points, dict):
            over = merged(over, {"model": model})
            expect, average = (), {}
        elif equals and point in points:
            axes["model"] = points | {point: points[point] | {"model": name}}
        else:
            axes["model"] = {model: next(iter(points.values())) | {"model": model}}
            expect, average = (), {}
    if concepts:
        expect, average = (), {}
    # what is given holds against what points and cells say, too
    axes = {
        axis: {
            label: _against(change, over) | ({"concepts": files[label]} if label in files else {})
            for label, change in found.items()
        }
        if isinstance(found, dict)
        else found
        for axis, found in axes.items()
    }
    cells = [
        cell.model_copy(update={"change": _against(cell.change, over)})
        for cell in recipe.cells
        if cell.at.get("model") in (None, *axes.get("model", ()))
    ]
    return recipe.but(
        experiment=merged(recipe.experiment, over),
        axes=axes,
        cells=tuple(cells),
        expect=expect,
        average=average,
        caption=marked(recipe.caption, said),
    )


def alike(recipe: Recipe, other: Recipe) -> tuple[str, ...]:
    """What a table says of points that a change made the same: for each axis those of them.

    >>> recipe = Recipe.read("paper/figure-13")
    >>> alike(recipe, changed(recipe, {"teaching.update.part": "tower"}, None))
    ('vision tower, text tower and both towers of the axis taught are the same here',)
    """
    found = []
    for axis, points in other.axes.items():
        before = recipe.axes[axis]
        if not isinstance(points, dict) or not isinstance(before, dict):
            continue
        groups: dict[str, list[str]] = {}
        for label, change in points.items():
            groups.setdefault(repr(change), []).append(label)
        for group in groups.values():
            if len({repr(before.get(label)) for label in group}) > 1:
                *first, last = group
                found.append(f"{', '.join(first)} and {last} of the axis {axis} are the same here")
    return tuple(found)


def said_changes(settings: Mapping[str, Any], model: str | None, concepts: Sequence[str] = ()) -> tuple[str, ...]:
    """What a table says was changed.

    >>> said_changes({"inversion.steps": 10}, "ViLT=folder", ["P1=short.json"])
    ('model ViLT = folder', 'concepts P1 = short.json', 'inversion.steps = 10')
    >>> said_changes({}, "/home/me/models/mini")
    ('model = mini',)
    """
    settings, model, concepts = _sorted_out(settings, model, concepts)
    found = [_said("model", one) for one in (() if model is None else (model,))]
    found += [_said("concepts", one) for one in concepts]
    return tuple(found + [f"{key} = {value}" for key, value in settings.items()])


def marked(caption: str, said: Sequence[str]) -> str:
    """The caption with what was changed at its end.

    >>> marked("Total variation, with CLIP.", ["model = mini"])
    'Total variation, with CLIP (changed: model = mini).'
    """
    return f"{caption.rstrip('.')} (changed: {', '.join(said)})." if said else caption


def shortened(model: str) -> str:
    """A name, or the last part of an absolute path: where a folder lies on one machine says nothing on another."""
    return Path(model).name if Path(model).is_absolute() else model


def _said(key: str, given: str) -> str:
    point, equals, value = given.partition("=")
    return f"{key} {point} = {shortened(value)}" if equals else f"{key} = {shortened(point)}"


def _sorted_out(
    settings: Mapping[str, Any], model: str | None, concepts: Sequence[str]
) -> tuple[dict[str, Any], str | None, tuple[str, ...]]:
    """A model or concepts among the settings are as if given by themselves."""
    rest = {key: value for key, value in settings.items() if key not in ("model", "concepts")}
    model = str(settings["model"]) if model is None and "model" in settings else model
    return rest, model, (str(settings["concepts"]),) if not concepts and "concepts" in settings else tuple(concepts)


def _files(recipe: Recipe, concepts: Sequence[str]) -> dict[str, str]:
    """The concepts' files by point, that for all by `ALL`.

    Raises:
        ConfigError: for a point that is none of the recipe's, or two files for one.
    """
    points = [point for found in recipe.axes.values() if isinstance(found, dict) for point in found]
    found: dict[str, str] = {}
    for given in concepts:
        point, equals, file = given.partition("=")
        point, file = (point, file) if equals else (ALL, given)
        if point != ALL and point not in points:
            raise ConfigError(f"{recipe.name} has no point {point!r} for {file}: its points are {', '.join(points)}")
        if point in found:
            raise ConfigError(f"{given} is a second file of concepts where {found[point]} was given: leave one out")
        found[point] = file
    return found


def _decides(over: Mapping[str, Any], path: str) -> bool:
    """Whether the setting of that path is among them."""
    found: Any = over
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True


def _says_what_is_taught(axis: object) -> bool:
    """Whether nothing is taught at one of the axis's points."""
    if isinstance(axis, Sweep):
        return axis.baseline
    return isinstance(axis, Mapping) and any("taught" in change for change in axis.values())


def _against(change: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The change without what `over` decides."""
    found = dict(change)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = _against(found[key], value)
        elif key in found:
            del found[key]
    return found
