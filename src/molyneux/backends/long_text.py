"""Texts that a tower cannot read to their end: refused, or cut or read in parts where that was asked for."""

import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from molyneux.arguments import check_texts
from molyneux.backends.options import LongText
from molyneux.errors import ConfigError, ModelError
from molyneux.shapes import Embeddings

POLICIES: tuple[LongText, ...] = get_args(LongText)

TEXTS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class TokenWindow:
    """How a text tower counts, and how far it reads."""

    model: str
    limit: int
    """Tokens, special ones included."""
    tokens: Callable[[str], Sequence[int]]
    """A text to its tokens: special ones included, nothing cut, nothing padded."""
    words: Callable[[Sequence[int]], str]
    """Tokens to text, without special tokens."""


def hugging_face_window(model: str, tokenizer: Any, limit: int) -> TokenWindow:
    """A window over a tokenizer of transformers."""
    return TokenWindow(
        model=model,
        limit=limit,
        tokens=lambda text: tokenizer(text, verbose=False)["input_ids"],
        words=lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True),
    )


def check_policy(name: str) -> None:
    """Raise ModelError if there is no such rule for long texts: an unknown one must not pass for any other."""
    if name not in POLICIES:
        raise ModelError(f"long_text is {name!r}: expected one of {', '.join(map(repr, POLICIES))}")


def check_fits(text: str, window: TokenWindow) -> None:
    """Raise ModelError, with the token count and the part that would be lost, if the text does not fit."""
    tokens = window.tokens(text)
    if len(tokens) > window.limit:
        lost = window.words(tokens[window.limit - 1 :]).strip()
        raise ModelError(
            f"the text has {len(tokens)} tokens and {window.model!r} reads {window.limit}: shorten it, split it into "
            f"several descriptions, or load the model with long_text='truncate' or 'mean'; "
            f"this part would be lost: {lost!r}"
        )


def parts(text: str, window: TokenWindow, policy: LongText) -> tuple[str, ...]:
    """What is given to the tower for a text: the text, or, to be averaged, groups of its sentences that fit.

    Under 'truncate' it is the text as well, and the tokenizer keeps its beginning. A sentence that does not fit is
    split between words.

    Raises:
        ModelError: if the text does not fit and that is an error, or one word alone does not fit.
    """
    if policy == "error":
        check_fits(text, window)
    if policy != "mean" or _fits(text, window):
        return (text,)
    return tuple(_groups(re.split(r"(?<=[.!?;])\s+", text.strip()), window))


def embed_each(
    texts: Sequence[str],
    window: TokenWindow,
    policy: LongText,
    embed: Callable[[list[str]], Embeddings],
    known: MutableMapping[tuple[LongText, str], Tensor],
) -> Embeddings:
    """A row of unit length for each text, in order; what has been read before is taken from `known`.

    Args:
        texts: at least one.
        window: of the text tower.
        policy: what becomes of a text that does not fit.
        embed: texts of about equal length, none of which is empty after cutting, to rows of unit length.
        known: rows by policy and text; the new ones are added.

    Raises:
        ConfigError: if the texts are one string, or none.
        ModelError: as for `parts`.
    """
    check_texts(texts)
    if not len(texts):
        raise ConfigError("no text was given: expected at least one")
    new = {text: parts(text, window, policy) for text in dict.fromkeys(texts) if (policy, text) not in known}
    waiting = sorted({part for group in new.values() for part in group}, key=lambda part: (len(part), part))
    rows: dict[str, Tensor] = {}
    for start in range(0, len(waiting), TEXTS_AT_ONCE):
        batch = waiting[start : start + TEXTS_AT_ONCE]
        rows.update(zip(batch, embed(batch), strict=True))
    for text, group in new.items():
        mean = torch.stack([rows[part] for part in group]).mean(dim=0)
        known[policy, text] = rows[group[0]] if len(group) == 1 else mean / mean.norm()
    return torch.stack([known[policy, text] for text in texts])


def _fits(text: str, window: TokenWindow) -> bool:
    return len(window.tokens(text)) <= window.limit


def _groups(units: Sequence[str], window: TokenWindow) -> Iterator[str]:
    """Neighbours joined as far as they fit; a unit that does not fit alone goes by its words."""
    group = ""
    for unit in units:
        joined = f"{group} {unit}".strip()
        if _fits(joined, window):
            group = joined
            continue
        if group:
            yield group
        if _fits(unit, window):
            group = unit
        elif len(words := unit.split()) > 1:
            *whole, group = _groups(words, window)
            yield from whole
        else:
            check_fits(unit, window)
    if group:
        yield group
