"""The images that a run teaches on: from the source that it asks for, or a control's."""

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from molyneux.concepts import Concept
from molyneux.datasets.folders import PhotoFolder
from molyneux.images.choices import CONTROLS
from molyneux.images.config import Control, ImageRequest
from molyneux.images.jobs import ImageMaker, InversionJob
from molyneux.runs.options import Progress
from molyneux.synthetic import LazyImages, SyntheticImages, description_only, noise_images
from molyneux.tables import imported

STAND_IN = Concept(
    "windsock",
    "A tapering cloth tube with broad orange and white stripes, blown out sideways from the top of a tall pole.",
)
"""What a single concept is taught on in the control 'shuffled'."""

SECOND_STAND_IN = Concept(
    "lava lamp",
    "A glass bottle on a metal cone, lit from below, in which big soft blobs of glowing red wax rise.",
)
"""The same for a concept with the name of the first."""


def check_images(request: ImageRequest, novel: PhotoFolder | None) -> None:
    """Raise an error if the source that is asked for cannot give the images; cheap.

    Raises:
        ConfigError: if there are to be no images and the training needs some.
        DataError: if external images cannot be read, or are among the photos that are scored.
        ModelError: if there is no such text-to-image model.
    """
    if request.source.check:
        imported("molyneux.images", request.source.check)(request, novel)


def run_images(
    image_maker: ImageMaker, request: ImageRequest, root: Path, work: Path, on_step: Progress | None = None
) -> LazyImages:
    """What the run teaches on, in the concepts' order, saved below `root`; finished folders there are read."""
    jobs = _jobs(request, root, work)
    if request.control is not None:
        made = control_images(request.control, image_maker, request, (), work, on_step)
        readers = [partial(made.__getitem__, place) for place in range(len(made))]
    elif request.source.images:
        readers = imported("molyneux.images", request.source.images)(image_maker.model, request, on_step)
    else:
        return image_maker(jobs, on_step)
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
    """A control's images under the concepts' names; `own` are the concepts' own images, if made already."""
    make: Any = imported("molyneux.images", CONTROLS[control].images)
    made: LazyImages = make(image_maker, request, own, work, on_step)
    return made


def noise(
    image_maker: ImageMaker,
    request: ImageRequest,
    own: Sequence[SyntheticImages],
    work: Path,
    on_step: Progress | None = None,
) -> LazyImages:
    """Uniform noise without descriptions, of its own for each concept, as many images as in `own`."""
    del work, on_step
    config = request.inversion
    size = config.size or image_maker.model.inversion_size
    return LazyImages(
        [
            partial(_noise, concept, own[index : index + 1], config.images, size, _noise_seed(request.seed, index))
            for index, concept in enumerate(request.concepts)
        ]
    )


def shuffled(
    image_maker: ImageMaker,
    request: ImageRequest,
    own: Sequence[SyntheticImages],
    work: Path,
    on_step: Progress | None = None,
) -> LazyImages:
    """Another concept's images; for a single concept a stand-in's.

    Their descriptions are that concept's, if the run's source uses descriptions; else there are none.
    """
    concepts, source = request.concepts, request.source
    if len(concepts) == 1 and not source.has_images:
        return LazyImages([partial(description_only(stand_in(concepts[0])).shown_as, concepts[0])])
    if len(concepts) == 1:
        own = image_maker(_jobs(request, work / "stand-in", work, concepts=[stand_in(concepts[0])]), on_step)
        without_descriptions = not source.uses_descriptions
        return LazyImages([partial(_shown_as, own, 0, concepts[0], without_descriptions=without_descriptions)])
    originals = own or image_maker(_jobs(request, work / "own", work), on_step)
    places = derangement(len(concepts), request.seed)
    return LazyImages(
        [partial(_shown_as, originals, place, concept) for concept, place in zip(concepts, places, strict=True)]
    )


def stand_in(concept: Concept) -> Concept:
    """A concept that has nothing to do with this one."""
    return SECOND_STAND_IN if concept.name.casefold() == STAND_IN.name else STAND_IN


def fresh_images(
    image_maker: ImageMaker, request: ImageRequest, count: int, work: Path, on_step: Progress | None = None
) -> LazyImages:
    """Inverted images of each concept from the next seed, which were not taught on."""
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
