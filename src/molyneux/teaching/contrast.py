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
from molyneux.teaching.losses import anchors_loss, bank_loss, distillation_loss
from molyneux.teaching.objective import Objective, shown
from molyneux.teaching.texts import NAME_PROMPT, known_prompts, own_texts
from molyneux.teaching.updates import Update, start_update


@final
class Contrast(Objective):
    """Each picture against its own text and others (loss 'bank' or 'anchors'), and the old answers on replay."""

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
        config, lesson, texts = self._config, self._lesson, self._texts
        owners = lesson.owners[batch]
        positives = torch.stack([_choice(texts.positives[owner], generator) for owner in owners.tolist()])
        images = lesson.embed(lesson.inputs[batch.to(lesson.inputs.device)])
        if config.loss == "anchors":
            loss = anchors_loss(images, positives, self._temperature)
        else:
            loss = bank_loss(images, positives, texts.bank, texts.allowed(owners), self._temperature)
        if self._answers is None or lesson.replay is None:
            return loss
        picked = torch.randint(len(self._answers), (config.replay_batch,), generator=generator)
        picked = picked.to(self._answers.device)
        seen = lesson.embed(lesson.replay[picked])
        kept = distillation_loss(seen, texts.bank, self._answers[picked], self._temperature)
        return loss + config.replay_weight * kept

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


@torch.no_grad()
def _answers(lesson: _Lesson, texts: _Texts, temperature: float) -> Tensor | None:
    """The untaught model's soft-max over the bank for every replay picture."""
    if lesson.replay is None:
        return None
    embedded = torch.cat([lesson.embed(part) for part in lesson.replay.split(32)])
    return (embedded @ texts.bank.T / temperature).softmax(dim=1)


def _choice(texts: Float[Tensor, "k d"], generator: Generator) -> Float[Tensor, " d"]:
    return texts[int(torch.randint(len(texts), (1,), generator=generator))]
