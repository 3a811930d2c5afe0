"""What some models can do beside embedding; asking another model for it fails before any work."""

import abc
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.errors import ModelError
from molyneux.shapes import Embeddings, Images, Memory


class Matcher(VisionLanguageModel):
    """Says of a picture and a text whether they belong together."""

    @abc.abstractmethod
    def match_logits(self, images: Images, texts: Sequence[str]) -> Float[Tensor, "n 2"]:
        """For each picture and the text beside it the logits of (no match, match); differentiable."""


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


class MaskedLM(VisionLanguageModel):
    """Fills masked words of a text beside a picture."""

    @abc.abstractmethod
    def masked_tokens(self, texts: Sequence[str]) -> tuple[Int[Tensor, "n l"], Int[Tensor, "n l"]]:
        """Tokens, and for each the index of its word, -1 for special tokens and padding."""

    @abc.abstractmethod
    def masked_logits(self, images: Images, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        """The logits of the token at each place; differentiable."""

    @property
    @abc.abstractmethod
    def mask_token(self) -> int:
        """The token that hides a word."""


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
