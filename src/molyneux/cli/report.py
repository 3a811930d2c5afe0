"""`molyneux report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.show import print_json


def report(
    folder: Annotated[Path, Parameter(help="A run's folder, as 'molyneux teach' or 'caption' writes it.")],
    /,
    *,
    as_json: flags.AsJson = False,
) -> None:
    """Write a run's report.html anew, from the files in its folder."""
    from molyneux.report.captions import is_caption_run, write_caption_report
    from molyneux.report.html import write_report

    path = write_caption_report(folder) if is_caption_run(folder) else write_report(folder)
    if as_json:
        print_json({"report": str(path)})
    else:
        print(path)
