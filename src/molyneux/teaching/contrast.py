"""Teaching a dual encoder: its vision tower learns to see the pictures as their texts (Eq. 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.losses import anchors_loss, bank_loss, distillation_loss, symmetric_loss
from molyneux.teaching.objective import Objective, shown
from molyneux.teaching.texts import NAME_PROMPT, known_prompts, own_texts
from molyneux.teaching.updates import Update, start_update


@final
class Contrast(Objective):
    """Each picture against its own text and others ('bank', 'anchors', 'symmetric'), and the old answers on replay."""

    def __init__(
        self,
        model: DualEncoder,
        student: DualEncoder,
        pictures: Sequence[SyntheticImages],
        config: TeachingConfig,
        known: Sequence[str],
        replay: Sequence[SyntheticImages],
    ) -> None:
        concepts = [value.concept for value in pictures]
        prompts = known_prompts(known, concepts)
        if not prompts and config.loss == "bank" and len(concepts) == 1:
            raise ConfigError("teaching one concept with the loss 'bank' needs known names as negatives: give `known`")
        self._config = config
        self._temperature = config.temperature or model.temperature
        self._texts = _Texts.read(model, concepts, prompts, config)
        self._update = start_update(student, config.update)
        self._lesson = _Lesson.prepare(model, self._update, pictures, replay if config.replay_batch else (), config)
        self._answers = _answers(self._lesson, self._texts, self._temperature)

    @property
    def count(self) -> int:
        return len(self._lesson.owners)

    def parameters(self) -> list[nn.Parameter]:
        return self._update.parameters()

    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        mixed = self._config.mixed and self._config.update.part == "space"
        embedded = self._lesson.embed(self._lesson.mixtures(batch, generator) if mixed else self.inputs(batch))
        return self.contrast(embedded, batch, generator) + self.kept(generator)

    def inputs(self, batch: Tensor) -> Tensor:
        """What the update reads of these pictures: pixels, if blocks of the tower move."""
        return self._lesson.inputs[batch.to(self._lesson.inputs.device)]

    def owners(self, batch: Tensor) -> Tensor:
        """For each picture the index of its concept."""
        return self._lesson.owners[batch]

    def contrast(self, embedded: Embeddings, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        """The loss of these pictures, embedded by the student, against the texts."""
        config, texts, owners = self._config, self._texts, self.owners(batch)
        positives = torch.stack([_choice(texts.positives[owner], generator) for owner in owners.tolist()])
        if config.loss == "anchors":
            return anchors_loss(embedded, positives, self._temperature)
        if config.loss == "symmetric":
            return symmetric_loss(embedded, positives, self._temperature)
        return bank_loss(embedded, positives, texts.bank, texts.allowed(owners), self._temperature)

    def kept(self, generator: Generator) -> Float[Tensor, ""]:
        """The weighted loss of other answers than the old ones on drawn replay pictures; 0 without replay."""
        config, lesson, texts = self._config, self._lesson, self._texts
        if self._answers is None or lesson.replay is None:
            return texts.bank.new_zeros(())
        picked = torch.randint(len(self._answers), (config.replay_batch,), generator=generator)
        picked = picked.to(self._answers.device)
        seen = lesson.embed(lesson.replay[picked])
        return config.replay_weight * distillation_loss(seen, texts.bank, self._answers[picked], self._temperature)

    def finish(self) -> None:
        self._update.finish()


@dataclass(frozen=True, slots=True)
class _Texts:
    """What pictures are compared with: the texts of the concepts, and a bank of all names."""

    positives: list[Tensor]
    """For each concept the texts its pictures are pulled to."""
    bank: Float[Tensor, "m d"]
    """Known names first, then the concepts' names."""
    known: int

    @classmethod
    def read(
        cls, model: DualEncoder, concepts: Sequence[Concept], prompts: Sequence[str], config: TeachingConfig
    ) -> "_Texts":
        names = [NAME_PROMPT.format(concept.name) for concept in concepts]
        positives = [model.embed_texts(own_texts(concept, config.texts)) for concept in concepts]
        return cls(positives, model.embed_texts([*prompts, *names]), len(prompts))

    def allowed(self, owners: Tensor) -> Bool[Tensor, "n m"]:
        """Every text of the bank but the name of the picture's own concept."""
        mask = torch.ones(len(owners), len(self.bank), dtype=torch.bool, device=self.bank.device)
        mask[torch.arange(len(owners)), self.known + owners] = False
        return mask


@dataclass(frozen=True, slots=True)
class _Lesson:
    """Pictures, or their features where the trunk stays, and how they are embedded."""

    update: Update
    inputs: Tensor
    owners: Tensor
    replay: Tensor | None

    @classmethod
    def prepare(
        cls,
        model: DualEncoder,
        update: Update,
        pictures: Sequence[SyntheticImages],
        replay: Sequence[SyntheticImages],
        config: TeachingConfig,
    ) -> "_Lesson":
        owners = torch.cat([torch.full((len(value),), i) for i, value in enumerate(pictures)])
        inputs = update.read(shown(model, pictures))
        old = update.read(shown(model, replay)) if replay else None
        if old is not None and config.update.part == "space" and config.contrast:
            inputs = normalize(inputs - config.contrast * old.mean(dim=0), dim=-1)
        return cls(update, inputs, owners, old)

    def embed(self, inputs: Tensor) -> Embeddings:
        return self.update.embed(inputs)

    def mixtures(self, batch: Tensor, generator: Generator) -> Embeddings:
        """For each of these pictures a random mixture of all its concept's."""
        same = self.owners[batch][:, None] == self.owners
        # exponential draws made to sum to one are uniform over all mixtures
        shares = torch.empty(same.shape).exponential_(generator=generator) * same
        return normalize(shares.to(self.inputs) @ self.inputs, dim=-1)


@torch.no_grad()
def _answers(lesson: _Lesson, texts: _Texts, temperature: float) -> Tensor | None:
    """The untaught model's soft-max over the bank for every replay picture."""
    if lesson.replay is None:
        return None
    embedded = torch.cat([lesson.embed(part) for part in lesson.replay.split(32)])
    return (embedded @ texts.bank.T / temperature).softmax(dim=1)


def _choice(texts: Float[Tensor, "k d"], generator: Generator) -> Float[Tensor, " d"]:
    return texts[int(torch.randint(len(texts), (1,), generator=generator))]
