"""`molyneux evaluate`."""

from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_scores


def evaluate(
    *,
    model: flags.Model,
    base: Annotated[str | None, Parameter(help="A second model, to show as 'before'.")] = None,
    novel: flags.Novel = None,
    known: flags.Known = None,
    names: flags.Names = None,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Score a model, and its base beside it, on photos of new concepts and of known classes."""
    from molyneux.pipeline.scoring import evaluate_folders
    from molyneux.pipeline.settings import EvaluateSettings

    settings = EvaluateSettings(model=model, base=base, novel=novel, known=known, names=names, running=running)
    with progress(quiet) as on_step:
        scores = evaluate_folders(settings, on_step=on_step).as_dict()
    if as_json:
        print_json(scores)
    else:
        print_scores(scores)
