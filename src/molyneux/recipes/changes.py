"""A recipe with something else in its place: another model, other concepts, other settings."""

from collections.abc import Mapping
from typing import Any

from molyneux.recipes.schema import Recipe, merged, nested


def changed(recipe: Recipe, settings: Mapping[str, Any], model: str | None, concepts: str | None) -> Recipe:
    """The recipe with other settings in all its experiments, with one model for all or for one point, other concepts.

    A model for all takes the place of the axis 'model', whose first point's other changes hold for it. Beside
    another model or other concepts the paper has no numbers.

    Raises:
        ConfigError: if the change gives no recipe.
    """
    axes: dict[str, Any] = dict(recipe.axes)
    expect, average = recipe.expect, recipe.average
    over: dict[str, Any] = {} if concepts is None else {"concepts": concepts}
    for path, value in settings.items():
        over = merged(over, nested(path, value))
    if model is not None:
        points = axes.get("model")
        point, equals, name = model.partition("=")
        if not isinstance(points, dict):
            over = merged(over, {"model": model})
            expect, average = (), {}
        elif equals and point in points:
            axes["model"] = points | {point: points[point] | {"model": name}}
        else:
            axes["model"] = {model: next(iter(points.values())) | {"model": model}}
            expect, average = (), {}
    if concepts is not None:
        expect, average = (), {}
    # what is given holds against what points say, too
    axes = {
        axis: {label: _against(change, over) for label, change in found.items()} if isinstance(found, dict) else found
        for axis, found in axes.items()
    }
    return recipe.but(experiment=merged(recipe.experiment, over), axes=axes, expect=expect, average=average)


def _against(change: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The change without what `over` decides."""
    found = dict(change)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = _against(found[key], value)
        elif key in found:
            del found[key]
    return found
