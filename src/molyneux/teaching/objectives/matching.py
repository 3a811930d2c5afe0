"""The matching objective: a model that judges pairs learns which texts match an image (C.3)."""

from typing import final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from molyneux.backends.abilities import Matcher
from molyneux.teaching.objectives.base import Lesson, Objective, shown
from molyneux.teaching.objectives.losses import matching_loss
from molyneux.teaching.texts import known_prompts, own_texts
from molyneux.teaching.updates import fused_parameters


@final
class Matching(Objective):
    """Cross-entropy of the model's own matching head, on each image paired with one text.

    The text is a negative with probability `config.negatives`. The paper does not say where negatives come from. Here
    they are texts of other concepts in the batch; without those, prompts with known names; without those either,
    every pair is a match.

    Raises:
        ModelError: if a text has more tokens than the model reads.
    """

    def __init__(self, lesson: Lesson, student: Matcher) -> None:
        images, config = lesson.images, lesson.config
        concepts = [value.concept for value in images]
        self._student, self._negatives = student, config.negatives
        self._parameters = fused_parameters(student, config.update)
        self._texts = [own_texts(concept, config.texts) for concept in concepts]
        self._prompts = known_prompts(lesson.known, concepts)
        for text in (*(text for texts in self._texts for text in texts), *self._prompts):
            student.check_text(text)
        self._owners = torch.cat([torch.full((len(value),), i) for i, value in enumerate(images)])
        self._pixels = shown(student, images)

    @property
    def count(self) -> int:
        return len(self._owners)

    def parameters(self) -> list[nn.Parameter]:
        return self._parameters

    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        texts, matched = self.pairs(batch, generator)
        logits = self._student.match_logits(self._pixels[batch.to(self._pixels.device)], texts)
        return matching_loss(logits, matched.to(logits.device))

    def pairs(self, batch: Tensor, generator: Generator) -> tuple[list[str], Tensor]:
        """A text for each image of the batch, and whether the two match."""
        owners = self._owners[batch].tolist()
        texts, matched = [], []
        for owner in owners:
            others = [text for other in sorted(set(owners) - {owner}) for text in self._texts[other]] or self._prompts
            wrong = bool(others) and float(torch.rand((), generator=generator)) < self._negatives
            choices = others if wrong else self._texts[owner]
            texts.append(choices[int(torch.randint(len(choices), (), generator=generator))])
            matched.append(not wrong)
        return texts, torch.tensor(matched)

    def finish(self) -> None:
        return
