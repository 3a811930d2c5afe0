"""Which weights move."""

import abc
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from molyneux.backends.abilities import FusedModel
from molyneux.backends.base import DualEncoder
from molyneux.backends.lora import Adapters, adaptable_layers, import_peft
from molyneux.errors import ConfigError, ModelError
from molyneux.shapes import Embeddings, Images
from molyneux.teaching.config import Full, LoRA, TeachingConfig


class Update(abc.ABC):
    """What the optimiser moves, how the student embeds meanwhile, and how the change becomes weights."""

    @abc.abstractmethod
    def read(self, pixels: Images) -> Tensor:
        """What is computed once of each image, below everything that moves; without gradients."""

    @abc.abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """In a fixed order; batch-norm statistics are never among them."""

    @abc.abstractmethod
    def embed(self, inputs: Tensor) -> Embeddings:
        """What `read` returned to unit-length embeddings; differentiable."""

    @property
    @abc.abstractmethod
    def model(self) -> DualEncoder:
        """What sees images meanwhile."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Leave the change in the student's weights."""


@final
class EmbeddingMap(Update):
    """A linear map I + U of the shared space after the projection, U from zero.

    What it learns from an image holds for every image that the model already embeds nearby, and not for
    images that share a texture deep in the tower: the similarity that inversion raised is what carries over.
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

    @property
    def model(self) -> DualEncoder:
        return self._student

    def finish(self) -> None:
        if self._change.any():  # so that nothing learned leaves every bit, the sign of a zero included
            self._student.remap(self._change.detach())


@final
class Weights(Update):
    """The towers' own weights, or a part of them."""

    def __init__(self, student: DualEncoder, update: Full) -> None:
        self._student, self._part = student, update.part
        self._parameters = [parameter for module in _moving(student, update) for parameter in module.parameters()]
        if not self._parameters:
            raise ModelError(
                f"{student.name!r} has no weights in its {update.part}: set teaching.update.part to 'blocks' or 'tower'"
            )

    @torch.no_grad()
    def read(self, pixels: Images) -> Tensor:
        if self._part not in ("projection", "text"):
            return pixels
        see = self._student.features if self._part == "projection" else self._student.embed_images
        return torch.cat([see(part) for part in pixels.split(32)])

    def parameters(self) -> list[nn.Parameter]:
        return self._parameters

    def embed(self, inputs: Tensor) -> Embeddings:
        if self._part == "text":
            return inputs
        return self._student.project(inputs) if self._part == "projection" else self._student.embed_images(inputs)

    @property
    def model(self) -> DualEncoder:
        return self._student

    def finish(self) -> None:
        return


@final
class LowRank(Update):
    """Adapters on the vision tower's layers, merged at the end."""

    def __init__(self, student: DualEncoder, update: LoRA, seed: int) -> None:
        self._student = student
        self._adapters = Adapters(
            student, rank=update.rank, alpha=update.alpha, dropout=update.dropout, targets=update.targets, seed=seed
        )

    def read(self, pixels: Images) -> Tensor:
        return pixels

    def parameters(self) -> list[nn.Parameter]:
        return self._adapters.parameters()

    def embed(self, inputs: Tensor) -> Embeddings:
        return self.model.embed_images(inputs)

    @property
    def model(self) -> DualEncoder:
        return self._adapters.model

    def save(self, folder: Path, share: float) -> None:
        """Write the adapters themselves, with that share of their change, where peft can load them."""
        self._adapters.save(folder, share)

    def finish(self) -> None:
        self._adapters.merge(self._student)


def start_update(student: DualEncoder, update: Full | LoRA, seed: int = 0) -> Update:
    """The update that a configuration asks for, before its first step; `seed` is for what it draws itself."""
    if isinstance(update, LoRA):
        return LowRank(student, update, seed)
    return EmbeddingMap(student) if update.part == "embedding_map" else Weights(student, update)


def check_update(model: DualEncoder, update: Full | LoRA) -> None:
    """See before any work whether the model can be taught so.

    Raises:
        ModelError: if it has no such part, or its last layer cannot hold a map of the shared space, or none of its
            layers takes an adapter, or peft is missing.
    """
    if isinstance(update, LoRA):
        import_peft()
        adaptable_layers(model, update.targets)
    elif update.part == "embedding_map":
        model.check_remap()
    else:
        Weights(model, update)


def moves_embedding_map(update: Full | LoRA) -> bool:
    """True if a map of the shared space is all that is learned."""
    return isinstance(update, Full) and update.part == "embedding_map"


def moves_texts(update: Full | LoRA) -> bool:
    """True if the text tower moves."""
    return isinstance(update, Full) and update.part in ("text", "both")


def shares_trunk(config: TeachingConfig) -> bool:
    """True if the taught model's features, before the projection, are those of the model it came from."""
    return isinstance(config.update, Full) and config.update.part in ("embedding_map", "projection", "text")


def _moving(student: DualEncoder, update: Full) -> list[nn.Module]:
    if update.part == "trunk":
        return student.trunk_modules()
    if update.part == "blocks":
        return [*student.trunk_modules()[-update.blocks :], student.projection_module()]
    if update.part == "projection":
        return [student.projection_module()]
    return {
        "tower": [student.vision_module()],
        "text": student.text_modules(),
        "both": [student.vision_module(), *student.text_modules()],
    }[update.part]


def fused_parameters(student: FusedModel, update: Full | LoRA) -> list[nn.Parameter]:
    """The weights of a fused model's trunk that move, in a fixed order; never word embeddings or heads.

    Raises:
        ConfigError: if the update asks for a part that such a model does not have.
    """
    if isinstance(update, LoRA):
        raise ConfigError(
            f"teaching.update is LoRA, and {student.name!r} has no vision tower of its own: "
            "expected teaching.update.part 'tower' or 'blocks'"
        )
    if update.part not in ("tower", "blocks"):
        raise ConfigError(
            f"teaching.update.part is {update.part!r}: expected 'tower' or 'blocks', "
            f"for {student.name!r} has no embeddings of images alone"
        )
    blocks = student.fused_blocks()
    moving = blocks if update.part == "tower" else blocks[-update.blocks :]
    return [parameter for module in (*moving, *student.readout_modules()) for parameter in module.parameters()]
