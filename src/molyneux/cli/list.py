"""`molyneux list models`."""

import sys
from dataclasses import asdict

from cyclopts import App

from molyneux.backends.families import FAMILIES, Family
from molyneux.cli import flags
from molyneux.cli.show import print_json

HEADINGS = ("family", "--model", "can", "tokens", "pixels", "weights", "tested on")
FOLDER = "FOLDER, too: one that 'molyneux teach' or the model's own library saved."

_WIDE = 1000  # for a program that reads the table, a row is a line

app = App(name="list", help="List what can be named on the command line.")


@app.command
def models(*, as_json: flags.AsJson = False) -> None:
    """What --model takes."""
    if as_json:
        print_json({family.name: _facts(family) for family in FAMILIES})
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else _WIDE, markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading == "tokens" else "left")
    for family in FAMILIES:
        table.add_row(
            family.name,
            family.loader,
            ", ".join(family.abilities),
            "own" if family.token_limit is None else str(family.token_limit),
            ", ".join(map(str, family.image_size)) or "own",
            family.weights,
            family.tested,
        )
    console.print(table, highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(FOLDER, highlight=False)


def _facts(family: Family) -> dict[str, object]:
    return {name: value for name, value in asdict(family).items() if name not in ("name", "implementation")}
