"""`molyneux demo`."""

import sys
from itertools import count
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_scores

NAME = "kangaroo"
DESCRIPTION = (
    "A tall brown animal that stands upright on big hind legs, with short arms, long ears and a thick long tail."
)


def demo(
    *,
    runs: Annotated[Path, Parameter(help="Where the demo's folder is made.")] = Path("runs"),
    controls: Annotated[bool, Parameter(help="Read both controls beside the run.")] = True,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Teach 'mini' what a kangaroo is, from one sentence, and see what can be seen without photos."""
    from molyneux.concepts import Concept
    from molyneux.pipeline.settings import TeachSettings
    from molyneux.pipeline.teach_run import read_scores, teach_concepts

    out = fresh(runs / "demo")
    settings = TeachSettings(concepts=(Concept(NAME, DESCRIPTION),), out=out, controls=controls)
    with progress(quiet) as on_step:
        teach_concepts(settings, command=("molyneux", *sys.argv[1:]), on_step=on_step)
    scores = read_scores(out).as_dict()
    if as_json:
        print_json(scores | {"report": str(out / "report.html")})
        return
    print(f"Taught 'mini' what a {NAME} is, from one sentence and no photo:")
    print(f"  {DESCRIPTION}")
    print_scores(scores)
    print("No photos come with Molyneux, so none were recognised here; with a folder of your own:")
    print(f"  molyneux evaluate --model {out / 'model'} --base mini --novel PHOTOS --names imagenet-1k")
    print("  (PHOTOS/kangaroo/*.jpg; the README has the numbers for twelve concepts)")
    print(f"report: {out / 'report.html'}")


def fresh(folder: Path) -> Path:
    """The folder's name, or with the first number behind it that is not taken."""
    if not folder.exists():
        return folder
    return next(path for number in count(2) if not (path := folder.with_name(f"{folder.name}-{number}")).exists())
