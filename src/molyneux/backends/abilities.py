"""What some models can do beside embedding; asking another model for it fails before any work."""

import abc
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from molyneux.arguments import check_texts
from molyneux.backends.base import Alignment, DualEncoder, VisionLanguageModel, check_model, dual_encoder
from molyneux.backends.division import Chain, Hidden
from molyneux.backends.families import Ability
from molyneux.errors import ModelError
from molyneux.shapes import Embeddings, Images, Memory, Scores


class FusedModel(VisionLanguageModel):
    """A model in which image and text pass through one trunk together, so that neither has an embedding alone."""

    @abc.abstractmethod
    def fused_blocks(self) -> list[nn.Module]:
        """What reads images, then the trunk's blocks, input first: what 'the last k blocks' counts.

        Word embeddings and heads are not among them: teaching never moves those.
        """

    @abc.abstractmethod
    def readout_modules(self) -> list[nn.Module]:
        """What follows the blocks, below the heads; it moves with the last blocks."""


class Matcher(FusedModel):
    """Says of an image and a text whether they belong together."""

    @abc.abstractmethod
    def match_logits(self, images: Images, texts: Sequence[str]) -> Float[Tensor, "n 2"]:
        """For each image and the text beside it the logits of (no match, match); differentiable.

        Raises:
            ModelError: if a text has more tokens than the model reads.
        """

    @abc.abstractmethod
    def match_scores(self, images: Images, texts: Sequence[str], *, by_logit: bool = False) -> Float[Tensor, "n m"]:
        """Log-probability that each image and each text match, at most 0; without gradients.

        An image is cut into patches and embedded once, however many the texts. With `by_logit` the logit of a match
        alone, of any sign: what ViLT's published retrieval ranks by, without training for it.

        Raises:
            ModelError: if a text has more tokens than the model reads.
        """

    def photo_shape(self, width: int, height: int) -> tuple[int, int] | None:
        """Height and width at which pairs with a photo of this size are judged in retrieval; None: as elsewhere."""
        del width, height
        return None

    def alignment(self, texts: Sequence[str], *, each: bool = True, distance: bool = False) -> Alignment:
        """Log-probability that an image matches, averaged over the texts, which have no mean to be compared with."""
        del each
        self._check_distance(distance)
        check_texts(texts)
        for text in texts:
            self.check_text(text)

        def score(images: Images) -> tuple[Scores, Tensor]:
            rows = [self._log_match(images, [text] * len(images)) for text in texts]
            scores = torch.stack(rows).mean(dim=0)
            return scores, scores.mean()

        return Alignment(score)

    def alignment_each(self, texts: Sequence[str], *, distance: bool = False) -> Alignment:
        """Log-probability that the i-th image matches the i-th text."""
        self._check_distance(distance)
        check_texts(texts)
        for text in texts:
            self.check_text(text)

        def score(images: Images) -> tuple[Scores, Tensor]:
            scores = self._log_match(images, texts)
            return scores, scores.mean()

        return Alignment(score)

    def _check_distance(self, distance: bool) -> None:
        if distance:
            raise ModelError(
                f"{self.name!r} has no embeddings of images alone, so no distance: set inversion.similarity to "
                "'cosine', or choose the preset 'paper-vilt'"
            )

    def _log_match(self, images: Images, texts: Sequence[str]) -> Scores:
        return log_match(self.match_logits(images, texts))


def log_match(logits: Float[Tensor, "n 2"]) -> Scores:
    """Log-probability of a match from the logits of (no match, match).

    Unlike the soft-max's, it tells certain matches apart: far above the odds where 1 is the nearest number, too.

    >>> log_match(torch.tensor([[0.0, 0.0], [-20.0, 20.0], [-21.0, 20.0]]))
    tensor([-6.9315e-01, -4.2484e-18, -1.5629e-18])
    """
    return logsigmoid(logits[:, 1] - logits[:, 0])


class Explainable(DualEncoder):
    """Its vision tower is known block by block, so that a hidden state can be read, changed and read on."""

    @abc.abstractmethod
    def chain(self) -> Chain:
        """The tower from images in [0, 1] to what `project` reads.

        Raises:
            ModelError: if the tower is of a kind that is not known block by block.
        """

    @property
    def block_count(self) -> int:
        """The blocks after the stem: hidden states are numbered from 0 (before the first) to this (after the last)."""
        return len(self.chain().blocks)

    @property
    def middle_block(self) -> int:
        """Two thirds of a transformer's blocks, the eighth of twelve, as MedCLIP-SAMv2 takes; all but one of a
        convolutional network's, near the maps that Grad-CAM reads."""
        side = self.inversion_size
        with torch.no_grad():
            maps = self.lower(torch.zeros(1, 3, side, side, device=self.device), 0).ndim == 4
        return max(1, self.block_count - 1 if maps else round(self.block_count * 2 / 3))

    def lower(self, images: Images, block: int) -> Hidden:
        """The hidden state after so many blocks; differentiable.

        Raises:
            ConfigError: if there are fewer blocks.
        """
        return self.compute(lambda batch: self.chain().lower(batch, block), images)

    def upper(self, hidden: Hidden, block: int) -> Embeddings:
        """The unit-length embeddings of that hidden state: `upper(lower(images, l), l)` is `embed_images(images)`.

        Differentiable; errors as for `lower`.
        """
        return self.project(self.compute(lambda values: self.chain().upper(values, block), hidden))

    def places(self, hidden: Hidden) -> Float[Tensor, "n h w d"]:
        """A hidden state, or values in its shape, over the image; class and register tokens are dropped."""
        return self.chain().places(hidden)


