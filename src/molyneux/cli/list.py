"""`molyneux list`: what can be named on the command line."""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from molyneux.backends.families import FAMILIES, Family
from molyneux.cli import flags
from molyneux.cli.show import print_json, share

HEADINGS = ("family", "--model", "can", "tokens", "pixels", "weights", "tested on")
SET_HEADINGS = ("data set", "what it is", "molyneux ...", "FOLDER holds", "to be had from")
SET_FACTS = ("task", "what", "usage", "layout", "source", "medical")
RESEARCH = " (research only)"
BRING = "Molyneux ships none of these and fetches none."
FOLDER = "FOLDER, too: one that 'molyneux teach' or the model's own library saved."

PLACE = "The folder of a run, or of a model, that was taught by edits."

_WIDE = 1000  # for a program that reads the table, a row is a line

app = App(name="list", help="List what can be named on the command line.")


@app.command
def models(*, as_json: flags.AsJson = False) -> None:
    """What --model takes."""
    if as_json:
        print_json({family.name: _facts(family) for family in FAMILIES})
        return
    rows = (
        (
            family.name,
            family.loader,
            ", ".join(family.abilities),
            "own" if family.token_limit is None else str(family.token_limit),
            ", ".join(map(str, family.image_size)) or "own",
            family.weights,
            family.tested,
        )
        for family in FAMILIES
    )
    _print_table(HEADINGS, rows, FOLDER)


@app.command
def datasets(*, as_json: flags.AsJson = False) -> None:
    """What data sets can be read: the expected layout, and where to get them."""
    from molyneux.datasets.sets import SETS

    if as_json:
        print_json({one.name: {key: getattr(one, key) for key in SET_FACTS} for one in SETS})
        return
    rows = ((one.name, one.what + (RESEARCH if one.medical else ""), one.usage, one.layout, one.source) for one in SETS)
    _print_table(SET_HEADINGS, rows, BRING)


@app.command
def recipes(*, as_json: flags.AsJson = False) -> None:
    """What 'molyneux run' takes: the paper's tables and figures, what each needs, and what it has been run on."""
    from molyneux.recipes.schema import Recipe, recipe_names
    from molyneux.recipes.status import runs_of, status

    found = [Recipe.read(name) for name in recipe_names()]
    if as_json:
        facts = [one.model_dump(mode="json", include={"paper", "caption", "needs", "time", "memory"}) for one in found]
        more = [{"status": list(status(one)), "runs": list(runs_of(one))} for one in found]
        print_json({one.name: about | own for one, about, own in zip(found, facts, more, strict=True)})
        return
    _print_table(
        ("recipe", "in the paper", "data", "here"),
        [(one.name, one.paper, ", ".join(one.needs.data) or "none", "; ".join(status(one))) for one in found],
        "'molyneux show RECIPE' says more; 'molyneux run RECIPE --miniature' tries it out.",
    )
    ran = [run for one in found for run in runs_of(one)]
    if ran:
        print("\nRuns on real samples; each number is a mean over the concepts.\n")
    for run in ran:
        photos = f" on {run['on']}" if run["on"] else ""
        about = f"{run['model']}{photos}; {run['date']}, commit {run['commit']}"
        print(run["recipe"])
        for part in (about, f"changed: {run['changed']}", *run["numbers"].split("; ")):
            print(_indented(part))


@app.command
def tasks(*, as_json: flags.AsJson = False) -> None:
    """The tasks that recipes score models on."""
    from molyneux.recipes.schema import Recipe, recipe_names, tasks_of

    users: dict[str, list[str]] = {}
    for name in recipe_names():
        for task in dict.fromkeys(case.experiment.evaluate.task for case in Recipe.read(name).cases):
            users.setdefault(task, []).append(name)
    if as_json:
        print_json({task: {"what": what, "recipes": users.get(task, [])} for task, what in tasks_of().items()})
        return
    rows = [(task, what, ", ".join(users.get(task, []))) for task, what in tasks_of().items()]
    _print_table(("task", "what is scored", "recipes"), rows)


@app.command
def packs(*, model: Annotated[Path, Parameter(help=PLACE)], as_json: flags.AsJson = False) -> None:
    """The packs of a taught model: what was merged into its weights, and can be removed again."""
    from molyneux.packs import read_packs, short

    found = read_packs(model)
    if as_json:
        print_json({pack.name: pack.about() for pack in found})
        return
    _print_table(
        ("pack", "taught to", "weights", "recall", "false positives", "descriptions"),
        [
            (
                pack.name,
                pack.base_name,
                short(pack.base),
                *(share(pack.scores.get(score)) for score in ("recall", "false_positives")),
                " ".join(pack.descriptions),
            )
            for pack in found
        ],
    )


def _indented(text: str) -> str:
    """A paragraph below a heading, as wide as the terminal; on one line for a program."""
    from rich.console import Console

    if not sys.stdout.isatty():
        return f"  {text}"
    width = Console().width
    return textwrap.fill(text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], below: str | None = None) -> None:
    """A table where each row fits on a line, as it always does for a program; else a paragraph for each row."""
    from rich.console import Console
    from rich.table import Table

    found = [tuple(row) for row in rows]
    console = Console(width=None if sys.stdout.isatty() else _WIDE, markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "tokens" else "left", no_wrap=True)
    for row in found:
        table.add_row(*row)
    widest = sum(max(map(len, column)) + 2 for column in zip(headings, *found, strict=True))
    if widest <= console.width or not sys.stdout.isatty():
        console.print(table, highlight=False, soft_wrap=not sys.stdout.isatty())
    else:
        for row in found:
            # what one types is never broken, so that it can be copied
            print(row[0])
            for heading, cell in zip(headings[1:], row[1:], strict=True):
                print(
                    textwrap.fill(
                        f"{heading}: {cell}",
                        console.width,
                        initial_indent="  ",
                        subsequent_indent="    ",
                        break_long_words=False,
                        break_on_hyphens=False,
                    )
                )
    if below is not None:
        console.print(below, highlight=False)


def _facts(family: Family) -> dict[str, object]:
    return {name: value for name, value in asdict(family).items() if name not in ("name", "implementation")}
