"""Record on what recipes have been run: what `molyneux list recipes` says of them.

    python scripts/record_recipes.py                     # runs all in miniature, and records that
    python scripts/record_recipes.py COMMIT RUN [RUN..]  # adds finished runs on real samples, made at that commit

A record holds until its recipe changes; run the first again then. Both write the table of docs/tables.md anew.
"""

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from molyneux.files import write_json, write_text
from molyneux.recipes.run import RESULTS, RecipeSettings, run_recipe
from molyneux.recipes.schema import Recipe, recipe_names
from molyneux.recipes.status import HEADINGS, RECORD, numbers_of, record, runs_of

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "src" / "molyneux" / "recipes" / RECORD
PAGE = ROOT / "docs" / "tables.md"
START, END = "<!-- runs: scripts/record_recipes.py -->\n", "<!-- end of runs -->\n"


def main() -> None:
    """Record the given runs, or run all recipes in miniature."""
    content = {name: dict(one) for name, one in record().items()}
    if sys.argv[1:]:
        commit, *runs = sys.argv[1:]
        for run in map(Path, runs):
            results = json.loads((run / RESULTS).read_text(encoding="utf-8"))
            date = datetime.fromtimestamp((run / RESULTS).stat().st_mtime, UTC).date()
            own = content.setdefault(results["recipe"], {}).setdefault("samples", [])
            entry = samples(results, str(date), commit)
            own[:] = [one for one in own if one["digest"] == entry["digest"] and one["changed"] != entry["changed"]]
            own.append(entry)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            for name in recipe_names():
                settings = RecipeSettings(recipe=Recipe.read(name), out=Path(scratch) / name, miniature=True)
                entry = content.setdefault(name, {})
                entry["miniature"] = {"digest": run_recipe(settings).results["digest"]}
                digest = entry["miniature"]["digest"]
                kept = [one for one in entry.pop("samples", []) if one["digest"] == digest]
                entry |= {"samples": kept} if kept else {}
                print(name, flush=True)
    write_json(TARGET, {name: content[name] for name in recipe_names() if name in content})
    record.cache_clear()
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    write_text(PAGE, before + START + table() + END + rest.partition(END)[2])


def samples(results: dict[str, Any], date: str, commit: str) -> dict[str, str]:
    """A run on real samples, as the record keeps it; of folders the names alone."""
    given = ({"concepts": results["concepts"]} if results["concepts"] else {}) | results["changed"] | results["only"]
    said = [f"{key} = {_short(value)}" for key, value in given.items()]
    return {
        "digest": results["digest"],
        "model": results["model"] or "its own models",
        "on": ", ".join(f"{_short(folder)} as {name}" for name, folder in results["data"].items()),
        "changed": ", ".join(said),
        "date": date,
        "commit": commit,
        "numbers": numbers_of(Recipe.read(results["recipe"]), results["rows"]),
    }


def table() -> str:
    """The runs as a table in Markdown."""
    rows = [[one[key] for key in HEADINGS] for name in recipe_names() for one in runs_of(Recipe.read(name))]
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', ' ') for cell in line)} |\n" for line in lines)


def _short(value: object) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " and ".join(map(_short, value))
    text = str(value)
    point, equals, file = text.rpartition("=")
    if equals:
        return f"{point} {_short(file)}"
    return Path(text.rpartition(":")[2]).name if "/" in text or text.endswith((".json", ".yaml")) else text


if __name__ == "__main__":
    main()
