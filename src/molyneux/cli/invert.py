"""`molyneux invert`."""

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json, print_next


def invert(
    name: flags.Name = None,
    /,
    *,
    out: flags.Out,
    description: flags.Descriptions = (),
    concepts: flags.ConceptFile = None,
    model: flags.Model = "mini",
    seed: flags.Seed = 0,
    running: flags.RunningFlags = flags.RUNNING,
    executor: flags.ExecutorFlag = "serial",
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    inversion_preset: flags.InversionPreset = "default",
    inversion: flags.InversionFlags = flags.INVERSION,
) -> None:
    """Turn descriptions into images, by inverting the model."""
    del inversion_preset  # taken into account where flags are read
    found = flags.given_concepts(name, description, concepts)
    flags.warn_of_names(found)

    from molyneux.pipeline.invert_run import invert_concepts
    from molyneux.pipeline.settings import InvertSettings

    settings = InvertSettings(
        concepts=found,
        out=out,
        model=model,
        seed=seed,
        inversion=inversion,
        running=flags.placed(running),
        executor=executor,
    )
    with flags.continuable(out), progress(quiet) as on_step:
        images = invert_concepts(settings, on_step=on_step)
    result = {
        one.concept.name: {
            "folder": str(out / "synthetic" / one.concept.slug),
            "images": len(one),
            "seed": one.seed,
            "similarity": one.trace[-1].plain,
            "similarity_of_fresh_views": one.trace[-1].augmented,
        }
        for one in images
    }
    if as_json:
        print_json({"model": model, "concepts": result})
        return
    for title, entry in result.items():
        print(f"{title}: {entry['images']} images, similarity {entry['similarity']:.3f}: {entry['folder']}")
    if all(one.slug == one.name for one in found):  # as `teach` looks for the folders of images
        asked = ["--concepts", str(concepts)] if concepts is not None else [found[0].name]
        asked += [part for text in description for part in ("--description", text)]
        print_next("teach", *asked, "--model", model, "--images-from", str(out / "synthetic"), "--out", "FOLDER")