class Captioner(DualEncoder):
    """Writes a text about an image, token by token, beside embedding both."""

    @abc.abstractmethod
    def look(self, images: Images) -> tuple[Embeddings, Memory]:
        """What `embed_images` returns and what the decoder attends to, in one pass; differentiable."""

    @abc.abstractmethod
    def next_logits(self, memory: Memory, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        """At each place the logits of the token after it, given image and tokens so far; differentiable."""

    def caption_logits(self, images: Images, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        """`next_logits` for images not looked at yet."""
        return self.next_logits(self.look(images)[1], tokens)

    @abc.abstractmethod
    def caption_tokens(self, texts: Sequence[str]) -> Int[Tensor, "n l"]:
        """Start token, text, end token, then padding up to the longest.

        Raises:
            ModelError: if a text has more tokens than the model reads.
        """

    @abc.abstractmethod
    def caption_text(self, tokens: Int[Tensor, " l"]) -> str:
        """Tokens to text: what lies before the first end token, without start and padding."""

    @property
    @abc.abstractmethod
    def caption_specials(self) -> tuple[int, int, int]:
        """The tokens for start, end and padding."""

    @property
    @abc.abstractmethod
    def caption_length(self) -> int:
        """The most tokens of a caption, start and end included."""

    @abc.abstractmethod
    def decoder_module(self) -> nn.Module:
        """The text decoder: in no embedding's way."""


class MaskedLM(FusedModel):
    """Fills masked words of a text beside an image."""

    @abc.abstractmethod
    def masked_tokens(self, texts: Sequence[str]) -> tuple[Int[Tensor, "n l"], Int[Tensor, "n l"]]:
        """Tokens, and for each the index of its word in the text, -1 for special tokens and padding; on the CPU.

        Raises:
            ModelError: if a text has more tokens than the model reads.
        """

    @abc.abstractmethod
    def masked_logits(self, images: Images, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        """The logits of the token at each place; differentiable."""

    @property
    @abc.abstractmethod
    def mask_token(self) -> int:
        """The token that hides a word."""

    @property
    @abc.abstractmethod
    def word_tokens(self) -> Int[Tensor, " v"]:
        """All tokens but the special ones: what may stand in a word's place; on the CPU."""


def scorer(model: VisionLanguageModel, task: str) -> DualEncoder | Matcher:
    """The model, if it can say how well an image and a text fit; errors as for `matcher`."""
    check_model(model)
    if not isinstance(model, DualEncoder | Matcher):
        raise ModelError(
            f"{task} needs a model that embeds or matches images and texts (CLIP, ViLT), got {model.name!r}"
        )
    return model


def matcher(model: VisionLanguageModel, task: str) -> Matcher:
    """The model, if it judges pairs.

    Raises:
        ModelError: otherwise, naming the task and the families that do.
    """
    if not isinstance(model, Matcher):
        raise ModelError(f"{task} needs a model that judges pairs of image and text (ViLT), got {model.name!r}")
    return model


@torch.no_grad()
def explainable(model: VisionLanguageModel, task: str) -> Explainable:
    """The model, if its vision tower can be divided; one small image is read in both ways to see that.

    Raises:
        ModelError: otherwise, naming the task and the families that can.
    """
    if not isinstance(model, Explainable):
        raise ModelError(
            f"{task} needs a model whose vision tower is known block by block (CLIP, SigLIP, CoCa, MedCLIP, mini), "
            f"got {model.name!r}"
        )
    size = model.inversion_size
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(model.device)
    if not torch.allclose(model.upper(model.lower(image, 0), 0), model.embed_images(image), atol=1e-2):
        raise ModelError(
            f"{task} needs a vision tower whose blocks run in the order in which they are defined; "
            f"those of {model.name!r} do not"
        )
    return model


def captioner(model: VisionLanguageModel, task: str) -> Captioner:
    """The model, if it writes captions; errors as for `matcher`."""
    if not isinstance(model, Captioner):
        raise ModelError(f"{task} needs a model that writes captions (CoCa), got {model.name!r}")
    return model


def masked_lm(model: VisionLanguageModel, task: str) -> MaskedLM:
    """The model, if it fills masked words; errors as for `matcher`."""
    if not isinstance(model, MaskedLM):
        raise ModelError(f"{task} needs a model that fills masked words (ViLT), got {model.name!r}")
    return model


ABILITIES: Mapping[Ability, Callable[[VisionLanguageModel, str], VisionLanguageModel]] = {
    "embeds": dual_encoder,
    "matches": matcher,
    "captions": captioner,
    "fills masks": masked_lm,
    "explains": explainable,
}
"""For each ability the function that raises ModelError for a model without it."""
