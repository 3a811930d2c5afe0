"""`molyneux demo`."""

import sys
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_scores

NAME = "sunflower"
DESCRIPTION = "A tall plant with a large round flower head, bright yellow petals and a dark brown centre full of seeds."
DRAWINGS = 30


def demo(
    *,
    runs: Annotated[Path, Parameter(help="Where the demo's folder is made.")] = Path("runs"),
    controls: Annotated[bool, Parameter(help="Score both controls beside the run.")] = True,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Teach 'mini' what a sunflower is, from words, and score it on drawn sunflowers (not photos)."""
    from molyneux.concepts import Concept
    from molyneux.datasets.toy import draw_sunflowers, write_folder
    from molyneux.pipeline.run import read_scores, teach_concepts
    from molyneux.pipeline.settings import TeachSettings

    out = fresh(runs / "demo")
    with TemporaryDirectory(prefix="molyneux-") as temporary, progress(quiet) as on_step:
        drawings = write_folder(
            Path(temporary) / "drawings-not-photos",
            {NAME: draw_sunflowers(DRAWINGS, size=256, seed=0)},
        )
        settings = TeachSettings(
            concepts=(Concept(NAME, DESCRIPTION),), out=out, novel=drawings, drawn=True, controls=controls
        )
        teach_concepts(settings, command=("molyneux", *sys.argv[1:]), on_step=on_step)
    scores = read_scores(out)
    if as_json:
        print_json(scores | {"report": str(out / "report.html")})
        return
    print(f"Taught from words alone, scored on {DRAWINGS} drawings of sunflowers (drawings, not photos):")
    print_scores(scores)
    print(f"report: {out / 'report.html'}")


def fresh(folder: Path) -> Path:
    """The folder's name, or with the first number behind it that is not taken."""
    if not folder.exists():
        return folder
    return next(path for number in count(2) if not (path := folder.with_name(f"{folder.name}-{number}")).exists())
