"""`molyneux caption`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_captions, print_json


def caption(
    *,
    model: flags.Model,
    images: Annotated[
        Path | None,
        Parameter(
            help="A folder of photos; those in its sub-folders count too. With --references, else images/ beside these."
        ),
    ] = None,
    base: Annotated[str | None, Parameter(help="A second model, to show as 'before'.")] = None,
    control: flags.ControlModels = None,
    references: Annotated[
        Path | None,
        Parameter(
            help="What people wrote, to score against: captions.csv (image,caption), annotations.json or "
            "captions_NAME.json (COCO), dataset_NAME.json (Karpathy). Only photos of that list are captioned then."
        ),
    ] = None,
    split: flags.CaptionSplit = "test",
    out: Annotated[
        Path | None,
        Parameter(help="A new folder for captions, scores and a page of samples, or that of the same run to continue."),
    ] = None,
    seed: Annotated[int, Parameter(help="For the method 'top_p': the same seed gives the same captions.")] = 0,
    java: Annotated[bool, Parameter(help="METEOR, and SPICE with --corenlp-dir, where 'java -version' runs.")] = True,
    corenlp_dir: Annotated[
        Path | None, Parameter(help="The unpacked Stanford CoreNLP 3.6.0, which SPICE needs; nothing is downloaded.")
    ] = None,
    samples: Annotated[int, Parameter(help="With --base: how many captions that gained most, and lost most.")] = 10,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    captioning: flags.CaptioningFlags = flags.CAPTIONING,
) -> None:
    """Say in a sentence what is on each photo of a folder, with a model that writes captions (CoCa)."""
    from molyneux.tasks.captioning.run import CaptionSettings, caption_folder

    settings = CaptionSettings(
        model=model,
        images=images,
        base=base,
        controls=control or {},
        references=references,
        split=split,
        out=out,
        captioning=captioning,
        seed=seed,
        java=java,
        corenlp=corenlp_dir,
        samples=samples,
        running=running,
    )
    with flags.continuable(out), progress(quiet) as on_step:
        found = caption_folder(settings, command=("molyneux", *sys.argv[1:]), on_step=on_step).as_dict()
    if as_json:
        print_json(found)
        return
    print_captions(found)
    if out is not None:
        print(f"report: {out / 'report.html'}")
