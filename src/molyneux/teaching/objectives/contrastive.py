"""Contrastive objectives: a dual encoder learns to embed images near their concepts' texts (Eq. 2)."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from molyneux.backends.abilities import Explainable
from molyneux.backends.base import DualEncoder
from molyneux.errors import ConfigError
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.memory import in_parts
from molyneux.teaching.objectives.base import Lesson, Objective, portions
from molyneux.teaching.objectives.losses import anchors_loss, bank_loss, distillation_loss, symmetric_loss
from molyneux.teaching.texts import NAME_PROMPT, known_prompts, own_texts
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
        # read only where it is compared with: a thousand texts take longer than a lesson of the paper's
        fixed = cache(lambda: model.embed_texts(bank))
        self._texts: _Texts
        if moves_texts(config.update):
            self._texts = _MovingTexts(student, own, bank, config)
        else:
            self._texts = _FixedTexts([model.embed_texts(texts) for texts in own], fixed)
        self._update = start_update(student, config.update, lesson.seed)
        kept = lesson.replay if config.replay_batch else ()
        self._data = _TrainingData.prepare(model, self._update, lesson.images, kept, config.micro_batch)
        self._answers = _answers(self._data, fixed, self._temperature)

    @property
    def count(self) -> int:
        return len(self._data.owners)

    def parameters(self) -> list[nn.Parameter]:
        return self._update.parameters()

    def loss(self, batch: Tensor, generator: Generator) -> Loss:
        embedded = self._data.embed_own(self.inputs(batch))
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
class InfoNCE(ContrastiveObjective):
    """Eq. 2: each image against its own text and all texts of the other concepts.

    Its mean over a concept's own texts is sampled: one is drawn for each image in each step. A single concept has no
    other texts, and Eq. 2 no gradient: then the loss is that of `Anchors`.
    """

    def against(self, embedded: Embeddings, positives: Embeddings, owners: Tensor, generator: Generator) -> Loss:
        others = self._texts.captions(generator)
        if others is None:
            return anchors_loss(embedded, positives, self._temperature)
        return bank_loss(embedded, positives, others.rows, others.allowed(owners), self._temperature, others.count_each)


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
    """Embeddings of texts, or of a sample of them."""

    rows: Float[Tensor, "m d"]
    columns: Int[Tensor, " m"]
    """The rows' places among all texts."""
    owners: Int[Tensor, " m"]
    """For each row the index of its concept; -1 for a known name."""
    count_each: float
    """How many texts one row stands for."""

    def allowed(self, owners: Tensor) -> Bool[Tensor, "n m"]:
        """True for every text but those of the image's own concept."""
        return self.owners != owners.to(self.owners.device)[:, None]


class _Texts(abc.ABC):
    """What images are compared with: the concepts' own texts, and the bank."""

    @abc.abstractmethod
    def positives(self, owners: Sequence[int], generator: Generator) -> Float[Tensor, "n d"]:
        """For each of these concepts one of its own texts, drawn at random."""

    @abc.abstractmethod
    def captions(self, generator: Generator) -> _Bank | None:
        """The own texts of all concepts, or a sample; None of a single concept."""

    @abc.abstractmethod
    def bank(self, generator: Generator) -> _Bank:
        """Prompts with all names, known names first, then the concepts'; or a sample."""


@final
class _FixedTexts(_Texts):
    """Embedded once: the text tower does not move."""

    def __init__(self, own: list[Tensor], bank: Callable[[], Tensor]) -> None:
        self._own, self._rows = own, bank
        self._captions = None if len(own) == 1 else self._whole(torch.cat(own), _owners_of(own))

    @staticmethod
    def _whole(rows: Float[Tensor, "m d"], owners: Int[Tensor, " m"]) -> _Bank:
        return _Bank(rows, torch.arange(len(rows), device=rows.device), owners.to(rows.device), 1.0)

    def positives(self, owners: Sequence[int], generator: Generator) -> Float[Tensor, "n d"]:
        return torch.stack([self._own[owner][_choice(len(self._own[owner]), generator)] for owner in owners])

    def captions(self, generator: Generator) -> _Bank | None:
        del generator
        return self._captions

    def bank(self, generator: Generator) -> _Bank:
        del generator
        rows = self._rows()
        return self._whole(rows, _owners_of_prompts(len(rows), len(self._own)))


