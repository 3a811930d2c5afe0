"""`molyneux localise`."""

from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_localised


def localise(
    *,
    model: flags.Model,
    images: Annotated[
        str,
        Parameter(
            help="A folder with images/ and masks/, or another set of marked images that 'molyneux list datasets' "
            "explains, as NAME:FOLDER or FOLDER; or any folder of images, for heat maps without scores."
        ),
    ],
    out: flags.Out,
    texts: Annotated[
        tuple[str, ...],
        Parameter(
            name="--text",
            show_default=False,
            help="What to look for; of several, the mean. Without one, what the set says is marked.",
        ),
    ] = (),
    category: Annotated[
        str | None,
        Parameter(help="Of a set that names what is marked (COCO): whose masks a --text is scored against."),
    ] = None,
    base: Annotated[str | None, Parameter(help="A second model, to show as 'before'.")] = None,
    control: flags.ControlModels = None,
    sam: Annotated[
        str | None,
        Parameter(help="A folder with a SAM or SAM 2, or its name on the hub (facebook/sam-vit-base)."),
    ] = None,
    limit: Annotated[int, Parameter(help="How many images, evenly over the set; 0 is all.")] = 0,
    limit_seed: Annotated[
        int | None, Parameter(help="Draw the images of --limit from this seed instead of evenly.")
    ] = None,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    saliency_preset: flags.SaliencyPreset = "default",
    saliency: flags.SaliencyFlags = flags.SALIENCY,
    masks: flags.MaskFlags = flags.MASKS,
) -> None:
    """Show where in images a model sees a text, make masks of that, and score both. For research only."""
    del saliency_preset  # taken into account where flags are read
    from molyneux.tasks.localisation.run import LocaliseSettings, localise_set

    settings = LocaliseSettings(
        model=model,
        images=images,
        out=out,
        texts=texts,
        category=category,
        base=base,
        controls=control or {},
        sam=sam,
        saliency=saliency,
        masks=masks,
        limit=limit,
        limit_seed=limit_seed,
        running=flags.placed(running),
    )
    with flags.continuable(out), progress(quiet) as on_step:
        scores = localise_set(settings, on_step=on_step).as_dict()
    if as_json:
        print_json(scores)
    else:
        print_localised(scores)
        print(f"report: {out / 'report.html'}")
