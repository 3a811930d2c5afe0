"""CoCa (Yu et al., 2022) as open_clip builds it: a CLIP whose text tower feeds a decoder that looks at the image."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor, nn

from molyneux.arguments import check_pixels, check_texts
from molyneux.backends.abilities import Captioner
from molyneux.backends.open_clip.model import OpenClipEncoder
from molyneux.backends.open_clip.towers import TransformerTower, vision_tower
from molyneux.errors import ModelError
from molyneux.shapes import Embeddings, Images, Memory


@final
class CoCaModel(OpenClipEncoder, Captioner):
    """An `open_clip.CoCa`.

    Its parts are called one by one, because `forward` shifts the tokens against the labels in some versions and
    not in others; here place i holds what follows token i.

    Raises:
        ModelError: if its towers are not open_clip's own transformers, which alone hand tokens to the decoder.
    """

    def __init__(self, name: str, native: nn.Module, tokenizer: Any, config: Mapping[str, Any]) -> None:
        from open_clip.transformer import TextTransformer

        if not isinstance(vision_tower(native.visual), TransformerTower):  # type: ignore[arg-type]
            raise ModelError(f"{name!r} is a CoCa with another vision tower than open_clip's transformer")
        if not isinstance(native.text, TextTransformer) or not native.text.output_tokens:
            raise ModelError(f"{name!r} is a CoCa whose text tower hands no tokens to the decoder: set 'output_tokens'")
        super().__init__(name, native, tokenizer, config)

    def look(self, images: Images) -> tuple[Embeddings, Memory]:
        check_pixels(images)
        tower = self._tower
        assert isinstance(tower, TransformerTower)
        features, memory = self.compute(tower.pooled, self._normalized(images))
        return self.project(features), memory

    def next_logits(self, memory: Memory, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        def read(memory: Memory, tokens: Tensor) -> Tensor:
            _, embedded = self._native.text(tokens)  # type: ignore[operator]
            return self._native.text_decoder(memory, embedded)  # type: ignore[no-any-return, operator]

        return self.compute(read, memory, tokens)

    def caption_tokens(self, texts: Sequence[str]) -> Int[Tensor, "n l"]:
        check_texts(texts)
        for text in texts:
            self.check_text(text)
        tokens: Tensor = self._tokenizer(list(texts)).to(self.device)
        used = (tokens != self.caption_specials[2]).any(dim=0)
        return tokens[:, : int(used.nonzero().max()) + 1]

    def caption_text(self, tokens: Int[Tensor, " l"]) -> str:
        start, end, padding = self.caption_specials
        ids: list[int] = tokens.tolist()
        ids = ids[: ids.index(end)] if end in ids else ids
        return str(self._tokenizer.decode([token for token in ids if token not in (start, padding)])).strip()

    @property
    def caption_specials(self) -> tuple[int, int, int]:
        padding = self._native.pad_id
        assert isinstance(padding, int)
        return self._tokenizer.sot_token_id, self._tokenizer.eot_token_id, padding

    @property
    def caption_length(self) -> int:
        return min(self._native.text.context_length, self._native.text_decoder.context_length)  # type: ignore

    def decoder_module(self) -> nn.Module:
        decoder = self._native.text_decoder
        assert isinstance(decoder, nn.Module)
        return decoder

    def copy(self, *, whole: bool = False) -> "CoCaModel":
        twin = CoCaModel(self._name, self._native_copy(whole), self._tokenizer, self._config)
        twin._resemble(self, whole)
        return twin
