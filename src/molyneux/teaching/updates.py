"""Which weights move."""

import abc
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from molyneux.backends.abilities import FusedModel
from molyneux.backends.base import DualEncoder
from molyneux.errors import ConfigError, ModelError
from molyneux.shapes import Embeddings, Images
from molyneux.teaching.config import Full, TeachingConfig


class Update(abc.ABC):
    """What the optimiser moves, how the student embeds meanwhile, and how the change becomes weights."""

    @abc.abstractmethod
    def read(self, pixels: Images) -> Tensor:
        """What is computed once of each picture, below everything that moves; without gradients."""

    @abc.abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """In a fixed order; batch-norm statistics and the text tower are never among them."""

    @abc.abstractmethod
    def embed(self, inputs: Tensor) -> Embeddings:
        """What `read` returned to unit-length embeddings; differentiable."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Leave the change in the student's weights."""


@final
class Space(Update):
    """A linear map I + U of the shared space after the projection, U from zero.

    What it learns from a picture holds for every picture that the model already embeds nearby, and not for
    pictures that share a texture deep in the tower: the similarity that inversion raised is what carries over.
    """

    def __init__(self, student: DualEncoder) -> None:
        student.check_remap()
        self._student = student
        probe = student.embed_texts(["a"])
        self._change = nn.Parameter(torch.zeros(probe.shape[1], probe.shape[1]).to(probe))

    @torch.no_grad()
    def read(self, pixels: Images) -> Tensor:
        return torch.cat([self._student.embed_images(part) for part in pixels.split(32)])

    def parameters(self) -> list[nn.Parameter]:
        return [self._change]

    def embed(self, inputs: Tensor) -> Embeddings:
        return normalize(inputs + inputs @ self._change.T, dim=-1)

    def finish(self) -> None:
        self._student.remap(self._change.detach())


@final
class Weights(Update):
    """The tower's own weights, or a part of them."""

    def __init__(self, student: DualEncoder, update: Full) -> None:
        self._student = student
        self._by_features = update.part == "projection"
        if update.part == "tower":
            modules = [student.vision_module()]
        elif update.part == "blocks":
            modules = [*student.trunk_modules()[-update.blocks :], student.projection_module()]
        else:
            modules = [student.projection_module()]
        self._parameters = [parameter for module in modules for parameter in module.parameters()]
        if not self._parameters:
            raise ModelError(
                f"{student.name!r} has no weights in its {update.part}: set teaching.update.part to 'blocks' or 'tower'"
            )

    @torch.no_grad()
    def read(self, pixels: Images) -> Tensor:
        if not self._by_features:
            return pixels
        return torch.cat([self._student.features(part) for part in pixels.split(32)])

    def parameters(self) -> list[nn.Parameter]:
        return self._parameters

    def embed(self, inputs: Tensor) -> Embeddings:
        return self._student.project(inputs) if self._by_features else self._student.embed_images(inputs)

    def finish(self) -> None:
        return


def start_update(student: DualEncoder, update: Full) -> Update:
    """The update that a configuration asks for, before its first step."""
    return Space(student) if update.part == "space" else Weights(student, update)


def shares_trunk(config: TeachingConfig) -> bool:
    """True if the taught model's features, before the projection, are those of the model it came from."""
    return config.update.part in ("space", "projection")


def fused_parameters(student: FusedModel, update: Full) -> list[nn.Parameter]:
    """The weights of a fused model's trunk that move, in a fixed order; never word embeddings or heads.

    Raises:
        ConfigError: if the update asks for a part that such a model does not have.
    """
    if update.part not in ("tower", "blocks"):
        raise ConfigError(
            f"teaching.update.part is {update.part!r}: expected 'tower' or 'blocks', "
            f"for {student.name!r} has no embeddings of pictures alone"
        )
    blocks = student.fused_blocks()
    moving = blocks if update.part == "tower" else blocks[-update.blocks :]
    return [parameter for module in (*moving, *student.readout_modules()) for parameter in module.parameters()]
