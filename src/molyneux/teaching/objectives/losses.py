"""What teaching descends, as functions over unit-length embeddings, or over logits."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from molyneux.shapes import Embeddings


def anchors_loss(images: Embeddings, texts: Embeddings, temperature: float) -> Float[Tensor, ""]:
    """The authors' contrastive loss: the i-th image and the i-th text are each other's only positive.

    All 2B embeddings are anchors; the negatives of each are all other embeddings but itself and its
    positive, those of its own kind included. With one concept the texts are copies, so the loss has a
    floor above zero.

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

    Not for a single concept: where all texts are alike, the first half is log(b) with no gradient at all, and the
    second only evens out the images, without any pull of all of them to the text.

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
    """Eq. 2 with a fixed bank of other texts: each image against its own text and all allowed others.

    Zero in the limit where every image is far nearer to its text than to any other; log(1 + m) where
    all are equally near.

    Args:
        images: (n, d), unit length.
        positives: (n, d), unit length, each image's own text.
        bank: (m, d), unit length.
        allowed: False where a text of the bank is no negative of an image: its own concept's texts.
        temperature: positive.
        count_each: how many texts each of the bank stands for, where it is a sample of them.
    """
    own = (images * positives).sum(dim=-1, keepdim=True) / temperature
    others = (images @ bank.T / temperature + math.log(count_each)).masked_fill(~allowed, float("-inf"))
    return -log_softmax(torch.cat([own, others], dim=1), dim=1)[:, 0].mean()


def distillation_loss(
    images: Embeddings, texts: Float[Tensor, "m d"], answers: Float[Tensor, "n m"], temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy between old answers and present ones: least, but not zero, where they agree.

    Args:
        images: (n, d), unit length.
        texts: (m, d), unit length.
        answers: (n, m), the soft-max of the untaught model over the texts; rows sum to 1.
        temperature: positive.
    """
    return -(answers * log_softmax(images @ texts.T / temperature, dim=1)).sum(dim=1).mean()


def caption_loss(logits: Float[Tensor, "n l v"], tokens: Int[Tensor, "n l"], padding: int) -> Float[Tensor, ""]:
    """Cross-entropy between each token of the captions and what the model expected there (Eq. 6).

    The logits of a place are for the token after it, so the last place has no say and the start token is not asked
    for. A mean over tokens, as open_clip trains CoCa, where the paper writes a sum.

    Args:
        logits: (n, l, v).
        tokens: (n, l), start token, caption, end token, padding.
        padding: the token that is not counted.
    """
    return cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=padding)


def matching_loss(logits: Float[Tensor, "n 2"], matched: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Cross-entropy of 'these belong together' against 'these do not', averaged over the pairs.

    log 2 where the two logits are equal; zero in the limit where all pairs are told apart.

    Source: image-text matching as in ViLT's pre-training (Kim et al., 2021, 2102.03334).

    Args:
        logits: (n, 2), of (no match, match).
        matched: True for pairs that belong together.
    """
    return cross_entropy(logits, matched.long())


def masked_loss(logits: Float[Tensor, "n l v"], labels: Int[Tensor, "n l"]) -> Float[Tensor, ""]:
    """Cross-entropy of the hidden tokens, averaged over all places that have a label.

    Source: masked language modelling (Devlin et al., 2019, 1810.04805).

    Args:
        logits: (n, l, v), of the token at each place.
        labels: the hidden token, or -100 where nothing is asked; one place at least has a label.
    """
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
