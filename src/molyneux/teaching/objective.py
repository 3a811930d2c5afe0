"""What one way of teaching descends: a loss over batches of pictures, and the weights that it moves."""

import abc
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from molyneux.backends.base import VisionLanguageModel
from molyneux.synthetic import SyntheticImages, resized


class Objective(abc.ABC):
    """Prepared once from the untaught model, its student, the pictures and the settings."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """How many pictures there are to draw batches from."""

    @abc.abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """The weights that move, all of the student's, in a fixed order."""

    @abc.abstractmethod
    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        """The loss of the pictures with these indices; whatever is drawn comes from the generator."""

    def save_adapter(self, folder: Path, share: float) -> None:
        """Write that share of the change as a low-rank adapter, where the update is one."""
        raise NotImplementedError

    @abc.abstractmethod
    def finish(self) -> None:
        """Leave the change in the student's weights."""


def shown(model: VisionLanguageModel, pictures: Sequence[SyntheticImages]) -> Tensor:
    """All pictures in one tensor, (n, 3, h, w), on the model's device.

    Those of a size that the model is used with stay as they are, if all have the same; else they are resized to
    the size that the model was trained on.
    """
    size = model.image_size
    parts = [value.pixels.to(model.device) for value in pictures]
    sides = {part.shape[-1] for part in parts}
    if len(sides) == 1 and sides <= {size, model.inversion_size}:
        return torch.cat(parts)
    return torch.cat([resized(part, size) for part in parts])
