"""`molyneux invert`: from descriptions to a folder of images for each concept."""

from dataclasses import asdict

from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.concepts import check_distinct
from molyneux.images.jobs import ImageMaker, InversionJob
from molyneux.pipeline.settings import InvertSettings
from molyneux.runs.folder import check_out, open_run
from molyneux.runs.options import Progress
from molyneux.synthetic import LazyImages


def invert_concepts(settings: InvertSettings, *, on_step: Progress | None = None) -> LazyImages:
    """Write `synthetic/SLUG/` for each concept and `config.yaml` into `settings.out`; returns the images.

    An unfinished run of the same settings there is continued, to the same pixels.

    Raises:
        MolyneuxError: if the request cannot be fulfilled; one line says why.
    """
    check_distinct(settings.concepts)
    check_out(settings.out, settings.resolved())
    model = load(settings.model, **asdict(settings.running))
    for concept in settings.concepts:
        for text in concept.descriptions:
            model.check_text(text)
    weights = {settings.model: weights_digest(model.native)}
    folder = open_run(settings.out, settings.resolved(), weights, on_step)
    image_maker = ImageMaker(
        model=model, name=settings.model, running=settings.running, folder=folder, executor=settings.executor
    )
    jobs = [
        InversionJob(
            concept=concept,
            config=settings.inversion,
            seed=settings.seed,
            folder=folder.root / "synthetic" / concept.slug,
            work=folder.work,
        )
        for concept in settings.concepts
    ]
    found = image_maker(jobs, on_step)
    folder.finish()
    return found
