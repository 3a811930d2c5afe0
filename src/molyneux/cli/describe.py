"""`molyneux describe`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_next
from molyneux.datasets.imagenet import ClassNames


def describe(
    *name: Annotated[str, Parameter(help="What is to be described.")],
    out: Annotated[Path, Parameter(help="A concept file, YAML or JSON; what it holds is kept and not asked again.")],
    names: Annotated[str | None, Parameter(help="More names: 'imagenet-1k', or a text file with one a line.")] = None,
    class_names: Annotated[
        ClassNames, Parameter(help="What ImageNet's classes are called: 'openai', 'wordnet' or 'wordnet-all'.")
    ] = "openai",
    model: Annotated[
        str | None, Parameter(help="A language model: 'hf:ORG/NAME', or a folder that transformers saved.")
    ] = None,
    endpoint: Annotated[
        str | None,
        Parameter(help="Or an OpenAI-compatible address; its key, if any, is taken from MOLYNEUX_API_KEY."),
    ] = None,
    endpoint_model: Annotated[str | None, Parameter(help="What the endpoint calls its model.")] = None,
    prompt: Annotated[
        Path | None,
        Parameter(help="Another prompt than the paper's: a text file with 'class name' in angle brackets."),
    ] = None,
    attempts: Annotated[int, Parameter(help="How often to ask, in all, where a description uses the name.")] = 5,
    longest: Annotated[int, Parameter(help="Tokens of a description, at most.")] = 200,
    seed: Annotated[int, Parameter(help="Decides what a local model writes, and an endpoint's, if it minds.")] = 0,
    device: Annotated[str | None, Parameter(help="Where a local model computes: 'cpu' unless given.")] = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Let a language model write descriptions that do not use the name, into a file that 'teach --concepts' takes."""
    from molyneux.pipeline.describe import DescribeSettings
    from molyneux.pipeline.describe import describe as describe_all

    settings = DescribeSettings(
        out=out,
        names=name,
        list_of_names=names,
        class_names=class_names,
        model=model,
        endpoint=endpoint,
        endpoint_model=endpoint_model,
        prompt=prompt,
        attempts=attempts,
        longest=longest,
        seed=seed,
        device=device,
    )
    with progress(quiet) as on_step:
        found = describe_all(settings, on_step=on_step)
    if as_json:
        print_json({"out": str(out), "written": dict(found.written), "kept": list(found.kept)})
        return
    for title, text in found.written.items():
        print(f"{title}: {text}")
    print(f"{out}: {len(found.written)} written, {len(found.kept)} kept as they were")
    print_next("teach", "--concepts", str(out), "--out", "FOLDER")
