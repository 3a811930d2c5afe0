"""open_clip's two kinds of tokenizer: CLIP's own byte pairs, and Hugging Face's."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from molyneux.backends.long_text import TokenWindow
from molyneux.errors import ModelError


def build_tokenizer(text_config: Mapping[str, Any]) -> Any:
    """The tokenizer that a text configuration asks for.

    Raises:
        ModelError: if its tokens are more than the text tower knows, or it cuts texts in ways of its own.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    settings = copy.deepcopy(text_config.get("tokenizer_kwargs") or {})
    length = text_config.get("context_length", 77)
    if text_config.get("tokenizer_mode"):
        mode = text_config["tokenizer_mode"]
        raise ModelError(f"the tokenizer mode {mode!r} is not supported: choose a model with a plain tokenizer")
    if text_config.get("hf_tokenizer_name"):
        return HFTokenizer(text_config["hf_tokenizer_name"], context_length=length, **settings)
    tokenizer = SimpleTokenizer(context_length=length, **settings)
    known = text_config.get("vocab_size", tokenizer.vocab_size)
    if known < tokenizer.vocab_size:
        raise ModelError(
            f"the text tower knows {known} tokens, CLIP's tokenizer has {tokenizer.vocab_size}: name its own"
        )
    return tokenizer


def reads_hugging_face(tokenizer: Any) -> bool:
    """Whether the tokenizer has files of its own to be saved."""
    from open_clip.tokenizer import HFTokenizer

    return isinstance(tokenizer, HFTokenizer)


def window(name: str, tokenizer: Any) -> TokenWindow:
    """What the text tower of the model with this name reads of a text."""
    return TokenWindow(
        model=name,
        limit=tokenizer.context_length,
        tokens=lambda text: token_ids(tokenizer, text),
        words=lambda tokens: _words(tokenizer, tokens),
    )


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """All tokens of a text, marks of start and end included, however many they are."""
    if reads_hugging_face(tokenizer):
        return list(tokenizer.tokenizer(tokenizer.clean_fn(text), verbose=False)["input_ids"])
    return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]


def _words(tokenizer: Any, tokens: Sequence[int]) -> str:
    if reads_hugging_face(tokenizer):
        return str(tokenizer.tokenizer.decode(list(tokens), skip_special_tokens=True))
    marks = (tokenizer.sot_token_id, tokenizer.eot_token_id)
    return str(tokenizer.decode([token for token in tokens if token not in marks])).strip()
