"""Contrastive objectives: a dual encoder learns to embed images near their concepts' texts (Eq. 2)."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.errors import ConfigError
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.objectives.base import Lesson, Objective, portions
from molyneux.teaching.objectives.losses import anchors_loss, bank_loss, distillation_loss, symmetric_loss
from molyneux.teaching.text_anchors import nothing_to_learn, text_anchors
from molyneux.teaching.texts import NAME_PROMPT, known_prompts, other_names, own_texts
from molyneux.teaching.updates import LowRank, Update, moves_texts, start_update

Loss = Float[Tensor, ""]


class ContrastiveObjective(Objective):
    """A contrastive loss of images and texts, and distillation of the untaught model on the replay images."""

    def __init__(self, lesson: Lesson, student: DualEncoder) -> None:
        model, config, known = lesson.model, lesson.config, lesson.known
        concepts = [value.concept for value in lesson.images]
        prompts = known_prompts(known, concepts)
        if not prompts and config.objective.needs_known and len(concepts) == 1:
            raise ConfigError(
                f"teaching one concept with the loss {config.loss!r} needs known names as negatives: give `known`"
            )
        self._config = config
        self._temperature = config.temperature or model.temperature
        own = [own_texts(concept, config.texts) for concept in concepts]
        bank = [*prompts, *(NAME_PROMPT.format(concept.name) for concept in concepts)]
        fixed = model.embed_texts(bank)
        self._texts: _Texts
        if moves_texts(config.update):
            self._texts = _MovingTexts(student, own, bank, len(prompts), config.bank_batch)
        else:
            self._texts = _FixedTexts([model.embed_texts(texts) for texts in own], fixed, len(prompts))
        self._update = start_update(student, config.update, lesson.seed)
        kept, others = lesson.replay if config.replay_batch else (), other_names(known, concepts)
        self._data = _TrainingData.prepare(model, self._update, lesson.images, kept, config, others)
        self._answers = _answers(self._data, fixed, self._temperature)

    @property
    def count(self) -> int:
        return len(self._data.owners)

    def parameters(self) -> list[nn.Parameter]:
        return self._update.parameters()

    def loss(self, batch: Tensor, generator: Generator) -> Loss:
        mixed = self._config.mixup and self._config.update.kind.is_map
        embedded = self._data.embed(self._data.mixtures(batch, generator) if mixed else self.inputs(batch))
        return self.contrastive_loss(embedded, batch, generator) + self.replay_loss(generator)

    def inputs(self, batch: Tensor) -> Tensor:
        """What `Update.read` made of these images; pixels if blocks of the tower move."""
        return self._data.inputs[batch.to(self._data.inputs.device)]

    def owners(self, batch: Tensor) -> Tensor:
        """For each image the index of its concept."""
        return self._data.owners[batch]

    def contrastive_loss(self, embedded: Embeddings, batch: Tensor, generator: Generator) -> Loss:
        """The loss of these images, embedded by the student, against the texts."""
        owners = self.owners(batch)
        return self.against(embedded, self._texts.positives(owners.tolist(), generator), owners, generator)

    @abc.abstractmethod
    def against(self, embedded: Embeddings, positives: Embeddings, owners: Tensor, generator: Generator) -> Loss:
        """The loss of these images, given for each one text of its own concept."""

    def replay_loss(self, generator: Generator) -> Loss:
        """Weighted cross-entropy with the untaught model's answers on drawn replay images; 0 without replay."""
        config, data = self._config, self._data
        if self._answers is None or data.replay is None:
            return torch.zeros((), device=data.inputs.device)
        picked = torch.randint(len(self._answers), (config.replay_batch,), generator=generator)
        picked = picked.to(self._answers.device)
        seen, bank = data.embed(data.replay[picked]), self._texts.bank(generator)
        answers = self._answers[picked][:, bank.columns].softmax(dim=1)
        return config.replay_weight * distillation_loss(seen, bank.rows, answers, self._temperature)

    @property
    def seeing(self) -> DualEncoder:
        """The model that embeds images during training."""
        return self._update.model

    def save_adapter(self, folder: Path, strength: float) -> None:
        assert isinstance(self._update, LowRank)
        self._update.save(folder, strength)

    def finish(self) -> None:
        self._update.finish()


@final
class Bank(ContrastiveObjective):
    """Each image against its own text and all known names."""

    def against(self, embedded: Embeddings, positives: Embeddings, owners: Tensor, generator: Generator) -> Loss:
        bank = self._texts.bank(generator)
        return bank_loss(embedded, positives, bank.rows, bank.allowed(owners), self._temperature, bank.count_each)


@final
class Anchors(ContrastiveObjective):
    """The authors' loss: images and texts of the batch against one another."""

    def against(self, embedded: Embeddings, positives: Embeddings, owners: Tensor, generator: Generator) -> Loss:
        del owners, generator
        return anchors_loss(embedded, positives, self._temperature)


@final
class Symmetric(ContrastiveObjective):
    """CLIP's loss: images of the batch against its texts, and texts against images."""

    def against(self, embedded: Embeddings, positives: Embeddings, owners: Tensor, generator: Generator) -> Loss:
        del owners, generator
        return symmetric_loss(embedded, positives, self._temperature)


