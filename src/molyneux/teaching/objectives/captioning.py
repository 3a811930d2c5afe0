"""The captioning objective: a contrastive loss and the likelihood of captions (Eq. 7)."""

from dataclasses import replace
from pathlib import Path
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from molyneux.backends.abilities import Captioner, captioner
from molyneux.teaching.memory import in_parts
from molyneux.teaching.objectives.base import Lesson, Objective, start_objective
from molyneux.teaching.objectives.contrastive import ContrastiveObjective
from molyneux.teaching.objectives.losses import caption_loss
from molyneux.teaching.texts import caption_templates


@final
class Captioning(Objective):
    """The loss `config.contrastive`, and the likelihood of a caption that is drawn for each image at each step.

    The vision tower moves; with `config.decoder` the text decoder too.
    """

    def __init__(self, lesson: Lesson, student: Captioner) -> None:
        self._config, self._student = lesson.config, student
        contrastive = replace(lesson, config=replace(lesson.config, loss=lesson.config.contrastive))
        self._contrastive = cast(ContrastiveObjective, start_objective(contrastive, student))
        templates = caption_templates(lesson.config.caption_templates)
        names = [value.concept.name for value in lesson.images]
        tokens = student.caption_tokens([template.format(name) for name in names for template in templates])
        self._captions = tokens.unflatten(0, (len(names), len(templates)))

    @property
    def count(self) -> int:
        return self._contrastive.count

    def parameters(self) -> list[nn.Parameter]:
        decoder = list(self._student.decoder_module().parameters()) if self._config.decoder else []
        return [*self._contrastive.parameters(), *decoder]

    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        look = captioner(self._contrastive.seeing, "captioning").look
        embedded, memory = in_parts(look, self._config.micro_batch, self._contrastive.inputs(batch))
        contrastive = self._contrastive.contrastive_loss(embedded, batch, generator)
        drawn = torch.randint(self._captions.shape[1], (len(batch),), generator=generator)
        tokens = self._captions[self._contrastive.owners(batch), drawn]
        logits = in_parts(self._student.next_logits, self._config.micro_batch, memory, tokens)
        padding = self._student.caption_specials[2]
        caption = caption_loss(logits, tokens, padding, summed=self._config.caption_sum)
        weighted = self._config.contrastive_weight * contrastive + self._config.caption_weight * caption
        return weighted + self._contrastive.replay_loss(generator)

    def save_adapter(self, folder: Path, strength: float) -> None:
        self._contrastive.save_adapter(folder, strength)

    def finish(self) -> None:
        self._contrastive.finish()
