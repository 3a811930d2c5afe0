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
            help="A list of captions or the folder it lies in: captions.csv (image,caption), annotations.json or "
            "captions_NAME.json (COCO), dataset_NAME.json (Karpathy)."
        ),
    ],
    images: Annotated[Path | None, Parameter(help="The folder of the photos, if not images/ beside the list.")] = None,
    base: Annotated[str | None, Parameter(help="A second model, to show as 'before'.")] = None,
    control: flags.ControlModels = None,
    split: flags.CaptionSplit = "test",
    rerank_with: Annotated[
        str | None,
        Parameter(
            help="A model of the other kind: the one that embeds (CLIP) chooses each query's --top, the one that "
            "judges pairs (ViLT) puts them in order."
        ),
    ] = None,
    top: Annotated[int, Parameter(help="With --rerank-with: how many of each query's best.")] = 64,
    by_logit: Annotated[
        bool,
        Parameter(negative=(), help="Rank by the logit of a match alone, as ViLT's published retrieval does."),
    ] = False,
    finished: Annotated[
        Path | None,
        Parameter(help="A folder for the finished rows of a model that judges pairs (ViLT), else the cache folder."),
    ] = None,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Score how well a model finds photos by their captions, and captions by their photos."""
    from molyneux.tasks.retrieval.run import RetrieveSettings, retrieve_folder

    settings = RetrieveSettings(
        model=model,
        data=data,
        images=images,
        base=base,
        controls=control or {},
        split=split,
        rerank_with=rerank_with,
        top=top,
        by_logit=by_logit,
        finished=finished,
        running=running,
    )
    with progress(quiet) as on_step:
        scores = retrieve_folder(settings, on_step=on_step).as_dict()
    if as_json:
        print_json(scores)
    else:
        print_retrieval(scores)
