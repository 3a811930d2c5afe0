"""The masked objective, the paper's implicit transfer: masked words of a concept's caption are predicted (D.3)."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from molyneux.backends.abilities import MaskedLM
from molyneux.teaching.objectives.base import Lesson, Objective, shown
from molyneux.teaching.objectives.losses import masked_loss
from molyneux.teaching.texts import own_texts
from molyneux.teaching.updates import fused_parameters

NOTHING_ASKED = -100


@final
class Masked(Objective):
    """Cross-entropy of masked words of a concept's text, which the model sees beside one of its images.

    On noise images this is the paper's implicit transfer; on inverted images, its explicit baseline for that. Words
    are drawn anew each time an image is drawn.

    Raises:
        ModelError: if a text has more tokens than the model reads.
    """

    def __init__(self, lesson: Lesson, student: MaskedLM) -> None:
        images, config = lesson.images, lesson.config
        self._student, self._fraction = student, config.masked
        self._parameters = fused_parameters(student, config.update)
        self._texts = [own_texts(value.concept, config.texts) for value in images]
        for text in (text for texts in self._texts for text in texts):
            student.check_text(text)
        self._owners = torch.cat([torch.full((len(value),), i) for i, value in enumerate(images)])
        self._pixels = shown(student, images)

    @property
    def count(self) -> int:
        return len(self._owners)

    def parameters(self) -> list[nn.Parameter]:
        return self._parameters

    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        own = [self._texts[owner] for owner in self._owners[batch].tolist()]
        texts = [choices[int(torch.randint(len(choices), (), generator=generator))] for choices in own]
        tokens, words = self._student.masked_tokens(texts)
        hidden, labels = hide_words(
            tokens, words, self._fraction, self._student.mask_token, self._student.word_tokens, generator
        )
        pixels = self._pixels[batch.to(self._pixels.device)]
        logits = self._student.masked_logits(pixels, hidden.to(pixels.device))
        return masked_loss(logits, labels.to(logits.device))

    def finish(self) -> None:
        return


def hide_words(
    tokens: Int[Tensor, "n l"],
    words: Int[Tensor, "n l"],
    fraction: float,
    mask_token: int,
    word_tokens: Int[Tensor, " v"],
    generator: Generator,
) -> tuple[Int[Tensor, "n l"], Int[Tensor, "n l"]]:
    """Choose whole words of each text at random and mask them.

    In each text round(fraction * words) words are chosen, at least one. Of their tokens, 80 % become the mask, 10 %
    become a random token, and 10 % stay.

    Source: whole-word masking as in BERT (Devlin et al., 2019, 1810.04805) and ViLT's pre-training.

    Args:
        tokens: (n, l).
        words: index of each token's word in its text, -1 for tokens that are never chosen.
        fraction: from 0 to 1.
        mask_token: the mask.
        word_tokens: what random tokens are drawn from.
        generator: source of all randomness.

    Returns:
        The masked tokens, and the labels: the true token where a word was chosen, elsewhere -100. A text without
        words has no labels.
    """
    chosen = torch.zeros_like(tokens, dtype=torch.bool)
    for row, own in enumerate(words):
        present = own[own >= 0].unique()
        if len(present):
            count = max(1, round(fraction * len(present)))
            picked = present[torch.randperm(len(present), generator=generator)[:count]]
            chosen[row] = torch.isin(own, picked)
    labels = tokens.masked_fill(~chosen, NOTHING_ASKED)
    lot = torch.rand(tokens.shape, generator=generator)
    others = word_tokens[torch.randint(len(word_tokens), tokens.shape, generator=generator)]
    hidden = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), others, hidden), labels
