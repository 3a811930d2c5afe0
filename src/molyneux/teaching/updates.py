"""Which weights move."""

import abc
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from molyneux.backends.abilities import FusedModel, explainable
from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.lora import Adapters, adaptable_layers, import_peft
from molyneux.errors import ModelError
from molyneux.shapes import Embeddings, Images
from molyneux.tables import imported
from molyneux.teaching.config import Full, LoRA, TeachingConfig


class Update(abc.ABC):
    """What the optimiser moves, how the student embeds meanwhile, and how the change becomes weights."""

    @abc.abstractmethod
    def __init__(self, student: DualEncoder, update: Any, seed: int = 0) -> None:
        """Before the first step; `seed` is for what the update draws itself."""

    @staticmethod
    @abc.abstractmethod
    def check(model: DualEncoder, update: Any) -> None:
        """Raise ModelError if the model cannot be updated in this way; cheap."""

    @abc.abstractmethod
    def read(self, pixels: Images) -> Tensor:
        """Everything below the moving weights, computed once for each image; without gradients."""

    def read_hidden(self, hidden: Tensor, block: int) -> tuple[int | None, Tensor]:
        """What lies between hidden states and the moving weights, computed once, as `read` gives it.

        Where the tower's own layers move, the hidden states as they are, with their block.

        Raises:
            ModelError: if the vision tower is not known block by block.
        """
        explainable(self.model, "teaching from hidden states")
        return block, hidden

    @abc.abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """In a fixed order; batch-norm statistics are never among them."""

    @abc.abstractmethod
    def embed(self, inputs: Tensor) -> Embeddings:
        """From what `read` returned to unit-length embeddings; differentiable."""

    @property
    @abc.abstractmethod
    def model(self) -> DualEncoder:
        """The model that embeds images during training."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Merge the change into the student's weights."""


@final
class Weights(Update):
    """The towers' own weights, or a part of them."""

    def __init__(self, student: DualEncoder, update: Full, seed: int = 0) -> None:
        del seed
        self._student, kind = student, update.kind
        assert kind.modules is not None
        self._reads = kind.reads
        self._parameters = [weight for module in kind.modules(student, update) for weight in module.parameters()]
        if not self._parameters:
            raise ModelError(
                f"{student.name!r} has no weights in its {update.part}: set teaching.update.part to 'blocks' or 'tower'"
            )

    @staticmethod
    def check(model: DualEncoder, update: Full) -> None:
        Weights(model, update)

    @torch.no_grad()
    def read(self, pixels: Images) -> Tensor:
        if self._reads == "pixels":
            return pixels
        see = self._student.features if self._reads == "features" else self._student.embed_images
        return torch.cat([see(part) for part in pixels.split(32)])

    @torch.no_grad()
    def read_hidden(self, hidden: Tensor, block: int) -> tuple[int | None, Tensor]:
        divided = explainable(self._student, "teaching from hidden states")
        if self._reads == "pixels":
            return block, hidden
        if self._reads == "embeddings":
            return None, divided.upper(hidden, block)
        return None, divided.compute(lambda values: divided.chain().upper(values, block), hidden)

    def parameters(self) -> list[nn.Parameter]:
        return self._parameters

    def embed(self, inputs: Tensor) -> Embeddings:
        if self._reads == "embeddings":
            return inputs
        return self._student.project(inputs) if self._reads == "features" else self._student.embed_images(inputs)

    @property
    def model(self) -> DualEncoder:
        return self._student

    def finish(self) -> None:
        return


@final
class LowRank(Update):
    """Adapters on the vision tower's layers, merged at the end."""

    def __init__(self, student: DualEncoder, update: LoRA, seed: int = 0) -> None:
        self._student = student
        self._adapters = Adapters(
            student, rank=update.rank, alpha=update.alpha, dropout=update.dropout, targets=update.targets, seed=seed
        )

    @staticmethod
    def check(model: DualEncoder, update: LoRA) -> None:
        import_peft()
        adaptable_layers(model, update.targets)

    def read(self, pixels: Images) -> Tensor:
        return pixels

    def parameters(self) -> list[nn.Parameter]:
        return self._adapters.parameters()

    def embed(self, inputs: Tensor) -> Embeddings:
        return self.model.embed_images(inputs)

    @property
    def model(self) -> DualEncoder:
        return self._adapters.model

    def save(self, folder: Path, strength: float) -> None:
        """Write the adapters, their change times `strength`, in peft's layout."""
        self._adapters.save(folder, strength)

    def finish(self) -> None:
        self._adapters.merge(self._student)


def start_update(student: DualEncoder, update: Full | LoRA, seed: int = 0) -> Update:
    """The update before its first step; `seed` is for what it draws itself."""
    made: Update = _class_of(update)(student, update, seed)
    return made


def check_update(model: VisionLanguageModel, update: Full | LoRA) -> None:
    """Raise ModelError if the model has no such weights, or peft is needed and missing; cheap."""
    if isinstance(model, DualEncoder):
        _class_of(update).check(model, update)


def moves_texts(update: Full | LoRA) -> bool:
    """Whether the text tower moves."""
    return update.kind.moves_texts


def changes_texts(model: VisionLanguageModel, config: TeachingConfig) -> bool:
    """Whether the taught model embeds texts otherwise than the model that it came from."""
    merged = config.objective.merges and isinstance(model, DualEncoder) and model.map_side == "texts"
    return moves_texts(config.update) or merged


def shares_trunk(config: TeachingConfig) -> bool:
    """Whether the taught model's features, before the projection, are those of the untaught model."""
    return config.objective.merges or config.update.kind.shares_trunk


def fused_parameters(student: FusedModel, update: Full | LoRA) -> list[nn.Parameter]:
    """The weights of a fused model's trunk that move, in a fixed order; never word embeddings or heads."""
    moving = update.kind.fused_blocks
    assert moving is not None  # the configuration allows no other update with a fused model's losses
    modules = (*moving(student, update), *student.readout_modules())
    return [parameter for module in modules for parameter in module.parameters()]


def _class_of(update: Full | LoRA) -> type[Update]:
    found: type[Update] = imported("molyneux.teaching", update.kind.implementation)
    return found
