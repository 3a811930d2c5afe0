"""What one way of teaching descends: a loss over batches of images, and the weights that it moves."""

import abc
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from molyneux.backends.base import VisionLanguageModel
from molyneux.synthetic import SyntheticImages, resized


class Objective(abc.ABC):
    """Prepared once from the untaught model, its student, the images and the settings."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """How many images there are to draw batches from."""

    @abc.abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """The weights that move, all of the student's, in a fixed order."""

    @abc.abstractmethod
    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        """The loss of the images with these indices; whatever is drawn comes from the generator."""

    def save_adapter(self, folder: Path, share: float) -> None:
        """Write that share of the change as a low-rank adapter, where the update is one."""
        raise NotImplementedError

    @abc.abstractmethod
    def finish(self) -> None:
        """Leave the change in the student's weights."""


def shown(model: VisionLanguageModel, images: Sequence[SyntheticImages]) -> Tensor:
    """All images in one tensor, (n, 3, h, w), on the model's device; see `portions`."""
    return torch.cat(list(portions(model, images)))


def portions(model: VisionLanguageModel, images: Sequence[SyntheticImages], size: int = 32) -> Iterator[Tensor]:
    """All images in their order, at most `size` at once, on the model's device.

    Those of a side that the model is used with stay as they are, if all have the same; else they are resized to
    the side that the model was trained on.
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
