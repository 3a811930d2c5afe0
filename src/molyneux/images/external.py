"""Images to teach on that inversion did not make: from a folder, from a text-to-image model, or none at all."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.diffusion import ImageGenerator, check_generator
from molyneux.backends.options import SDXL
from molyneux.concepts import Concept
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.photos import check_headers, load_batch
from molyneux.datasets.sets import read_set
from molyneux.errors import ConfigError, DataError
from molyneux.files import sha256
from molyneux.pipeline.settings import Progress, TeachSettings, without_images
from molyneux.synthetic import SyntheticImages, description_only, resized
from molyneux.tasks.classification.labels import name_key
from molyneux.teaching.text_anchors import uses_text_anchors

GENERATOR = "sdxl"


def generator_name(images_from: str) -> str | None:
    """The text-to-image model that 'sdxl' or 'sdxl:MODEL' names; None for a folder.

    >>> generator_name("sdxl:my-model"), generator_name("images")
    ('my-model', None)
    """
    kind, colon, model = images_from.partition(":")
    if kind != GENERATOR or (not colon and Path(images_from).is_dir()):
        return None
    return model or SDXL


def check_external(settings: TeachSettings, novel: PhotoFolder | None) -> None:
    """See what can be seen of the images before anything slow.

    Raises:
        ConfigError: if there are to be no images and the teaching needs some.
        DataError: if a concept has no folder, a image's header cannot be read, or a image is among the photos
            that are scored.
        ModelError: if the images are to be generated and diffusers is not installed, or there is no such model.
    """
    if settings.images_from is None:
        return
    if without_images(settings.images_from):
        if not uses_text_anchors(settings.teaching):
            raise ConfigError(
                "--images-from words gives no images, and this teaching needs some: expected a contrastive loss, "
                "teaching.update.part 'space', teaching.mixed, and teaching.relaxed or teaching.consensus above 0"
            )
        return
    if (name := generator_name(settings.images_from)) is not None:
        check_generator(name)
        return
    folder = _folder(settings)
    check_headers(folder.paths)
    scored = {} if novel is None else {sha256(path): path for path in novel.paths}
    for path in folder.paths:
        if (twin := scored.get(sha256(path))) is not None:
            raise DataError(f"{path} would be taught on and is scored on, as {twin}: keep the two apart")


def external_images(
    model: VisionLanguageModel, settings: TeachSettings, root: Path, on_step: Progress | None = None
) -> tuple[SyntheticImages, ...]:
    """The concepts' images as `settings.images_from` says, each saved below `root`; finished ones are read.

    Those of a folder become square as the model's photos do.

    Raises:
        DataError: if a image cannot be read.
        ModelError: if the text-to-image model cannot be loaded, or a description is too long for it.
    """
    assert settings.images_from is not None
    name = generator_name(settings.images_from)
    if name is None:
        bare = without_images(settings.images_from)
        made = tuple(map(description_only, settings.concepts)) if bare else _from_folder(model, settings)
        for images in made:
            if not (root / images.concept.slug).exists():
                images.save(root / images.concept.slug)
        return made
    generator = None
    found = []
    for concept in settings.concepts:
        folder = root / concept.slug
        if (folder / "images.json").is_file():
            found.append(SyntheticImages.load(folder))
            continue
        if generator is None:
            running = asdict(settings.running)
            generator = ImageGenerator.load(name, device=running["device"], precision=running["precision"])
        found.append(_generated(generator, concept, settings, model.image_size, on_step))
        found[-1].save(folder)
    return tuple(found)


def _generated(
    generator: ImageGenerator, concept: Concept, settings: TeachSettings, size: int, on_step: Progress | None
) -> SyntheticImages:
    started = time.perf_counter()
    label = f"images of {concept.name}"
    pixels = generator.generate(
        concept.descriptions,
        settings.generation,
        seed=_concept_seed(settings.seed, concept.name),
        on_step=None if on_step is None else lambda done, total: on_step(label, done, total),
    )
    return SyntheticImages(
        concept=concept,
        pixels=resized(pixels, size),
        seed=settings.seed,
        source="generated",
        depicted=concept.name,
        origin=generator.name,
        seconds=round(time.perf_counter() - started, 3),
    )


def _from_folder(model: VisionLanguageModel, settings: TeachSettings) -> tuple[SyntheticImages, ...]:
    folder = _folder(settings)
    places = {name_key(name): index for index, name in enumerate(folder.names)}

    def paths(concept: Concept) -> Sequence[Path]:
        label = places[name_key(concept.name)]
        return [photo.path for photo in folder.photos if photo.label == label]

    return tuple(
        SyntheticImages(
            concept=concept,
            pixels=load_batch(paths(concept), model.image_size, model.crop_fraction, model.photo_fit, folder.window),
            seed=settings.seed,
            source="given",
            depicted=concept.name,
        )
        for concept in settings.concepts
    )


def _folder(settings: TeachSettings) -> PhotoFolder:
    assert settings.images_from is not None
    folder = read_set(settings.images_from, settings.concept_names, settings.prompt_config.class_names, settings.window)
    found = {name_key(name) for name in folder.names}
    bare = [name for name in settings.concept_names if name_key(name) not in found]
    if bare:
        raise DataError(f"{settings.images_from} has no folder for {bare[0]!r}: expected one for each concept")
    return folder


def _concept_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1
