"""On what each recipe has been run: a record that ships with Molyneux and holds as long as the recipe is the same."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from molyneux.recipes.schema import CONCEPT, Recipe
from molyneux.recipes.table import MEAN

RECORD = "ran.json"
"""For each recipe its digest when it ran in miniature, and its runs on real samples; by scripts/record_recipes.py."""

HEADINGS = ("recipe", "model", "on", "changed", "date", "commit", "numbers")
"""Of the runs on real samples."""


def status(recipe: Recipe) -> tuple[str, ...]:
    """What the recipe has been run on since it last changed, and the weights that it waits for."""
    found = []
    if runs_of(recipe):
        models = ", ".join(dict.fromkeys(one["model"] for one in runs_of(recipe)))
        found.append(f"run on real samples ({models})")
    if record().get(recipe.name, {}).get("miniature", {}).get("digest") == recipe.digest:
        found.append("run in miniature")
    if recipe.needs.weights:
        found.append(f"needs weights ({', '.join(recipe.needs.weights)})")
    return tuple(found) or ("not run yet",)


def runs_of(recipe: Recipe) -> tuple[Mapping[str, str], ...]:
    """The recipe's runs on real samples since it last changed, by `HEADINGS`."""
    runs = record().get(recipe.name, {}).get("samples", [])
    return tuple({"recipe": recipe.name} | one for one in runs if one["digest"] == recipe.digest)


def numbers_of(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> str:
    """The numbers of a run in a line: for each column its mean over concepts, at each combination of the other axes."""
    rows = [row for row in rows if MEAN not in row["at"].values()]
    *others, last = recipe.axes
    varied = [axis for axis in others if axis != CONCEPT and len({row["at"][axis] for row in rows}) > 1]
    parts = []
    for column in recipe.columns.values():
        means: dict[str, list[float]] = {}
        for row in rows:
            value = row["values"].get(column.title, {}).get("ours")
            if value is not None:
                means.setdefault(", ".join(row["at"][axis] for axis in (*varied, last)), []).append(value)
        if means:
            said = ", ".join(f"{point} {sum(one) / len(one):.4g}" for point, one in means.items())
            parts.append(f"{column.title}: {said}")
    return "; ".join(parts)


@cache
def record() -> Mapping[str, Any]:
    """The record as it ships."""
    path = resources.files("molyneux.recipes") / RECORD
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
