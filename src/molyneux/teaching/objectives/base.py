"""What training minimises: a loss over batches of images, and the weights that it moves."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from molyneux.backends.abilities import explainable
from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages, resized
from molyneux.tables import imported
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.texts import KnownNames


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is to be learned, by which model, and how; see `fine_tune`."""

    model: Any
    """The untaught model, with the ability that `config.objective` needs."""
    images: Sequence[SyntheticImages]
    config: TeachingConfig
    known: KnownNames = ()
    replay: Sequence[SyntheticImages] = ()
    seed: int = 0


class Objective(abc.ABC):
    """Prepared once, before the first step."""

    @abc.abstractmethod
    def __init__(self, lesson: Lesson, student: Any) -> None:
        """`student` is the copy of the untaught model that learns."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """Number of images to draw batches from."""

    @abc.abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """The student's weights that move, in a fixed order."""

    @abc.abstractmethod
    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        """The loss of the images with these indices; all randomness comes from the generator."""

    def save_adapter(self, folder: Path, strength: float) -> None:
        """Write the change times `strength` as a low-rank adapter; for a low-rank update only."""
        raise NotImplementedError

    @abc.abstractmethod
    def finish(self) -> None:
        """Merge the change into the student's weights."""


def start_objective(lesson: Lesson, student: VisionLanguageModel) -> Objective:
    """The objective that `config.loss` names."""
    kind: type[Objective] = imported("molyneux.teaching.objectives", lesson.config.objective.implementation)
    return kind(lesson, student)


def shown(model: VisionLanguageModel, images: Sequence[SyntheticImages]) -> Tensor:
    """All images in one tensor, (n, 3, h, w), on the model's device; see `portions`."""
    return torch.cat(list(portions(model, images)))


def embedded(model: DualEncoder, images: SyntheticImages) -> Embeddings:
    """The unit-length embeddings of a concept's images, or of its hidden states.

    Raises:
        ModelError: for hidden states, if the vision tower is not known block by block.
    """
    if images.hidden is not None and images.block is not None:
        divided = explainable(model, "teaching from hidden states")
        return divided.upper(images.hidden.to(model.device), images.block)
    return torch.cat([model.embed_images(part) for part in portions(model, [images])])


def portions(model: VisionLanguageModel, images: Sequence[SyntheticImages], size: int = 32) -> Iterator[Tensor]:
    """All images in order, at most `size` at a time, on the model's device.

    They are resized to `model.image_size`, unless all have one side and it is that or `model.inversion_size`.
    """
    sides = {value.pixels.shape[-1] for value in images if len(value)}
    as_they_are = len(sides) == 1 and sides <= {model.image_size, model.inversion_size}
    waiting: list[Tensor] = []
    for value in images:
        if not len(value):
            continue
        pixels = value.pixels.to(model.device)
        waiting += pixels if as_they_are else resized(pixels, model.image_size)
        while len(waiting) >= size:
            yield torch.stack(waiting[:size])
            del waiting[:size]
    if waiting:
        yield torch.stack(waiting)
