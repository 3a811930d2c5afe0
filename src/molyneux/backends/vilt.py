"""ViLT (Kim et al., 2021, 2102.03334): one transformer reads words and patches together.

The weights are those of pre-training, `dandelin/vilt-b32-mlm-itm`: beside the transformer two heads, one that
says whether image and text match (`itm_score`, which no class of transformers exposes) and one that fills
masked words (`mlm_score`).

transformers draws the order of the patches at random and pads images of different shapes with random cells;
images here come in batches of one shape, so patches are embedded in reading order and nothing is drawn. Photos
are cut to their middle square, but for retrieval keep their shape up to 384 x 639, as in the published evaluation.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from molyneux.arguments import check_pixels, check_texts
from molyneux.backends.abilities import MaskedLM, Matcher, log_match
from molyneux.backends.checkpoints import (
    ANOTHER,
    PICKLED,
    SAFE,
    check_keys,
    find_weights,
    has_tokenizer,
    one_line,
    read_tokenizer,
    read_weights,
    save_tokenizer,
)
from molyneux.backends.long_text import TokenWindow, check_fits, hugging_face_window
from molyneux.errors import ModelError
from molyneux.files import new_folder
from molyneux.shapes import Images

TOKENIZER = "dandelin/vilt-b32-mlm"
"""Where the hub keeps the tokenizer of all ViLTs."""

PAIRS_AT_ONCE = 64

_DECODER, _WORDS = "mlm_score.decoder.weight", "vilt.embeddings.text_embeddings.word_embeddings.weight"
_BIAS, _OLD_BIAS = "mlm_score.decoder.bias", "mlm_score.bias"
# constants that older releases of transformers stored
_STALE = frozenset(f"vilt.embeddings.text_embeddings.{name}" for name in ("position_ids", "token_type_ids"))


class _Heads(nn.Module):
    """The transformer and its two heads of pre-training, under their published names."""

    def __init__(self, config: Any) -> None:
        from transformers.models.vilt.modeling_vilt import ViltMLMHead, ViltModel

        super().__init__()
        self.vilt = ViltModel(config)
        self.mlm_score = ViltMLMHead(config)
        self.itm_score = nn.ModuleDict({"fc": nn.Linear(config.hidden_size, 2)})


@final
class Vilt(Matcher, MaskedLM):
    """A ViLT with both heads and its tokenizer."""

    def __init__(self, name: str, native: _Heads, tokenizer: Any) -> None:
        self._name, self._native, self._tokenizer = name, native, tokenizer
        self._last_read: tuple[tuple[str, ...], str, Tensor] | None = None
        native.requires_grad_(False).eval()

    @property
    def name(self) -> str:
        return self._name

    @property
    def native(self) -> nn.Module:
        return self._native

    @property
    def image_size(self) -> int:
        return int(self._native.vilt.config.image_size)

    @property
    def inversion_size(self) -> int:
        # positions are interpolated, so fewer patches will do
        patch = int(self._native.vilt.config.patch_size)
        return max(1, round(self.image_size * 4 / 7 / patch)) * patch

    def match_logits(self, images: Images, texts: Sequence[str]) -> Float[Tensor, "n 2"]:
        return self.compute(self._match, self._patches(images), self._tokens(texts))

    @torch.no_grad()
    def match_scores(self, images: Images, texts: Sequence[str], *, by_logit: bool = False) -> Float[Tensor, "n m"]:
        check_pixels(images)
        patches = self._patches(images)
        check_texts(texts)
        tokens = self._tokens_once(texts)
        lengths = (tokens != self._tokenizer.pad_token_id).sum(dim=1)
        # texts of about one length go together, so that little is padding
        order = lengths.argsort(stable=True)
        parts = [tokens[part, : int(lengths[part].max())] for part in order.split(PAIRS_AT_ONCE)]
        scores = torch.empty(len(patches), len(texts), device=patches.device)
        for row, image in enumerate(patches):
            logits = torch.cat([self.compute(self._match, image.expand(len(part), -1, -1), part) for part in parts])
            scores[row, order] = logits[:, 1] if by_logit else log_match(logits)
        return scores

    def photo_shape(self, width: int, height: int) -> tuple[int, int]:
        """As the published preprocessing has it: the shape kept, the shorter side `image_size`, the longer at most
        5/3 of it, both cut down to whole patches (at least one)."""
        shorter, patch = self.image_size, int(self._native.vilt.config.patch_size)
        longer = int(1333 / 800 * shorter)
        scale = min(shorter / min(width, height), longer / max(width, height))
        high, wide = (max(patch, int(side * scale + 0.5) // patch * patch) for side in (height, width))
        return high, wide

    def masked_tokens(self, texts: Sequence[str]) -> tuple[Int[Tensor, "n l"], Int[Tensor, "n l"]]:
        check_texts(texts)
        for text in texts:
            self.check_text(text)
        encoded = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._window.limit, return_tensors="pt"
        )
        words = [[-1 if word is None else word for word in encoded.word_ids(row)] for row in range(len(texts))]
        # a word that the tokenizer does not know is a special token too
        special = torch.isin(encoded["input_ids"], torch.tensor(self._tokenizer.all_special_ids))
        return encoded["input_ids"], torch.tensor(words).masked_fill(special, -1)

    def masked_logits(self, images: Images, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        return self.compute(self._fill, self._patches(images), tokens.to(self.device))

    @property
    def mask_token(self) -> int:
        return int(self._tokenizer.mask_token_id)

    @property
    def word_tokens(self) -> Int[Tensor, " v"]:
        special = set(self._tokenizer.all_special_ids)
        return torch.tensor([token for token in range(len(self._tokenizer)) if token not in special])

    def check_text(self, text: str) -> None:
        if self.long_text == "error":
            check_fits(text, self._window)

    def save(self, folder: str | Path) -> None:
        """Write weights under their published names, configuration, tokenizer and image processor.

        transformers loads the folder as `ViltModel` or `ViltForMaskedLM` (which leave `itm_score` aside) and as
        `ViltProcessor`.
        """
        from transformers import ViltImageProcessor

        config = self._native.vilt.config
        with new_folder(Path(folder)) as target:
            state = {key: value.contiguous() for key, value in self._native.state_dict().items() if key != _OLD_BIAS}
            if state[_DECODER].data_ptr() == state[_WORDS].data_ptr():
                # as transformers does with tensors that are one: it ties them again
                del state[_DECODER]
            save_file(state, target / SAFE, metadata={"format": "pt"})
            config.save_pretrained(target)
            save_tokenizer(self._tokenizer, target)
            processor = ViltImageProcessor(size={"shortest_edge": self.image_size}, size_divisor=config.patch_size)
            processor.save_pretrained(target)
            self.write_about(target)

    def copy(self, *, whole: bool = False) -> "Vilt":
        del whole  # there is no text tower apart
        twin = Vilt(self._name, copy.deepcopy(self._native), self._tokenizer)
        twin.resemble(self)
        return twin

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return []

    def fused_blocks(self) -> list[nn.Module]:
        vilt = self._native.vilt
        return [vilt.embeddings.patch_embeddings, *vilt.encoder.layer]

    def readout_modules(self) -> list[nn.Module]:
        return [self._native.vilt.layernorm, self._native.vilt.pooler]

    @property
    def _window(self) -> TokenWindow:
        return hugging_face_window(self.name, self._tokenizer, int(self._native.vilt.config.max_position_embeddings))

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        return self.masked_tokens(texts)[0].to(self.device)

    def _tokens_once(self, texts: Sequence[str]) -> Tensor:
        """`_tokens`, kept until other texts are asked for: retrieval has thousands, the same for every photo."""
        texts = tuple(texts)
        if self._last_read is None or self._last_read[:2] != (texts, self.long_text):
            self._last_read = texts, self.long_text, self._tokens(texts)
        return self._last_read[2].to(self.device)

    def _patches(self, images: Images) -> Float[Tensor, "n p d"]:
        """The class token and the patches in reading order, with their positions, before the transformer."""
        embeddings = self._native.vilt.embeddings
        patches = self.compute(embeddings.patch_embeddings, (images - 0.5) / 0.5)
        side = embeddings.config.image_size // embeddings.config.patch_size
        positions = embeddings.position_embeddings
        grid = positions[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        grid = interpolate(grid, size=patches.shape[-2:], mode="bilinear", align_corners=True)
        first = (embeddings.cls_token + positions[:, :1]).expand(len(images), -1, -1)
        return torch.cat([first, (patches + grid).flatten(2).transpose(1, 2)], dim=1)

    def _read(self, patches: Tensor, tokens: Tensor) -> Any:
        shown = torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device)
        mask = (tokens != self._tokenizer.pad_token_id).long()
        return self._native.vilt(input_ids=tokens, attention_mask=mask, image_embeds=patches, pixel_mask=shown)

    def _match(self, patches: Tensor, tokens: Tensor) -> Tensor:
        return self._native.itm_score["fc"](self._read(patches, tokens).pooler_output)  # type: ignore[no-any-return]

    def _fill(self, patches: Tensor, tokens: Tensor) -> Tensor:
        states = self._read(patches, tokens).last_hidden_state
        return self._native.mlm_score(states[:, : tokens.shape[1]])  # type: ignore[no-any-return]


def load_named(rest: str) -> Vilt:
    """The model of 'vilt:FOLDER', or of 'vilt:ORGANISATION/NAME' from the hub of Hugging Face.

    Raises:
        ModelError: naming what is missing or cannot be read or reached.
    """
    folder = Path(rest)
    if folder.is_dir():
        return load_folder(folder, name=f"vilt:{rest}")
    if rest.count("/") != 1 or rest.startswith(("/", ".", "~")):
        raise ModelError(
            f"there is no folder {rest!r}: expected one that holds a ViLT, or a name such as {TOKENIZER}-itm"
        )
    return _from_hub(rest)


def load_folder(folder: Path, *, name: str = "") -> Vilt:
    """Load a folder with configuration, weights (safetensors or pickle) and tokenizer.

    Raises:
        ModelError: naming the file that is missing, or what in it is not as expected.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: expected a folder that holds a saved ViLT")
    if not has_tokenizer(folder):
        raise ModelError(f"{folder} has neither tokenizer.json nor vocab.txt: put the tokenizer of {TOKENIZER} there")
    return _assembled(name or str(folder), folder, find_weights(folder), folder)


