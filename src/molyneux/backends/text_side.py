"""The text side that all dual encoders with a tokenizer share: what is read once is kept, long texts by one rule."""

import abc
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from molyneux.arguments import check_texts
from molyneux.backends.base import DualEncoder
from molyneux.backends.long_text import TokenWindow, check_fits, embed_each, parts
from molyneux.backends.options import LongText
from molyneux.shapes import Embeddings

EncoderT = TypeVar("EncoderT", bound="TokenizedEncoder")


class TokenizedEncoder(DualEncoder):
    """A dual encoder whose texts pass through a tokenizer of limited length."""

    def __init__(self) -> None:
        self._texts: dict[tuple[LongText, str], Tensor] = {}

    @property
    @abc.abstractmethod
    def _window(self) -> TokenWindow:
        """How the text tower counts, and how far it reads."""

    @abc.abstractmethod
    def _fitting_outputs(self, texts: list[str]) -> Float[Tensor, "n d"]:
        """Texts to what the text tower gives; what does not fit is cut."""

    def _embed_fitting(self, texts: list[str]) -> Embeddings:
        return normalize(self._fitting_outputs(texts), dim=-1)

    @torch.no_grad()
    def text_outputs(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        check_texts(texts)
        groups = [parts(text, self._window, self.long_text) for text in texts]
        return torch.stack([self._fitting_outputs(list(group)).mean(dim=0) for group in groups])

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        # what is kept must be of use where gradients are computed
        with torch.inference_mode(False), torch.no_grad():
            return embed_each(texts, self._window, self.long_text, self._embed_fitting, self._texts)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        return embed_each(texts, self._window, self.long_text, self._embed_fitting, {})

    def remember(self, texts: Sequence[str], rows: Embeddings) -> None:
        """Take these for the embeddings of these texts, as the same weights have computed them before."""
        self._texts.update({(self.long_text, text): row.to(self.device) for text, row in zip(texts, rows, strict=True)})

    def remember_all(self, other: "TokenizedEncoder") -> None:
        """Share what another model with the same text tower has read, and will read, as a copy does."""
        self._texts = other._texts

    def place_on(self, device: torch.device | str) -> None:
        super().place_on(device)
        # a new value: copies that share the text tower, and with it this one, must not find rows elsewhere
        self._texts = {key: row.to(device) for key, row in self._texts.items()}

    def remap_texts(self, change: Float[Tensor, "d d"]) -> None:
        super().remap_texts(change)
        self._texts = {}

    def has_read(self, texts: Iterable[str]) -> bool:
        """Whether all these have been read already, by the present rule for long ones."""
        return all((self.long_text, text) in self._texts for text in texts)

    def check_text(self, text: str) -> None:
        if self.long_text == "error" and not self.has_read([text]):
            check_fits(text, self._window)

    def _resemble(self, other: "TokenizedEncoder", whole: bool) -> None:
        """Take over what `load` set and what was merged, and what was read where the text tower is shared."""
        self.resemble(other)
        self._texts = {} if whole else other._texts
        self.merged = other.merged
