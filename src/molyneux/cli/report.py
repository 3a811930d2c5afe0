"""`molyneux report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.show import print_json


def report(
    folder: Annotated[Path, Parameter(help="A run's folder, as 'molyneux teach', 'caption' or 'localise' writes it.")],
    /,
    *,
    as_json: flags.AsJson = False,
) -> None:
    """Write a run's report.html anew, from the files in its folder."""
    from molyneux.report.html import write_report
    from molyneux.tasks.captioning.page import is_caption_run, write_caption_report
    from molyneux.tasks.localisation.page import draw_gallery, is_gallery

    if is_caption_run(folder):
        path = write_caption_report(folder)
    else:
        path = draw_gallery(folder) if is_gallery(folder) else write_report(folder)
    if as_json:
        print_json({"report": str(path)})
    else:
        print(f"report: {path}")
