"""`molyneux evaluate`."""

from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_classes, print_json, print_next, print_predictions, print_scores
from molyneux.datasets.imagenet import SameNames


def evaluate(
    *,
    model: flags.Model,
    base: Annotated[str | None, Parameter(help="A second model, to show as 'before'.")] = None,
    novel: flags.Novel = None,
    known: flags.Known = None,
    names: flags.Names = None,
    same_names: Annotated[
        SameNames,
        Parameter(
            help="ImageNet's classes that share a name: 'merged' is one class of both; 'index' counts the first alone "
            "as the answer, as published numbers do."
        ),
    ] = "merged",
    per_class: Annotated[bool, Parameter(negative=(), help="Known accuracy class by class, too.")] = False,
    predictions: Annotated[
        bool, Parameter(negative=(), help="The three best names of every photo of the new concepts, too.")
    ] = False,
    prompt_config: flags.PromptFlags = flags.PROMPTS,
    texts: flags.TextFlags = flags.TEXTS,
    window: flags.WindowFlags = flags.WINDOW,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
) -> None:
    """Score a model, and its base beside it, on photos of new concepts and of known classes."""
    from molyneux.tasks.classification.run import EvaluateSettings, evaluate_folders

    settings = EvaluateSettings(
        model=model,
        base=base,
        novel=novel,
        known=known,
        names=names,
        same_names=same_names,
        prompt_config=prompt_config,
        window=window,
        texts=texts,
        running=flags.placed(running),
    )
    with progress(quiet) as on_step:
        found = evaluate_folders(settings, on_step=on_step)
    scores = found.as_dict(predictions=predictions, classes=per_class)
    if as_json:
        print_json(scores)
        return
    print_scores(scores, verbose)
    if per_class:
        print_classes(scores["classes"])
    if predictions:
        print_predictions(scores["predictions"])
    print_next("recognise", "PHOTO", "--model", model, *(("--base", base) if base is not None else ()))
