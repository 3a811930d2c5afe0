"""A cache for the embeddings of texts that many runs share: a thousand known names take a while to read."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.digest import state_digest, state_outside
from molyneux.backends.long_text import TEXTS_AT_ONCE
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.errors import OutputError
from molyneux.files import write_bytes
from molyneux.runs.options import Progress

ROWS, DIGEST = "rows", "sha256"


def cache_folder() -> Path:
    """Where computed data that can be computed again is kept: `MOLYNEUX_CACHE`, else the user's cache folder."""
    own = os.environ.get("MOLYNEUX_CACHE")
    return Path(own) if own else user_cache_path("molyneux", appauthor=False)


def recall_texts(model: VisionLanguageModel, texts: Sequence[str]) -> bool:
    """Give the model the embeddings of these texts, if they are in the cache; whether it has them now.

    A file whose rows have not the SHA-256 that it states is not used.
    """
    if not isinstance(model, TokenizedEncoder):
        return False
    texts = list(dict.fromkeys(texts))
    return model.has_read(texts) or _recalled(model, texts, _file(model, texts))


def read_texts(model: VisionLanguageModel, texts: Sequence[str], what: str, on_step: Progress | None = None) -> None:
    """`recall_texts`, or have the model read them, and keep the embeddings in the cache.

    They are kept under the texts, the weights that they pass through, and what decides the last digits: the number of
    threads, the release of torch, the kind of device. So a model whose text tower teaching left as it was has nothing
    to read again. Each batch is kept as soon as it was read, so an interrupted reading goes on where it was. A folder
    that cannot be written only costs time. All are read, also those that the model knows: a text's last digits depend
    on its company, and what is kept is to depend on nothing else.

    Raises:
        ModelError: if a text has more tokens than the model reads.
    """
    if not isinstance(model, TokenizedEncoder):
        return
    texts = list(dict.fromkeys(texts))
    if model.has_read(texts):
        return
    path = _file(model, texts)  # a digest of all the text tower's weights
    if _recalled(model, texts, path):
        return
    # in batches of texts of about one length, as a tower reads them fastest
    ordered = sorted(texts, key=lambda text: (len(text), text))
    part = path.with_suffix(".part")
    rows = kept_rows(part)
    start = 0 if rows is None or len(rows) % TEXTS_AT_ONCE or len(rows) > len(ordered) else len(rows)
    if rows is not None and start:
        model.remember(ordered[:start], rows)
    while start < len(ordered):
        batch = ordered[start : start + TEXTS_AT_ONCE]
        with torch.inference_mode(False), torch.no_grad():
            model.remember(batch, model.encode_texts(batch))
        start += len(batch)
        if start < len(ordered):
            keep_rows(part, model.embed_texts(ordered[:start]))
        if on_step is not None:
            on_step(what, start, len(ordered))
    if keep_rows(path, model.embed_texts(texts)):
        part.unlink(missing_ok=True)


def _recalled(model: TokenizedEncoder, texts: Sequence[str], path: Path) -> bool:
    """`recall_texts` of distinct texts from their file."""
    rows = kept_rows(path)
    if rows is None or len(rows) != len(texts):
        return False
    model.remember(texts, rows)
    return True


def kept_rows(path: Path) -> Tensor | None:
    """The rows of a file that states their SHA-256; None if there is none, or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            stated, rows = (file.metadata() or {}).get(DIGEST), file.get_tensor(ROWS)
    except (OSError, KeyError, SafetensorError):
        return None
    return rows if _digest(rows) == stated else None


def keep_rows(path: Path, rows: Tensor) -> bool:
    """Write rows for `kept_rows`; whether it could be done."""
    rows = rows.cpu().contiguous()
    try:
        write_bytes(path, save({ROWS: rows}, metadata={DIGEST: _digest(rows)}))
    except OutputError:
        return False
    return True


def _file(model: TokenizedEncoder, texts: Sequence[str]) -> Path:
    about = repr(
        (
            type(model).__name__,
            state_digest(state_outside(model.native, model.vision_module())),
            model.activation,
            model.precision,
            model.long_text,
            model.device.type,
            torch.get_num_threads(),
            torch.__version__,
            list(texts),
        )
    )
    return cache_folder() / "texts" / f"{hashlib.sha256(about.encode()).hexdigest()[:16]}.safetensors"


def _digest(rows: Tensor) -> str:
    return hashlib.sha256(rows.flatten().view(torch.uint8).numpy().data).hexdigest()
