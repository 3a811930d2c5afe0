"""The images that a run teaches on: the concept's own, or a control's."""

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from molyneux.concepts import Concept
from molyneux.images.config import Control, ImageRequest, without_images
from molyneux.images.external import external_images
from molyneux.images.jobs import ImageMaker, InversionJob
from molyneux.runs.options import Progress
from molyneux.synthetic import LazyImages, SyntheticImages, description_only, noise_images

STAND_IN = Concept(
    "windsock",
    "A tapering cloth tube with broad orange and white stripes, blown out sideways from the top of a tall pole.",
)
"""Whose images a single concept is taught on in the shuffled control."""

SECOND_STAND_IN = Concept(
    "lava lamp",
    "A glass bottle on a metal cone, lit from below, in which big soft blobs of glowing red wax rise.",
)
"""The same for a concept that is called as the first."""


def run_images(
    image_maker: ImageMaker, request: ImageRequest, root: Path, work: Path, on_step: Progress | None = None
) -> LazyImages:
    """What the run teaches on, in the concepts' order, saved below `root`; finished folders there are read."""
    jobs = _jobs(request, root, work)
    if request.images_from is None and request.control is None:
        return image_maker(jobs, on_step)
    if request.images_from is not None:
        readers = external_images(image_maker.model, request, on_step)
    else:
        assert request.control is not None
        made = control_images(request.control, image_maker, request, (), work, on_step)
        readers = [partial(made.__getitem__, place) for place in range(len(made))]
    about = [request.images_from, asdict(request.generation), request.control]
    for job, read in zip(jobs, readers, strict=True):
        image_maker.keep(job, read, about)
    return LazyImages.saved(job.folder for job in jobs)


def control_images(
    control: Control,
    image_maker: ImageMaker,
    request: ImageRequest,
    own: Sequence[SyntheticImages],
    work: Path,
    on_step: Progress | None = None,
) -> LazyImages:
    """The concepts' names on images that cannot carry them; `own` are their own, where made already.

    Noise has no words. Another concept's images have that concept's, where the run's own have words.
    """
    config, seed, concepts = request.inversion, request.seed, request.concepts
    if control == "noise":
        size = config.size or image_maker.model.inversion_size
        # each concept has noise of its own
        return LazyImages(
            [
                partial(_noise, concept, own[index : index + 1], config.images, size, _noise_seed(seed, index))
                for index, concept in enumerate(concepts)
            ]
        )
    if len(concepts) == 1 and without_images(request.images_from):
        return LazyImages([partial(description_only(stand_in(concepts[0])).shown_as, concepts[0])])
    if len(concepts) == 1:
        own = image_maker(_jobs(request, work / "stand-in", work, concepts=[stand_in(concepts[0])]), on_step)
        without_descriptions = request.images_from is not None
        return LazyImages([partial(_shown_as, own, 0, concepts[0], without_descriptions=without_descriptions)])
    originals = own or image_maker(_jobs(request, work / "own", work), on_step)
    places = derangement(len(concepts), seed)
    return LazyImages(
        [partial(_shown_as, originals, place, concept) for concept, place in zip(concepts, places, strict=True)]
    )


def stand_in(concept: Concept) -> Concept:
    """Something described here that has nothing to do with the concept."""
    return SECOND_STAND_IN if concept.name.casefold() == STAND_IN.name else STAND_IN


def fresh_images(
    image_maker: ImageMaker, request: ImageRequest, count: int, work: Path, on_step: Progress | None = None
) -> LazyImages:
    """A few images of each concept from the next seed, which teaching has not seen."""
    fresh = replace(request, inversion=replace(request.inversion, images=count), seed=request.seed + 1)
    return image_maker(_jobs(fresh, work / "fresh", work, what="fresh images"), on_step)


def derangement(count: int, seed: int) -> tuple[int, ...]:
    """A permutation that leaves nothing in its place, the same for the same seed.

    >>> derangement(2, seed=5)
    (1, 0)
    """
    order = random.Random(seed).sample(range(count), count)
    places = [0] * count
    for index, item in enumerate(order):
        places[item] = order[(index + 1) % count]
    return tuple(places)


def _jobs(
    request: ImageRequest,
    root: Path,
    work: Path,
    *,
    concepts: Sequence[Concept] = (),
    what: str = "images",
) -> list[InversionJob]:
    return [
        InversionJob(
            concept=concept,
            config=request.inversion,
            seed=request.seed,
            folder=root / concept.slug,
            work=work,
            what=what,
        )
        for concept in concepts or request.concepts
    ]


def _shown_as(
    images: Sequence[SyntheticImages], place: int, concept: Concept, *, without_descriptions: bool = False
) -> SyntheticImages:
    shown = images[place].shown_as(concept)
    return replace(shown, source_descriptions=()) if without_descriptions else shown


def _noise(concept: Concept, own: Sequence[SyntheticImages], count: int, size: int, seed: int) -> SyntheticImages:
    return noise_images(concept, (len(own[0]) if own else 0) or count, size, seed)


def _noise_seed(seed: int, index: int) -> int:
    return (seed + 1_000_003 * index) % 2**63