@dataclass(frozen=True, slots=True)
class _Bank:
    """Embeddings of prompts with all names, known names first, then the concepts'; or a sample of them."""

    rows: Float[Tensor, "m d"]
    columns: Int[Tensor, " m"]
    """The rows' places among all prompts."""
    known: int
    """Number of known names among all."""
    count_each: float
    """How many prompts one row stands for."""

    def allowed(self, owners: Tensor) -> Bool[Tensor, "n m"]:
        """True for every prompt but that of the image's own concept."""
        return self.columns != (self.known + owners.to(self.columns.device))[:, None]


class _Texts(abc.ABC):
    """What images are compared with: the concepts' own texts, and the bank."""

    @abc.abstractmethod
    def positives(self, owners: Sequence[int], generator: Generator) -> Float[Tensor, "n d"]:
        """For each of these concepts one of its own texts, drawn at random."""

    @abc.abstractmethod
    def bank(self, generator: Generator) -> _Bank:
        """All prompts, or a sample."""


@final
class _FixedTexts(_Texts):
    """Embedded once: the text tower does not move."""

    def __init__(self, own: list[Tensor], bank: Float[Tensor, "m d"], known: int) -> None:
        self._own = own
        self._bank = _Bank(bank, torch.arange(len(bank), device=bank.device), known, 1.0)

    def positives(self, owners: Sequence[int], generator: Generator) -> Float[Tensor, "n d"]:
        return torch.stack([self._own[owner][_choice(len(self._own[owner]), generator)] for owner in owners])

    def bank(self, generator: Generator) -> _Bank:
        del generator
        return self._bank


@final
class _MovingTexts(_Texts):
    """Embedded by the student in every step: its text tower moves.

    So is the bank, or a sample of it. With a fixed bank, nothing would keep the names from following the concept's
    texts; and if the text tower alone moves, distillation on replay images would have no gradient.
    """

    def __init__(
        self, student: DualEncoder, own: Sequence[Sequence[str]], bank: Sequence[str], known: int, sample: int
    ) -> None:
        self._student, self._own, self._all, self._known = student, own, bank, known
        self._sample = min(sample, len(bank))

    def positives(self, owners: Sequence[int], generator: Generator) -> Float[Tensor, "n d"]:
        return self._student.encode_texts(
            [self._own[owner][_choice(len(self._own[owner]), generator)] for owner in owners]
        )

    def bank(self, generator: Generator) -> _Bank:
        picked = torch.randperm(len(self._all), generator=generator)[: self._sample]
        rows = self._student.encode_texts([self._all[place] for place in picked.tolist()])
        return _Bank(rows, picked.to(rows.device), self._known, len(self._all) / self._sample)


@dataclass(frozen=True, slots=True)
class _TrainingData:
    """What the update reads, computed once, and how it is embedded."""

    update: Update
    inputs: Tensor
    """What `Update.read` made of the images; below them the text anchors."""
    owners: Tensor
    """For each input the index of its concept."""
    weights: Tensor
    """Mixing weight per input; 1 for an image."""
    replay: Tensor | None
    """What `Update.read` made of the replay images."""

    @classmethod
    def prepare(
        cls,
        model: DualEncoder,
        update: Update,
        images: Sequence[SyntheticImages],
        replay: Sequence[SyntheticImages],
        config: TeachingConfig,
        known: Sequence[str],
    ) -> "_TrainingData":
        owners = torch.cat([torch.full((len(value),), i) for i, value in enumerate(images)])
        read = [update.read(portion) for portion in portions(model, images)]
        weights = torch.ones(len(owners))
        old = torch.cat([update.read(portion) for portion in portions(model, replay)]) if replay else None
        if config.uses_text_anchors:
            rows, whose, heavy = text_anchors(model, images, known, config.text_anchor, config.conse_anchor)
            if len(whose):
                read.append(rows)
            owners, weights = torch.cat([owners, whose]), torch.cat([weights, heavy])
        untaught = set(range(len(images))) - set(owners.tolist())
        if untaught:
            raise ConfigError(nothing_to_learn(images[min(untaught)].concept.name))
        inputs = torch.cat(read)
        if old is not None and config.update.kind.is_map and config.center:
            inputs = normalize(inputs - config.center * old.mean(dim=0), dim=-1)
        return cls(update, inputs, owners, weights, old)

    def embed(self, inputs: Tensor) -> Embeddings:
        return self.update.embed(inputs)

    def mixtures(self, batch: Tensor, generator: Generator) -> Embeddings:
        """For each of these inputs a random mixture of all inputs of its concept, text anchors included."""
        same = self.owners[batch][:, None] == self.owners
        # exponential draws made to sum to one are uniform over all mixtures
        shares = torch.empty(same.shape).exponential_(generator=generator) * same * self.weights
        return normalize(shares.to(self.inputs) @ self.inputs, dim=-1)


@torch.no_grad()
def _answers(data: _TrainingData, bank: Tensor, temperature: float) -> Tensor | None:
    """The untaught model's logits over the bank for every replay image."""
    if data.replay is None:
        return None
    embedded = torch.cat([data.embed(part) for part in data.replay.split(32)])
    return embedded @ bank.T / temperature


def _choice(count: int, generator: Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
