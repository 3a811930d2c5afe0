"""`molyneux teach`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_next, print_scores
from molyneux.errors import ConfigError
from molyneux.inversion.config import InversionConfig


def teach(
    name: flags.Name = None,
    /,
    *,
    out: flags.Out,
    description: flags.Descriptions = (),
    concepts: flags.ConceptFile = None,
    config: flags.Config = None,
    model: Annotated[
        str,
        Parameter(
            name=("--model", "--base"),
            help="'mini', a name that 'molyneux list models' explains, or the folder of a saved model or a run: what "
            "it learned by edits stays.",
        ),
    ] = "mini",
    seed: flags.Seed = 0,
    novel: flags.Novel = None,
    known: flags.Known = None,
    names: flags.Names = None,
    show: Annotated[
        Path | None,
        Parameter(
            help="A folder of photos to look at in the report, with the names that the model gives them before and "
            "after. Photos in a sub-folder that is named like a concept show it."
        ),
    ] = None,
    images_from: flags.ImagesFrom = None,
    control: flags.TaughtControl = None,
    controls: Annotated[bool, Parameter(help="With photos: run and score the controls too.")] = True,
    fresh: Annotated[
        bool,
        Parameter(
            help="Without photos, where images were made: measure on fresh ones of each concept, beside controls. "
            "Takes up to twice as long as the images; slow for ViLT."
        ),
    ] = False,
    adapter_only: Annotated[
        bool,
        Parameter(
            negative=(), help="With --teaching.update.rank and a loss that it suits: save only the small adapter."
        ),
    ] = False,
    prompt_config: flags.PromptFlags = flags.PROMPTS,
    window: flags.WindowFlags = flags.WINDOW,
    running: flags.RunningFlags = flags.RUNNING,
    executor: flags.ExecutorFlag = "serial",
    as_json: flags.AsJson = False,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    generation: flags.GenerationFlags = flags.GENERATION,
    inversion_preset: flags.InversionPreset = "default",
    inversion: flags.InversionFlags = flags.INVERSION,
    teaching_preset: flags.TeachingPreset = "default",
    teaching: flags.TeachingFlags = flags.TEACHING,
) -> None:
    """Teach concepts from descriptions, score the model, save it and write a report."""
    del inversion_preset, teaching_preset  # taken into account where flags are read
    found = flags.configured_concepts(name, description, concepts, config)
    flags.warn_of_names(found)

    from molyneux.packs import model_named
    from molyneux.pipeline.settings import TeachSettings
    from molyneux.pipeline.teach_run import read_scores, teach_concepts

    settings = TeachSettings(
        concepts=found,
        out=out,
        model=model_named(model),
        seed=seed,
        novel=novel,
        known=known,
        names=names,
        show=show,
        images_from=images_from,
        generation=generation,
        control=control,
        controls=controls,
        fresh=fresh,
        inversion=inversion,
        teaching=teaching,
        prompt_config=prompt_config,
        window=window,
        replay=flags.configured_replay(config),
        running=flags.placed(running),
        executor=executor,
        adapter_only=adapter_only,
    )
    source = settings.image_request.source
    if inversion != InversionConfig() and control is None and not (source.has_images or source.inverts):
        raise ConfigError(
            "--inversion.* changes nothing where no images are made: add --images-from inversion, or leave them out"
        )
    with flags.continuable(out), progress(quiet) as on_step:
        teach_concepts(settings, command=("molyneux", *sys.argv[1:]), on_step=on_step)
    scores = read_scores(out).as_dict()
    if as_json:
        print_json(scores)
        return
    if not print_scores(scores, verbose):
        also = ", or fresh images with --fresh" if source.has_images else ""
        print(f"recognition was not measured: photos for --novel and --known would measure it{also}")
        if settings.teaching.objective.merges and settings.teaching.edit.strength == 1:
            print(f"expected price: {expected_price(settings.teaching.edit.price, len(settings.concepts))}")
    print(f"report: {out / 'report.html'}")
    print_next("recognise", "PHOTO", "--model", str(out / settings.saved), "--base", settings.model)


def expected_price(price: float, concepts: int) -> str:
    """What photos of known things lose to new names, in words; `price` is one name's share.

    >>> expected_price(0.01, 1)
    'the new name takes 1 % of photos of known things, judged by texts alone'
    """
    what = f"takes {100 * price:g} % of photos of known things, judged by texts alone"
    if concepts == 1:
        return f"the new name {what}"
    together = min(100.0, 100 * price * concepts)
    return f"each new name {what}; {concepts} names together up to {together:.3g} % (--teaching.edit.price sets it)"
