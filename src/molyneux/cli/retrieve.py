"""`molyneux retrieve`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_retrieval


def retrieve(
    *,
    model: flags.Model,
    data: Annotated[
        Path,
        Parameter(
            help="A folder with images/ and captions.csv (image,caption), annotations.json (COCO) or dataset_NAME.json "
            "(Karpathy)."
        ),
    ],
    base: Annotated[str | None, Parameter(help="A second model, to show as 'before'.")] = None,
    split: Annotated[str, Parameter(help="Which photos of dataset_NAME.json.")] = "test",
    finished: Annotated[
        Path | None,
        Parameter(help="A folder for the finished rows of a model that judges pairs (ViLT), to go on from."),
    ] = None,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Score how well a model finds photos by their captions, and captions by their photos."""
    from molyneux.pipeline.retrieval import RetrieveSettings, retrieve_folder

    settings = RetrieveSettings(model=model, data=data, base=base, split=split, finished=finished, running=running)
    with progress(quiet) as on_step:
        scores = retrieve_folder(settings, on_step=on_step).as_dict()
    if as_json:
        print_json(scores)
    else:
        print_retrieval(scores)
