"""Cheap checks of a request, made before anything slow begins."""

from dataclasses import dataclass

from molyneux.backends.base import VisionLanguageModel
from molyneux.concepts import check_distinct
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.names import read_names, without
from molyneux.datasets.photos import check_headers
from molyneux.datasets.sets import read_set
from molyneux.images.choices import CONTROLS
from molyneux.images.sources import check_images, stand_in
from molyneux.pipeline.settings import TeachSettings
from molyneux.tasks.classification.features import name_texts
from molyneux.tasks.classification.labels import LabelSet, label_set
from molyneux.tasks.classification.prompts import read_templates
from molyneux.tasks.classification.run import check_class_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """The photos to score on and the names involved, read and checked."""

    labels: LabelSet
    bank: tuple[str, ...]
    """Known names for teaching: negatives, and what replay images are compared with."""
    novel: PhotoFolder | None
    known: PhotoFolder | None
    prompts: tuple[str, ...]
    """Prompt templates for scoring."""


def check_request(settings: TeachSettings) -> CheckedRequest:
    """Read the lists and folders, and the header of every photo.

    Raises:
        ConceptError: if a concept's name occurs twice.
        DataError: if a folder, a photo's header or a list of names or templates cannot be read, or names contradict.
        ConfigError: if a template has no place for the name.
    """
    check_distinct(settings.concepts)
    class_names = settings.prompt_config.class_names
    prompts = read_templates(settings.prompt_config.templates)
    given = None if settings.names is None else read_names(settings.names, class_names)
    known = (
        None if settings.known is None else read_set(settings.known, class_names=class_names, window=settings.window)
    )
    novel = (
        None
        if settings.novel is None
        else read_set(settings.novel, only=settings.concept_names, class_names=class_names, window=settings.window)
    )
    names = given
    if names is None and known is None:
        names = without(imagenet_names(class_names), settings.concept_names)
    labels = label_set(known=None if known is None else known.names, names=names, concepts=settings.concept_names)
    for folder in (novel, known):
        check_headers(() if folder is None else folder.paths)
    check_images(settings.image_request, novel)
    bank = without(given or imagenet_names(class_names), settings.concept_names)
    return CheckedRequest(labels=labels, bank=bank, novel=novel, known=known, prompts=prompts)


def check_texts(model: VisionLanguageModel, settings: TeachSettings, request: CheckedRequest) -> None:
    """Raise ModelError for the first text of the run that the model cannot read to its end."""
    concepts = settings.concepts
    controls = CONTROLS if settings.compares else [settings.control] if settings.control else []
    if len(concepts) == 1 and any(CONTROLS[name].uses_stand_in for name in controls):
        concepts = (*concepts, stand_in(concepts[0]))
    for concept in concepts:
        for text in (*concept.descriptions, *concept.captions):
            model.check_text(text)
    check_class_texts(model, name_texts(request.labels.all, request.prompts))
