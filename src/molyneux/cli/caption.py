"""`molyneux caption`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json


def caption(
    *,
    model: flags.Model,
    images: Annotated[Path, Parameter(help="A folder of photos; those in its sub-folders count too.")],
    seed: Annotated[int, Parameter(help="For the method 'top_p': the same seed gives the same captions.")] = 0,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    captioning: flags.CaptioningFlags = flags.CAPTIONING,
) -> None:
    """Say in a sentence what is on each photo of a folder, with a model that writes captions (CoCa)."""
    from molyneux.pipeline.captions import caption_photos

    with progress(quiet) as on_step:
        captions = caption_photos(model, images, captioning, seed=seed, on_step=on_step)
    if as_json:
        print_json({"model": model, "images": str(images), "captions": captions})
        return
    for path, text in captions.items():
        print(f"{path}: {text}")
