"""`molyneux demo`."""

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_next, print_scores, print_shown

NAME = "pagoda"
DESCRIPTION = "A tall tower of several storeys, each with its own tiled roof whose corners curve upwards."


def demo(
    *,
    runs: Annotated[Path, Parameter(help="Where the demo's folder is made.")] = Path("runs"),
    controls: Annotated[bool, Parameter(help="Teach both controls beside the run.")] = True,
    as_json: flags.AsJson = False,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
) -> None:
    """Teach 'mini' what a pagoda is, from one sentence, and ask it about photos that come with Molyneux."""
    from molyneux.concepts import Concept
    from molyneux.files import fresh
    from molyneux.pipeline.settings import TeachSettings
    from molyneux.pipeline.teach_run import read_scores, teach_concepts
    from molyneux.records import SHOWN, ShownPhotos, read_record

    out = fresh(runs / "demo")
    with resources.as_file(resources.files("molyneux") / "photos") as photos:
        settings = TeachSettings(concepts=(Concept(NAME, DESCRIPTION),), out=out, controls=controls, show=photos)
        with progress(quiet) as on_step:
            teach_concepts(settings, command=("molyneux", *sys.argv[1:]), on_step=on_step)
    scores, shown = read_scores(out).as_dict(), read_record(ShownPhotos, out / SHOWN).as_dict()
    if as_json:
        print_json(scores | {"shown": shown, "report": str(out / "report.html")})
        return
    print(f"Taught 'mini' what a {NAME} is, from one sentence and no photo:")
    print(f"  {DESCRIPTION}")
    print_scores(scores, verbose)
    print_shown(shown)
    print(f"report: {out / 'report.html'}")
    print_next("recognise", "PHOTO", "--model", str(out / "model"), "--base", "mini")
