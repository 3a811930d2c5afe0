"""Images to teach on that inversion did not make: from a folder, from a text-to-image model, or none at all."""

import hashlib
import time
from collections.abc import Callable
from functools import cache, partial

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.diffusion import ImageGenerator, check_generator
from molyneux.backends.options import SDXL
from molyneux.concepts import Concept
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.names import name_key
from molyneux.datasets.photos import check_headers, load_batch
from molyneux.datasets.sets import read_set
from molyneux.datasets.windows import Kind
from molyneux.errors import ConfigError, DataError
from molyneux.files import sha256
from molyneux.images.choices import source_of
from molyneux.images.config import ImageRequest
from molyneux.runs.options import Progress
from molyneux.synthetic import SyntheticImages, description_only, resized

Readers = list[Callable[[], SyntheticImages]]
"""For each concept a function that reads or makes its images."""


def check_folder(request: ImageRequest, novel: PhotoFolder | None) -> None:
    """Raise DataError if a concept has no folder, an image's header cannot be read, or an image is also scored."""
    folder = _folder(request)
    check_headers(folder.paths, folder.window)
    scored = {} if novel is None else {sha256(path): path for path in novel.paths}
    for path in folder.paths:
        if (twin := scored.get(sha256(path))) is not None:
            raise DataError(f"{path} would be taught on and is scored on, as {twin}: keep the two apart")


def external_kinds(request: ImageRequest) -> frozenset[Kind]:
    """What a window is for among the images of a folder, if they are to come from one; errors as for `check_folder`."""
    if request.control is not None or source_of(request.images_from) != "external":
        return frozenset()
    return check_headers(_folder(request).paths, request.window)


def from_folder(model: VisionLanguageModel, request: ImageRequest, on_step: Progress | None = None) -> Readers:
    """The images of a folder with a folder for each concept, made square as the model's photos are.

    Raises:
        DataError: if an image cannot be read.
    """
    del on_step
    folder = _folder(request)
    return [partial(_from_folder, folder, model, concept, request.seed) for concept in request.concepts]


def check_generated(request: ImageRequest, novel: PhotoFolder | None) -> None:
    """Raise ModelError if diffusers is not installed, or there is no such model."""
    del novel
    check_generator(generator_name(request.images_from))


def generated(model: VisionLanguageModel, request: ImageRequest, on_step: Progress | None = None) -> Readers:
    """Images that a text-to-image model makes from the descriptions.

    Raises:
        ModelError: if it cannot be loaded, or a description is too long for it.
    """
    running, name = request.running, generator_name(request.images_from)
    load = cache(partial(ImageGenerator.load, name, device=running.device, precision=running.precision))
    return [partial(_generated, load, one, request, model.image_size, on_step) for one in request.concepts]


def generator_name(images_from: str | None) -> str:
    """The text-to-image model of 'WORD:MODEL'; SDXL for the word alone."""
    return (images_from or "").partition(":")[2] or SDXL


def check_no_images(request: ImageRequest, novel: PhotoFolder | None) -> None:
    """Raise ConfigError if the training that follows needs images."""
    del novel
    if request.needs_images:
        raise ConfigError(
            f"--images-from {request.images_from} leaves nothing to teach from here: this loss learns from images; "
            "leave --images-from out, or choose the loss 'edit'"
        )


def no_images(model: VisionLanguageModel, request: ImageRequest, on_step: Progress | None = None) -> Readers:
    """No images, only the concepts' descriptions."""
    del model, on_step
    return [partial(description_only, concept) for concept in request.concepts]


def _generated(
    load: Callable[[], ImageGenerator], concept: Concept, request: ImageRequest, size: int, on_step: Progress | None
) -> SyntheticImages:
    generator = load()
    started = time.perf_counter()
    label = f"images of {concept.name}"
    pixels = generator.generate(
        concept.descriptions,
        request.generation,
        seed=_concept_seed(request.seed, concept.name),
        on_step=None if on_step is None else lambda done, total: on_step(label, done, total),
    )
    return SyntheticImages(
        concept=concept,
        pixels=resized(pixels, size),
        seed=request.seed,
        source="generated",
        depicted=concept.name,
        origin=generator.name,
        seconds=round(time.perf_counter() - started, 3),
    )


def _from_folder(folder: PhotoFolder, model: VisionLanguageModel, concept: Concept, seed: int) -> SyntheticImages:
    label = [name_key(name) for name in folder.names].index(name_key(concept.name))
    paths = [photo.path for photo in folder.photos if photo.label == label]
    return SyntheticImages(
        concept=concept,
        pixels=load_batch(paths, model.image_size, model.crop_fraction, model.photo_fit, folder.window),
        seed=seed,
        source="external",
        depicted=concept.name,
    )


def _folder(request: ImageRequest) -> PhotoFolder:
    assert request.images_from is not None
    folder = read_set(request.images_from, request.concept_names, request.class_names, request.window)
    found = {name_key(name) for name in folder.names}
    bare = [name for name in request.concept_names if name_key(name) not in found]
    if bare:
        raise DataError(f"{request.images_from} has no folder for {bare[0]!r}: expected one for each concept")
    return folder


def _concept_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1
