"""Cheap checks of a request, made before anything slow begins."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from molyneux.backends.base import VisionLanguageModel
from molyneux.concepts import Concept, check_distinct
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.names import read_names, without
from molyneux.datasets.photos import check_window, checked
from molyneux.datasets.sets import read_set
from molyneux.errors import ModelError
from molyneux.images.choices import CONTROLS
from molyneux.images.config import ReplayConfig
from molyneux.images.external import external_kinds
from molyneux.images.replay import depicted, replay_names
from molyneux.images.sources import check_images, stand_in
from molyneux.pipeline.settings import TeachSettings
from molyneux.tasks.classification.features import name_texts
from molyneux.tasks.classification.labels import LabelSet, label_set
from molyneux.tasks.classification.prompts import PROMPTS, read_templates
from molyneux.tasks.classification.run import check_class_texts
from molyneux.tasks.recognition.shown import read_shown
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.texts import caption_templates, known_prompts, own_texts


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
        ConfigError: if a template has no place for the name, or nothing is to be seen through the window.
    """
    check_distinct(settings.concepts)
    class_names = settings.prompt_config.class_names
    prompts = read_templates(settings.prompt_config.templates)
    caption_templates(settings.teaching.caption_templates)
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
    novel, known = (None if folder is None else checked(folder) for folder in (novel, known))
    if settings.show is not None:
        read_shown(settings.show, settings.concept_names)
    check_images(settings.image_request, novel)
    shown = [*external_kinds(settings.image_request)]
    shown += [kind for folder in (novel, known) if folder is not None for kind in folder.kinds]
    check_window(settings.window, shown)
    bank = without(given or imagenet_names(class_names), settings.concept_names)
    return CheckedRequest(labels=labels, bank=bank, novel=novel, known=known, prompts=prompts)


def check_texts(model: VisionLanguageModel, settings: TeachSettings, request: CheckedRequest) -> dict[str, str]:
    """See that the model can read every text of the run to its end, those of scoring, teaching and replay included.

    Returns:
        For each control that cannot be run, since the model cannot read the text that it brings along, the reason.

    Raises:
        ModelError: for the first text that cannot be read.
    """
    check_each(model, lesson_texts(settings.concepts, settings.teaching, request.bank, settings.replay))
    check_class_texts(model, name_texts(request.labels.all, request.prompts))
    if settings.novel is None and settings.fresh:
        check_class_texts(model, name_texts(request.labels.all))
    left_out: dict[str, str] = {}
    for name, kind in CONTROLS.items():
        if not (kind.uses_stand_in and len(settings.concepts) == 1):
            continue
        try:
            check_each(model, stand_in(settings.concepts[0]).descriptions)
        except ModelError as error:
            if settings.control == name:
                raise
            left_out[name] = str(error)
    return left_out


def concept_texts(concepts: Iterable[Concept]) -> Iterator[str]:
    """The concepts' descriptions and every text with their names."""
    for concept in concepts:
        yield from (*concept.descriptions, *own_texts(concept, "both"))


def lesson_texts(
    concepts: Sequence[Concept], teaching: TeachingConfig, bank: Sequence[str], replay: ReplayConfig
) -> Iterator[str]:
    """Every text that a lesson needs. Descriptions of known classes are none: those that are too long are left out."""
    yield from concept_texts(concepts)
    yield from known_prompts(bank, concepts)
    if teaching.uses_replay:
        yield from (text for name in replay_names(replay) for text in depicted(name).descriptions)
    if teaching.objective.needs == "captions":
        templates = caption_templates(teaching.caption_templates)
        yield from (template.format(concept.name) for concept in concepts for template in templates)


def scored_texts(settings: TeachSettings, request: CheckedRequest) -> tuple[list[str], list[str]]:
    """The texts that scoring reads: those of known names, which no concept changes, and the concepts' own."""
    prompts = [request.prompts] if settings.novel is not None or not settings.fresh else [request.prompts, PROMPTS]

    def texts(names: Sequence[str]) -> list[str]:
        return [text for one in prompts for group in name_texts(names, one) for text in group]

    known = dict.fromkeys(texts(request.labels.known))
    own = dict.fromkeys([*concept_texts(settings.concepts), *texts(request.labels.novel)])
    return list(known), [text for text in own if text not in known]


def check_each(model: VisionLanguageModel, texts: Iterable[str]) -> None:
    """Raise ModelError for the first text that the model cannot read to its end."""
    for text in dict.fromkeys(texts):
        model.check_text(text)