@final
class _MovingTexts(_Texts):
    """Embedded by the student in every step: its text tower moves.

    So is the bank, or a sample of it. With a fixed bank, nothing would keep the names from following the concept's
    texts; and if the text tower alone moves, distillation on replay images would have no gradient.
    """

    def __init__(
        self, student: DualEncoder, own: Sequence[Sequence[str]], bank: Sequence[str], config: TeachingConfig
    ) -> None:
        self._student, self._own, self._all = student, own, bank
        self._largest, self._at_once = config.bank_batch, config.micro_batch

    def positives(self, owners: Sequence[int], generator: Generator) -> Float[Tensor, "n d"]:
        drawn = [self._own[owner][_choice(len(self._own[owner]), generator)] for owner in owners]
        return in_parts(self._student.encode_texts, self._at_once, drawn)

    def captions(self, generator: Generator) -> _Bank | None:
        texts = [text for texts in self._own for text in texts]
        return None if len(self._own) == 1 else self._sample(texts, _owners_of(self._own), generator)

    def bank(self, generator: Generator) -> _Bank:
        return self._sample(self._all, _owners_of_prompts(len(self._all), len(self._own)), generator)

    def _sample(self, texts: Sequence[str], owners: Int[Tensor, " m"], generator: Generator) -> _Bank:
        picked = torch.randperm(len(texts), generator=generator)[: self._largest]
        rows = in_parts(self._student.encode_texts, self._at_once, [texts[place] for place in picked.tolist()])
        return _Bank(rows, picked.to(rows.device), owners[picked].to(rows.device), len(texts) / len(picked))


def _owners_of(own: Sequence[Sequence[str] | Tensor]) -> Int[Tensor, " m"]:
    """For each concept's texts, in order, the concept's index."""
    return torch.cat([torch.full((len(texts),), place) for place, texts in enumerate(own)])


def _owners_of_prompts(count: int, concepts: int) -> Int[Tensor, " m"]:
    """The same for prompts with known names, which are no concept's, and with the concepts' names after them."""
    return torch.arange(concepts - count, concepts).clamp(min=-1)


@dataclass(frozen=True, slots=True)
class _TrainingData:
    """What the update reads, computed once, and how it is embedded."""

    update: Update
    inputs: Tensor
    """What `Update.read` made of the images."""
    owners: Tensor
    """For each image the index of its concept."""
    replay: Tensor | None
    """What `Update.read` made of the replay images."""
    at_once: int
    """Inputs that are embedded at once where pixels are; 0 for all."""
    block: int | None
    """After how many blocks of the tower the images' inputs lie, if they are hidden states and the tower moves."""

    @classmethod
    def prepare(
        cls,
        model: DualEncoder,
        update: Update,
        images: Sequence[SyntheticImages],
        replay: Sequence[SyntheticImages],
        at_once: int,
    ) -> "_TrainingData":
        bare = next((value for value in images if not value.samples), None)
        if bare is not None:
            raise ConfigError(
                f"{bare.concept.name!r} has no images to learn from: give some; the loss 'edit' alone does without"
            )
        owners = torch.cat([torch.full((value.samples,), i) for i, value in enumerate(images)])
        block, inputs = _hidden(update, images)
        if inputs is None:
            inputs = torch.cat([update.read(portion) for portion in portions(model, images)])
        old = torch.cat([update.read(portion) for portion in portions(model, replay)]) if replay else None
        return cls(update, inputs, owners, old, at_once if inputs.ndim > 2 else 0, block)

    def embed(self, inputs: Tensor) -> Embeddings:
        """What `Update.read` returned, embedded."""
        return in_parts(self.update.embed, self.at_once, inputs)

    def embed_own(self, inputs: Tensor) -> Embeddings:
        """The images' inputs, embedded."""
        if self.block is None:
            return self.embed(inputs)
        divided, block = self.update.model, self.block
        assert isinstance(divided, Explainable)
        return in_parts(lambda hidden: divided.upper(hidden, block), self.at_once, inputs)


def _hidden(update: Update, images: Sequence[SyntheticImages]) -> tuple[int | None, Tensor | None]:
    """What the update reads of hidden states, and their block if the tower moves; (None, None) for images.

    Raises:
        ConfigError: if some concepts have hidden states and others images, or hidden states are of several blocks.
    """
    blocks = {value.block for value in images}
    if blocks == {None}:
        return None, None
    if len(blocks) > 1:
        raise ConfigError("the concepts' hidden states are not all of one block: make them with one setting of block")
    hidden = torch.cat([value.hidden for value in images if value.hidden is not None]).to(update.model.device)
    (block,) = blocks
    assert block is not None
    return update.read_hidden(hidden, block)


@torch.no_grad()
def _answers(data: _TrainingData, bank: Callable[[], Tensor], temperature: float) -> Tensor | None:
    """The untaught model's logits over the bank for every replay image."""
    if data.replay is None:
        return None
    embedded = torch.cat([data.embed(part) for part in data.replay.split(32)])
    return embedded @ bank().T / temperature


def _choice(count: int, generator: Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