def build(name: str, config: Any, tokenizer: Any) -> Vilt:
    """The architecture of a transformers' `ViltConfig`, with random weights.

    Raises:
        ModelError: if the tokenizer has more entries than the model has words.
    """
    if len(tokenizer) > config.vocab_size:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} entries and {name!r} {config.vocab_size} words: expected {TOKENIZER}'s"
        )
    native = _Heads(config)
    native.mlm_score.decoder.weight = native.vilt.embeddings.text_embeddings.word_embeddings.weight
    return Vilt(name, native, tokenizer)


def load_state(model: Vilt, path: Path, state: dict[str, Tensor]) -> None:
    """Fill all weights; the word head shares the word embeddings' matrix unless the weights tell them apart.

    Raises:
        ModelError: if a name or a shape differs.
    """
    found = {key: value for key, value in state.items() if key not in _STALE}
    if _OLD_BIAS in found:
        old = found.pop(_OLD_BIAS)
        if not torch.equal(found.setdefault(_BIAS, old), old):
            raise ModelError(f"the weights {path} have two values for {_BIAS!r}: {ANOTHER}")
    if _WORDS in found:
        found.setdefault(_DECODER, found[_WORDS])
    native = model.native
    assert isinstance(native, _Heads)
    if _OLD_BIAS in native.state_dict() and _BIAS in found:
        # transformers 4 has it under both names
        found[_OLD_BIAS] = found[_BIAS]
    if not any(key.startswith("itm_score.") for key in found):
        raise ModelError(f"the weights {path} have no head for matching ('itm_score.fc'): expected {TOKENIZER}-itm's")
    check_keys(path, found, native.state_dict())
    if not torch.equal(found[_DECODER], found[_WORDS]):
        native.mlm_score.decoder.weight = nn.Parameter(found[_DECODER].clone(), requires_grad=False)
    native.load_state_dict(found)


def _assembled(name: str, described: Path, weights: Path, words: Path) -> Vilt:
    from transformers import ViltConfig

    config_file = described / "config.json"
    try:
        config = ViltConfig.from_json_file(str(config_file))
    except Exception as error:  # configurations are checked with errors of every kind
        raise ModelError(f"{config_file} does not describe a model that can be built: {one_line(error)}") from error
    try:
        model = build(name, config, read_tokenizer(words))
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{config_file} does not describe a model that can be built: {one_line(error)}") from error
    load_state(model, weights, read_weights(weights))
    return model


def _from_hub(name: str) -> Vilt:
    from huggingface_hub import snapshot_download

    wanted = ["config.json", SAFE, PICKLED]
    try:
        described = Path(snapshot_download(name, allow_patterns=wanted))
        words = Path(snapshot_download(TOKENIZER, allow_patterns=["tokenizer*.json", "vocab.txt"]))
    except Exception as error:  # networks fail with errors of every kind
        raise ModelError(
            f"'vilt:{name}' cannot be fetched ({one_line(error)}): check the name and the network, or give a folder"
        ) from error
    return _assembled(f"vilt:{name}", described, find_weights(described), words)
