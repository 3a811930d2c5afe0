"""Record on what recipes have been run: what `molyneux list recipes` says of them.

    python scripts/record_recipes.py              # runs all in miniature, and records that
    python scripts/record_recipes.py RUN [RUN..]  # records finished runs, on real samples or in miniature

A record holds until its recipe changes; run the first again then.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from molyneux.files import write_json
from molyneux.recipes.run import RESULTS, RecipeSettings, run_recipe
from molyneux.recipes.schema import Recipe, recipe_names
from molyneux.recipes.status import RECORD, record

TARGET = Path(__file__).resolve().parents[1] / "src" / "molyneux" / "recipes" / RECORD


def main() -> None:
    """Record the given runs, or run all recipes in miniature."""
    if sys.argv[1:]:
        add([json.loads((Path(run) / RESULTS).read_text(encoding="utf-8")) for run in sys.argv[1:]])
        return
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for name in recipe_names():
            settings = RecipeSettings(recipe=Recipe.read(name), out=Path(scratch) / name, miniature=True)
            found.append(run_recipe(settings).results)
            print(name, flush=True)
        add(found)


def add(runs: list[dict[str, Any]]) -> None:
    """Write what was run over what is recorded."""
    content = {name: dict(one) for name, one in record().items()}
    for run in runs:
        entry = content.setdefault(run["recipe"], {})
        if run["miniature"]:
            entry["miniature"] = {"digest": run["digest"]}
        else:
            sets = ", ".join(Path(folder).name for folder in run["data"].values())
            entry["samples"] = {"digest": run["digest"], "on": f"{run['model'] or 'its own models'}; {sets}"}
    write_json(TARGET, {name: content[name] for name in recipe_names() if name in content})


if __name__ == "__main__":
    main()
