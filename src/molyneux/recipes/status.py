"""On what each recipe has been run: a record that ships with Molyneux and holds as long as the recipe is the same."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from molyneux.recipes.schema import Recipe

RECORD = "ran.json"
"""For each recipe, by what it was run on, its digest then; written by scripts/record_recipes.py."""


def status(recipe: Recipe) -> tuple[str, ...]:
    """What the recipe has been run on since it last changed, and the weights that it waits for."""
    ran = record().get(recipe.name, {})
    found = []
    samples = ran.get("samples", {})
    if samples.get("digest") == recipe.digest:
        found.append(f"run on real samples ({samples['on']})")
    if ran.get("miniature", {}).get("digest") == recipe.digest:
        found.append("run in miniature")
    if recipe.needs.weights:
        found.append(f"needs weights ({', '.join(recipe.needs.weights)})")
    return tuple(found) or ("not run yet",)


@cache
def record() -> Mapping[str, Any]:
    """The record as it ships."""
    path = resources.files("molyneux.recipes") / RECORD
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
