"""Teaching by closed-form edits: read the embeddings that `edit` needs from the model, then merge the packs."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.packs import check_new, memory, merge, untaught
from molyneux.datasets.names import without
from molyneux.errors import ConfigError, ModelError
from molyneux.packs import Merged, Pack
from molyneux.runs.environment import installed
from molyneux.runs.image_cache import embedded_once
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.descriptions import description_embedding, known_texts
from molyneux.teaching.edit import Edits, New, concept_edits
from molyneux.teaching.objectives.base import Lesson, Objective, embedded, portions
from molyneux.teaching.strength import Known
from molyneux.teaching.texts import NAME_PROMPT, KnownNames


@final
class Merge(Objective):
    """No loss and no steps: the packs are known at once, and merged into the last layer of a tower."""

    def __init__(self, lesson: Lesson, student: Any) -> None:
        self._student, self._merged = student, lesson_merged(lesson)

    @property
    def count(self) -> int:
        return 0

    def parameters(self) -> list[nn.Parameter]:
        return []

    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        raise NotImplementedError("an edit has no loss")

    def finish(self) -> None:
        merge(self._student, self._merged)


def teach_edit(lesson: Lesson, on_step: Any = None) -> tuple[VisionLanguageModel, Objective]:
    """A copy of the model, and the packs to merge into it; errors as for `lesson_merged`."""
    # a text tower that changes must not be shared with the untaught model
    student: VisionLanguageModel = lesson.model.copy(whole=lesson.model.map_side == "texts")
    merge = Merge(lesson, student)
    if on_step is not None:
        on_step(1, 1)
    return student, merge


def lesson_merged(lesson: Lesson) -> Merged:
    """The packs of a lesson's concepts beside those that the model has, and the weights that all are merged into.

    New edits are computed on the model without its packs, so one lesson after another gives the same model as all at
    once, in any order.

    Raises:
        ConceptError: if the model has a pack of one of the names.
        ConfigError, ModelError: as for `edits_of`, or if no weights can hold an edit.
    """
    images = tuple(lesson.images)  # a run reads each concept's images anew whenever they are asked for
    check_new(lesson.model, (one.concept.name for one in images))
    merged = memory(lesson.model)
    base = replace(lesson, model=untaught(lesson.model), images=images)
    return replace(merged, packs=(*merged.packs, *lesson_packs(base, merged)))


def lesson_packs(lesson: Lesson, merged: Merged) -> list[Pack]:
    """The edits of a lesson of an untaught model, each as a pack; errors as for `edits_of`."""
    config, edits = lesson.config, edits_of(lesson)
    made = {"molyneux": installed("molyneux"), "edit": asdict(config.edit)}
    return [
        Pack(
            name=one.concept.name,
            descriptions=one.source_descriptions,
            key=key.cpu(),
            value=value.cpu(),
            base=merged.weights,
            base_name=merged.name,
            side=lesson.model.map_side,
            made=made | {"images": one.source if one.samples and uses_images(one, config.edit.images) else "none"},
        )
        for one, key, value in zip(lesson.images, *edits, strict=True)
    ]


def uses_images(one: SyntheticImages, weight: float) -> bool:
    """Whether an edit is computed from a concept's images, too."""
    return bool(weight) or not one.source_descriptions


@torch.no_grad()
def edits_of(lesson: Lesson) -> Edits:
    """The edits of a lesson's concepts, one row each, in double precision.

    A concept without descriptions, as in the control on noise, is taught from its images alone.

    Raises:
        ConfigError: if a concept has neither descriptions nor images, or there are fewer than two replay images.
        ModelError: if a text has more tokens than the model reads, or the model tells no names or images apart.
    """
    model, config = lesson.model, lesson.config.edit
    images = tuple(lesson.images)  # a run reads each concept's images anew whenever they are asked for
    if not lesson.replay:
        raise ConfigError("an edit needs replay images, to know where the images of this model lie: give `replay`")
    bare = next((one for one in images if not (one.source_descriptions or one.samples)), None)
    if bare is not None:
        raise ConfigError(f"{bare.concept.name!r} has nothing to learn from: give a description or images")
    if sum(len(one) for one in lesson.replay) < 2:
        raise ConfigError("an edit reads from replay images how far images lie apart: give two or more, better twenty")
    known = known_embeddings(model, lesson.known, [one.concept.name for one in images], lesson.replay)
    order: list[int] = []
    parts: list[Edits] = []
    for described in (True, False):
        own = [place for place, one in enumerate(images) if bool(one.source_descriptions) == described]
        if own:
            new = new_embeddings(model, [images[place] for place in own], config.images)
            parts.append(concept_edits(known, new, config))
            order += own
    found = Edits(*(torch.cat(rows)[torch.tensor(order).argsort()] for rows in zip(*parts, strict=True)))
    if not all(rows.isfinite().all() for rows in found):
        raise ModelError(
            f"{model.name!r} reads all known names alike, or sees all replay images alike, so no edit tells a new one "
            "apart: see whether its weights were read rightly"
        )
    return found


def known_embeddings(
    model: DualEncoder, known: KnownNames, concepts: Sequence[str], replay: Sequence[SyntheticImages]
) -> Known:
    """What the model knows: known names (`known_texts`) less the concepts, their descriptions, and replay images."""
    texts = known_texts(model, known)
    names = without(tuple(texts), concepts)
    return Known(
        names=model.embed_texts([texts[name][0] for name in names]),
        descriptions=model.embed_texts([texts[name][1] for name in names]),
        images=embedded_once(model, portions(model, replay)),
    )


def new_embeddings(model: DualEncoder, images: Sequence[SyntheticImages], weight: float) -> New:
    """The concepts' names, descriptions and mean images; images are left out where their weight is 0.

    Without descriptions the images stand for them.
    """
    described = all(one.source_descriptions for one in images)
    seen = None
    if (weight or not described) and all(one.samples for one in images):
        seen = torch.cat([_mean_image(model, one) for one in images])
    return New(
        names=model.embed_texts([NAME_PROMPT.format(one.concept.name) for one in images]),
        descriptions=torch.cat([description_embedding(model, one.source_descriptions) for one in images])
        if described
        else None,
        images=seen,
    )


def _mean_image(model: DualEncoder, images: SyntheticImages) -> Embeddings:
    """The mean direction of a concept's images, (1, d)."""
    return normalize(embedded(model, images).mean(dim=0, keepdim=True), dim=1)
