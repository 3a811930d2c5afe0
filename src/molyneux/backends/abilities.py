"""What some models can do beside embedding; asking another model for it fails before any work."""

import abc
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from molyneux.backends.base import Alignment, DualEncoder, VisionLanguageModel
from molyneux.errors import ModelError
from molyneux.shapes import Embeddings, Images, Memory, Scores


class FusedModel(VisionLanguageModel):
    """A model in which picture and text pass through one trunk together, so that neither has an embedding alone."""

    @abc.abstractmethod
    def fused_blocks(self) -> list[nn.Module]:
        """What reads pictures, then the trunk's blocks, input first: what 'the last k blocks' counts.

        Word embeddings and heads are not among them: teaching never moves those.
        """

    @abc.abstractmethod
    def readout_modules(self) -> list[nn.Module]:
        """What follows the blocks, below the heads; it moves with the last blocks."""


class Matcher(FusedModel):
    """Says of a picture and a text whether they belong together."""

    @abc.abstractmethod
    def match_logits(self, images: Images, texts: Sequence[str]) -> Float[Tensor, "n 2"]:
        """For each picture and the text beside it the logits of (no match, match); differentiable.

        Raises:
            ModelError: if a text has more tokens than the model reads.
        """

    @abc.abstractmethod
    def match_scores(self, images: Images, texts: Sequence[str]) -> Float[Tensor, "n m"]:
        """Log-probability that each picture and each text match, at most 0; without gradients.

        A picture is cut into patches and embedded once, however many the texts.

        Raises:
            ModelError: if a text has more tokens than the model reads.
        """

    def alignment(self, texts: Sequence[str]) -> Alignment:
        """Log-probability that a picture matches, averaged over the texts."""
        for text in texts:
            self.check_text(text)

        def score(images: Images) -> tuple[Scores, Tensor]:
            rows = [self._log_match(images, [text] * len(images)) for text in texts]
            scores = torch.stack(rows).mean(dim=0)
            return scores, scores.mean()

        return Alignment(score)

    def alignment_each(self, texts: Sequence[str]) -> Alignment:
        """Log-probability that the i-th picture matches the i-th text."""
        for text in texts:
            self.check_text(text)

        def score(images: Images) -> tuple[Scores, Tensor]:
            scores = self._log_match(images, texts)
            return scores, scores.mean()

        return Alignment(score)

    def _log_match(self, images: Images, texts: Sequence[str]) -> Scores:
        return log_softmax(self.match_logits(images, texts), dim=1)[:, 1]


class Captioner(DualEncoder):
    """Writes a text about a picture, token by token, beside embedding both."""

    @abc.abstractmethod
    def look(self, images: Images) -> tuple[Embeddings, Memory]:
        """What `embed_images` returns and what the decoder attends to, in one pass; differentiable."""

    @abc.abstractmethod
    def next_logits(self, memory: Memory, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        """At each place the logits of the token after it, given picture and tokens so far; differentiable."""

    def caption_logits(self, images: Images, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        """`next_logits` for pictures not looked at yet."""
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
    """Fills masked words of a text beside a picture."""

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
    """The model, if it can say how well a picture and a text fit; errors as for `matcher`."""
    if not isinstance(model, DualEncoder | Matcher):
        raise ModelError(
            f"{task} needs a model that embeds or matches pictures and texts (CLIP, ViLT), got {model.name!r}"
        )
    return model


def matcher(model: VisionLanguageModel, task: str) -> Matcher:
    """The model, if it judges pairs.

    Raises:
        ModelError: otherwise, naming the task and the families that do.
    """
    if not isinstance(model, Matcher):
        raise ModelError(f"{task} needs a model that judges pairs of picture and text (ViLT), got {model.name!r}")
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
