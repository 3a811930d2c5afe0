"""`molyneux recognise`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_next, print_recognised


def recognise(
    photos: Annotated[
        tuple[str, ...], Parameter(name="PHOTO", help="Photos, or folders of photos (not their sub-folders).")
    ],
    /,
    *,
    model: flags.Model = "mini",
    base: Annotated[str | None, Parameter(help="A second model, to show as 'before'.")] = None,
    names: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            show_default=False,
            help="What to choose from: names, a text file with one a line, or 'imagenet-1k'. By default ImageNet's and "
            "those that the model was taught.",
        ),
    ] = (),
    top: Annotated[int, Parameter(help="How many names to show for each photo.")] = 5,
    rejected: Annotated[
        float,
        Parameter(
            help="How readily the model says 'none of these': to this share of descriptions of known classes, which "
            "stand in for photos. 0: never."
        ),
    ] = 0.05,
    out: Annotated[
        Path | None, Parameter(help="A new HTML file: a contact sheet of the photos with their names.")
    ] = None,
    prompt_config: flags.PromptFlags = flags.PROMPTS,
    window: flags.WindowFlags = flags.WINDOW,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
) -> None:
    """Ask a model what is in photos: the best names of each, and before teaching with --base."""
    from molyneux.tasks.recognition.page import check_page, write_page
    from molyneux.tasks.recognition.run import RecogniseSettings, given_names, recognise_photos

    if out is not None:
        check_page(out)
    settings = RecogniseSettings(
        photos=photos,
        model=model,
        base=base,
        names=given_names(names, prompt_config.class_names),
        top=top,
        rejected=rejected,
        prompt_config=prompt_config,
        window=window,
        running=running,
    )
    with progress(quiet) as on_step:
        found = recognise_photos(settings, on_step=on_step)
        if out is not None:
            write_page(out, found, window)
    if as_json:
        print_json(found.as_dict())
        return
    print_recognised(found, verbose)
    if out is not None:
        print(f"contact sheet: {out}")
    else:
        print_next("recognise", *photos[:1], "--model", model, "--out", "PAGE.html")
