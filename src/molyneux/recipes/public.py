"""`molyneux.run`: a recipe by its name, or one of your own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from molyneux.backends.options import Running
from molyneux.recipes.run import RecipeResult, RecipeSettings, default_out, run_recipe
from molyneux.recipes.schema import Recipe
from molyneux.runs.options import Progress


def run(
    recipe: Recipe | str,
    data: Mapping[str, Path] | None = None,
    *,
    model: str | None = None,
    concepts: str | Sequence[str] = (),
    out: Path | None = None,
    only: Mapping[str, str | Sequence[str]] | None = None,
    changes: Mapping[str, Any] | None = None,
    miniature: bool = False,
    running: Running | None = None,
    on_step: Progress | None = None,
) -> RecipeResult:
    """Go through a recipe, write its table into a folder, and return its numbers beside the paper's.

    Args:
        recipe: a name such as 'paper/table-2', a YAML file, or a recipe.
        data: the folder of each data set, by the recipe's name for it.
        model: a model in place of the recipe's; or 'POINT=MODEL' in place of the one it calls POINT.
        concepts: a file of concepts in place of the recipe's; or several, the others as 'POINT=FILE'.
        out: a new folder, or that of the same run to continue it; `runs/` and the recipe's name if None.
        only: for an axis the one point that is wanted, or the several.
        changes: settings, with dots, that take another value in every experiment, as {'inversion.steps': 300}.
        miniature: whether tiny random models and drawings take the place of models and data, to see that it runs.
        running: where and in what precision models compute.
        on_step: told of the progress.

    Raises:
        MolyneuxError: if the request cannot be fulfilled; one line says why.
    """
    found = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    settings = RecipeSettings(
        recipe=found,
        out=default_out(found, miniature) if out is None else Path(out),
        data={name: Path(folder) for name, folder in (data or {}).items()},
        model=model,
        concepts=(concepts,) if isinstance(concepts, str) else tuple(concepts),
        only=only or {},
        changes=changes or {},
        miniature=miniature,
        running=running or Running(),
    )
    return run_recipe(settings, on_step=on_step)
