"""A recipe with something else in its place: another model, other concepts, other settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from molyneux.recipes.schema import Recipe, merged, nested


def changed(recipe: Recipe, settings: Mapping[str, Any], model: str | None, concepts: str | None) -> Recipe:
    """The recipe with other settings in all its experiments, with one model for all or for one point, other concepts.

    A model for all takes the place of the axis 'model', whose first point's other changes hold for it. Beside
    another model or other concepts the paper has no numbers. The caption says what was changed.

    Raises:
        ConfigError: if the change gives no recipe.
    """
    said = said_changes(settings, model, concepts)
    settings, model, concepts = _sorted_out(settings, model, concepts)
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
    # what is given holds against what points and cells say, too
    axes = {
        axis: {label: _against(change, over) for label, change in found.items()} if isinstance(found, dict) else found
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


def said_changes(settings: Mapping[str, Any], model: str | None, concepts: str | None) -> tuple[str, ...]:
    """What a table says was changed.

    >>> said_changes({"inversion.steps": 10}, "ViLT=folder", None)
    ('model ViLT = folder', 'inversion.steps = 10')
    """
    settings, model, concepts = _sorted_out(settings, model, concepts)
    found = (
        [] if model is None else [f"model {' = '.join(model.split('=', 1))}" if "=" in model else f"model = {model}"]
    )
    found += [] if concepts is None else [f"concepts = {concepts}"]
    return tuple(found + [f"{key} = {value}" for key, value in settings.items()])


def marked(caption: str, said: Sequence[str]) -> str:
    """The caption with what was changed at its end.

    >>> marked("Total variation, with CLIP.", ["model = mini"])
    'Total variation, with CLIP (changed: model = mini).'
    """
    return f"{caption.rstrip('.')} (changed: {', '.join(said)})." if said else caption


def _sorted_out(
    settings: Mapping[str, Any], model: str | None, concepts: str | None
) -> tuple[dict[str, Any], str | None, str | None]:
    """A model or concepts among the settings are as if given by themselves."""
    rest = {key: value for key, value in settings.items() if key not in ("model", "concepts")}
    return rest, _given("model", model, settings), _given("concepts", concepts, settings)


def _given(key: str, given: str | None, settings: Mapping[str, Any]) -> str | None:
    return str(settings[key]) if given is None and key in settings else given


def _against(change: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The change without what `over` decides."""
    found = dict(change)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = _against(found[key], value)
        elif key in found:
            del found[key]
    return found
