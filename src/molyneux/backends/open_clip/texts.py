"""open_clip's texts: its two kinds of tokenizer (CLIP's own byte pairs, and Hugging Face's), and its towers."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

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


class _Encoder(nn.Module):
    """A model's `encode_text` as a module, whose weights `functional_call` can exchange."""

    def __init__(self, native: nn.Module) -> None:
        super().__init__()
        self.native = native

    def forward(self, tokens: Tensor) -> Tensor:
        encode: Any = self.native.encode_text
        found: Tensor = encode(tokens, normalize=False)  # CoCa's would normalise
        return found


def encode_text(native: nn.Module, tokens: Tensor) -> Float[Tensor, "n d"]:
    """open_clip's `encode_text`, not normalised, on no more places than the longest text has.

    A causal tower never looks at what follows a place, so padding behind the last end mark changes nothing but time.
    Other towers read all places.

    Args:
        native: an `open_clip.CLIP`, or a model whose `text` is a tower.
        tokens: (n, length), padded.
    """
    from open_clip import CLIP
    from open_clip.transformer import TextTransformer

    encoder = _Encoder(native)
    where, tower = ("native", native) if isinstance(native, CLIP) else ("native.text", getattr(native, "text", None))
    if isinstance(tower, CLIP):
        pooled, end = tower.text_pool_type, getattr(tower, "text_eos_id", None)
    elif isinstance(tower, TextTransformer) and tower.cls_emb is None and not tower.output_tokens:
        pooled, end = tower.pool_type, tower.eos_id
    else:
        pooled = end = None
    mask: Tensor | None = getattr(tower, "attn_mask", None)
    if pooled not in ("argmax", "eos") or mask is None:
        return encoder(tokens)  # type: ignore[no-any-return]
    ends = tokens.argmax(dim=1) if pooled == "argmax" else torch.eq(tokens, int(end or 0)).int().argmax(dim=1)
    length = int(ends.max()) + 1
    places: Tensor = tower.positional_embedding  # type: ignore[union-attr]
    shorter = {f"{where}.positional_embedding": places[:length], f"{where}.attn_mask": mask[:length, :length]}
    return functional_call(encoder, shorter, (tokens[:, :length],))  # type: ignore[no-any-return]


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
