"""The pictures that a run teaches on: the concept's own, or a control's."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from molyneux.backends.base import VisionLanguageModel
from molyneux.concepts import Concept
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.pipeline.given import given_pictures
from molyneux.pipeline.settings import Control, Progress, TeachSettings
from molyneux.synthetic import SyntheticImages, noise_images

STAND_IN = Concept(
    "windsock",
    "A tapering cloth tube with broad orange and white stripes, blown out sideways from the top of a tall pole.",
)
"""Whose pictures a single concept is taught on in the shuffled control."""

SECOND_STAND_IN = Concept(
    "lava lamp",
    "A glass bottle on a metal cone, lit from below, in which big soft blobs of glowing red wax rise.",
)
"""The same for a concept that is called as the first."""


def run_pictures(
    model: VisionLanguageModel, settings: TeachSettings, root: Path, work: Path, on_step: Progress | None = None
) -> tuple[SyntheticImages, ...]:
    """What the run teaches on, in the concepts' order; finished folders below `root` are read."""
    kept = [_kept(root / concept.slug) for concept in settings.concepts]
    if all(pictures is not None for pictures in kept):
        return tuple(pictures for pictures in kept if pictures is not None)
    if settings.images_from is not None:
        return given_pictures(model, settings, root, on_step)
    if settings.control is None:
        return tuple(
            inverted(model, concept, settings.inversion, root / concept.slug, work, settings.seed, on_step)
            for concept in settings.concepts
        )
    made = control_pictures(settings.control, model, settings, (), work, on_step)
    for concept, pictures, found in zip(settings.concepts, made, kept, strict=True):
        if found is None:
            pictures.save(root / concept.slug)
    return made


def control_pictures(
    control: Control,
    model: VisionLanguageModel,
    settings: TeachSettings,
    own: Sequence[SyntheticImages],
    work: Path,
    on_step: Progress | None = None,
) -> tuple[SyntheticImages, ...]:
    """The concepts' names on pictures that cannot carry them; `own` are their own, where made already."""
    config, seed = settings.inversion, settings.seed
    if control == "noise":
        size = config.size or model.inversion_size
        # each concept has noise of its own
        return tuple(
            noise_images(concept, len(own[index]) if own else config.images, size, _noise_seed(seed, index))
            for index, concept in enumerate(settings.concepts)
        )
    if len(settings.concepts) == 1:
        concept = settings.concepts[0]
        other = stand_in(concept)
        pictures = inverted(model, other, config, work / "stand-in" / other.slug, work, seed, on_step)
        return (pictures.shown_as(concept),)
    originals = own or [
        inverted(model, concept, config, work / "own" / concept.slug, work, seed, on_step)
        for concept in settings.concepts
    ]
    places = derangement(len(settings.concepts), seed)
    return tuple(originals[place].shown_as(concept) for concept, place in zip(settings.concepts, places, strict=True))


def stand_in(concept: Concept) -> Concept:
    """Something described here that has nothing to do with the concept."""
    return SECOND_STAND_IN if concept.name.casefold() == STAND_IN.name else STAND_IN


def fresh_pictures(
    model: VisionLanguageModel,
    concept: Concept,
    settings: TeachSettings,
    count: int,
    work: Path,
    on_step: Progress | None = None,
) -> SyntheticImages:
    """A few pictures of the concept from the next seed, which teaching has not seen."""
    config = replace(settings.inversion, images=count)
    seed = settings.seed + 1
    folder = work / "fresh" / concept.slug
    return inverted(model, concept, config, folder, work, seed, on_step, what="fresh pictures")


def inverted(
    model: VisionLanguageModel,
    concept: Concept,
    config: InversionConfig,
    folder: Path,
    work: Path,
    seed: int,
    on_step: Progress | None = None,
    *,
    what: str = "pictures",
) -> SyntheticImages:
    """The concept's pictures from `folder`, else made and saved there; half a job goes on from `work`."""
    kept = _kept(folder)
    if kept is not None:
        return kept
    label = f"{what} of {concept.name}"
    pictures = invert(
        model,
        concept,
        config,
        seed=seed,
        checkpoint=work / f"{folder.parent.name}-{folder.name}.pt",
        on_step=None if on_step is None else lambda done, total: on_step(label, done, total),
    )
    pictures.save(folder)
    return pictures


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


def _kept(folder: Path) -> SyntheticImages | None:
    return SyntheticImages.load(folder) if (folder / "images.json").is_file() else None


def _noise_seed(seed: int, index: int) -> int:
    return (seed + 1_000_003 * index) % 2**63
