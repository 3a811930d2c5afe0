"""`molyneux teach`."""

import sys
from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_scores


def teach(
    name: flags.Name = None,
    /,
    *,
    out: flags.Out,
    description: flags.Descriptions = (),
    concepts: flags.ConceptFile = None,
    model: flags.Model = "mini",
    seed: flags.Seed = 0,
    novel: flags.Novel = None,
    known: flags.Known = None,
    names: flags.Names = None,
    images_from: flags.ImagesFrom = None,
    control: flags.TaughtControl = None,
    controls: Annotated[bool, Parameter(help="With photos: run and score the controls too.")] = True,
    fresh: Annotated[
        bool,
        Parameter(
            help="Without photos: measure on fresh synthetic images of each concept. Slow for ViLT; not possible with "
            "--images-from none."
        ),
    ] = True,
    adapter_only: Annotated[
        bool,
        Parameter(negative=(), help="With --teaching.update.rank: save only the small adapter."),
    ] = False,
    max_forgetting: Annotated[
        float | None,
        Parameter(help="Choose learning rate and strength so that at most this is forgotten, as forecast: 0.01."),
    ] = None,
    prompt_config: flags.PromptFlags = flags.PROMPTS,
    window: flags.WindowFlags = flags.WINDOW,
    running: flags.RunningFlags = flags.RUNNING,
    executor: flags.ExecutorFlag = "serial",
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    generation: flags.GenerationFlags = flags.GENERATION,
    inversion_preset: flags.InversionPreset = "default",
    inversion: flags.InversionFlags = flags.INVERSION,
    teaching_preset: flags.TeachingPreset = "default",
    teaching: flags.TeachingFlags = flags.TEACHING,
) -> None:
    """Teach concepts from descriptions: invert images, fine-tune on them, score, save and report."""
    del inversion_preset, teaching_preset  # taken into account where flags are read
    found = flags.given_concepts(name, description, concepts)

    from molyneux.pipeline.settings import TeachSettings
    from molyneux.pipeline.teach_run import read_scores, teach_concepts

    settings = TeachSettings(
        concepts=found,
        out=out,
        model=model,
        seed=seed,
        novel=novel,
        known=known,
        names=names,
        images_from=images_from,
        generation=generation,
        control=control,
        controls=controls,
        fresh=fresh,
        inversion=inversion,
        teaching=teaching,
        prompt_config=prompt_config,
        window=window,
        running=running,
        executor=executor,
        adapter_only=adapter_only,
        max_forgetting=max_forgetting,
    )
    with flags.continuable(out), progress(quiet) as on_step:
        teach_concepts(settings, command=("molyneux", *sys.argv[1:]), on_step=on_step)
    scores = read_scores(out).as_dict()
    if as_json:
        print_json(scores)
        return
    print_scores(scores)
    print(f"report: {out / 'report.html'}")
