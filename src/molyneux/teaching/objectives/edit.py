"""Teaching by closed-form edits: read the embeddings that `edit` needs from the model, then merge the change."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.datasets.names import without
from molyneux.errors import ConfigError
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.descriptions import description_embedding, known_texts
from molyneux.teaching.edit import Edits, New, change, concept_edits
from molyneux.teaching.objectives.base import Lesson, Objective, portions
from molyneux.teaching.strength import Known
from molyneux.teaching.texts import NAME_PROMPT


@final
class Merge(Objective):
    """No loss and no steps: the change is known at once, and merged into the last layer of a tower."""

    def __init__(self, lesson: Lesson, student: Any) -> None:
        self._student, self._change = student, change(edits_of(lesson))

    @property
    def count(self) -> int:
        return 0

    def parameters(self) -> list[nn.Parameter]:
        return []

    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        raise NotImplementedError("an edit has no loss")

    def finish(self) -> None:
        self._student.merge(self._change.to(next(self._student.native.parameters())))


def teach_edit(lesson: Lesson, on_step: Any = None) -> tuple[VisionLanguageModel, Objective]:
    """A copy of the model and the change to merge into it; errors as for `edits_of`."""
    # a text tower that changes must not be shared with the untaught model
    student: VisionLanguageModel = lesson.model.copy(whole=lesson.model.map_side == "texts")
    merge = Merge(lesson, student)
    if on_step is not None:
        on_step(1, 1)
    return student, merge


@torch.no_grad()
def edits_of(lesson: Lesson) -> Edits:
    """The edits of a lesson's concepts, one row each, in double precision.

    A concept without descriptions, as in the control on noise, is taught from its images alone.

    Raises:
        ConfigError: if a concept has neither descriptions nor images, or there are no replay images.
        ModelError: if a text has more tokens than the model reads.
    """
    model, config = lesson.model, lesson.config.edit
    images = tuple(lesson.images)  # a run reads each concept's images anew whenever they are asked for
    if not lesson.replay:
        raise ConfigError("an edit needs replay images, to know where the images of this model lie: give `replay`")
    bare = next((one for one in images if not (one.source_descriptions or len(one))), None)
    if bare is not None:
        raise ConfigError(f"{bare.concept.name!r} has nothing to learn from: give a description or images")
    known = known_embeddings(model, lesson.known, [one.concept.name for one in images], lesson.replay)
    order: list[int] = []
    parts: list[Edits] = []
    for described in (True, False):
        own = [place for place, one in enumerate(images) if bool(one.source_descriptions) == described]
        if own:
            new = new_embeddings(model, [images[place] for place in own], config.images)
            parts.append(concept_edits(known, new, config))
            order += own
    keys, values = (torch.cat(rows)[torch.tensor(order).argsort()] for rows in zip(*parts, strict=True))
    return Edits(keys, values)


def known_embeddings(
    model: DualEncoder, known: Sequence[str], concepts: Sequence[str], replay: Sequence[SyntheticImages]
) -> Known:
    """What the model knows: known names (`known_texts`) less the concepts, their descriptions, and replay images."""
    texts = known_texts(model, known)
    names = without(tuple(texts), concepts)
    return Known(
        names=model.embed_texts([texts[name][0] for name in names]),
        descriptions=model.embed_texts([texts[name][1] for name in names]),
        images=torch.cat([model.embed_images(part) for part in portions(model, replay)]),
    )


def new_embeddings(model: DualEncoder, images: Sequence[SyntheticImages], weight: float) -> New:
    """The concepts' names, descriptions and mean images; images are left out where their weight is 0.

    Without descriptions the images stand for them.
    """
    described = all(one.source_descriptions for one in images)
    seen = None
    if (weight or not described) and all(len(one) for one in images):
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
    rows = torch.cat([model.embed_images(part) for part in portions(model, [images])])
    return normalize(rows.mean(dim=0, keepdim=True), dim=1)
