"""The losses, as functions of unit-length embeddings or of logits."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from molyneux.shapes import Embeddings


def anchors_loss(images: Embeddings, texts: Embeddings, temperature: float) -> Float[Tensor, ""]:
    """The authors' contrastive loss: the i-th image and the i-th text are each other's only positive.

    Each of the 2B embeddings is an anchor, and all others but its positive are its negatives, images and texts alike.
    With one concept the texts are copies of one another, so the loss cannot reach zero.

    Source: the authors' fine-tuning script for the paper (C.1); SimCLR's form (Chen et al., 2020).

    Args:
        images: (b, d), unit length.
        texts: (b, d), unit length, row by row the images' captions.
        temperature: positive.
    """
    count = len(images)
    everything = torch.cat([images, texts])
    logits = everything @ everything.T / temperature
    logits = logits.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=logits.device), float("-inf"))
    positives = torch.arange(2 * count, device=logits.device).roll(count)
    return cross_entropy(logits, positives)


def symmetric_loss(images: Embeddings, texts: Embeddings, temperature: float) -> Float[Tensor, ""]:
    """CLIP's loss: each image among the texts of the batch and each text among its images, averaged.

    It cannot teach a single concept. All texts are then equal: the first half is log(b), without a gradient, and the
    second half only makes the images' similarities equal.

    Source: Radford et al. (2021).

    Args:
        images: (b, d), unit length.
        texts: (b, d), unit length, row by row the images' captions.
        temperature: positive.
    """
    logits = images @ texts.T / temperature
    places = torch.arange(len(images), device=logits.device)
    return (cross_entropy(logits, places) + cross_entropy(logits.T, places)) / 2


def bank_loss(
    images: Embeddings,
    positives: Float[Tensor, "n d"],
    bank: Float[Tensor, "m d"],
    allowed: Bool[Tensor, "n m"],
    temperature: float,
    count_each: float = 1.0,
) -> Float[Tensor, ""]:
    """Eq. 2: each image against its own text and all allowed texts of the bank, which are other concepts'.

    Approaches 0 as every image comes far nearer to its own text than to all others; log(1 + m) where all m + 1 texts
    are equally near.

    Args:
        images: (n, d), unit length.
        positives: (n, d), unit length, each image's own text.
        bank: (m, d), unit length.
        allowed: True where a text of the bank is a negative of an image; False for its own concept's texts.
        temperature: positive.
        count_each: how many texts one row of the bank stands for, if the bank is a sample.
    """
    own = (images * positives).sum(dim=-1, keepdim=True) / temperature
    others = (images @ bank.T / temperature + math.log(count_each)).masked_fill(~allowed, float("-inf"))
    return -log_softmax(torch.cat([own, others], dim=1), dim=1)[:, 0].mean()


def distillation_loss(
    images: Embeddings, texts: Float[Tensor, "m d"], answers: Float[Tensor, "n m"], temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of present answers against old ones; at its minimum, which is not zero, where they agree.

    Args:
        images: (n, d), unit length.
        texts: (m, d), unit length.
        answers: (n, m), the untaught model's soft-max over the texts; rows sum to 1.
        temperature: positive.
    """
    return -(answers * log_softmax(images @ texts.T / temperature, dim=1)).sum(dim=1).mean()


def caption_loss(
    logits: Float[Tensor, "n l v"], tokens: Int[Tensor, "n l"], padding: int, *, summed: bool = False
) -> Float[Tensor, ""]:
    """Cross-entropy of the model's next-token prediction, averaged over the captions' tokens or summed (Eq. 6).

    Logits at one position predict the token at the next, so the last position and the start token are left out.
    The mean is taken over the tokens of all captions, as open_clip does for CoCa. The sum is the paper's: over each
    caption's tokens; captions are averaged.

    Args:
        logits: (n, l, v).
        tokens: (n, l): start token, caption, end token, padding.
        padding: this token is not counted.
        summed: the sum over a caption's tokens instead of the mean.
    """
    flat, next_tokens = logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
    if summed:
        return cross_entropy(flat, next_tokens, ignore_index=padding, reduction="sum") / len(tokens)
    return cross_entropy(flat, next_tokens, ignore_index=padding)


def matching_loss(logits: Float[Tensor, "n 2"], matched: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Cross-entropy of 'match' against 'no match', averaged over the pairs.

    log 2 where the two logits are equal; approaches 0 as every pair is judged rightly.

    Source: image-text matching as in ViLT's pre-training (Kim et al., 2021, 2102.03334).

    Args:
        logits: (n, 2), of (no match, match).
        matched: True for pairs that match.
    """
    return cross_entropy(logits, matched.long())


def masked_loss(logits: Float[Tensor, "n l v"], labels: Int[Tensor, "n l"]) -> Float[Tensor, ""]:
    """Cross-entropy of the masked tokens, averaged over all positions with a label.

    Source: masked language modelling (Devlin et al., 2019, 1810.04805).

    Args:
        logits: (n, l, v), of the token at each position.
        labels: the masked token, or -100 where there is none; at least one position has a label.
    """
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
