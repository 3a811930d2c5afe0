"""A cache for the embeddings of known classes' descriptions: a thousand texts take a while."""

import hashlib
from collections.abc import Iterable, Sequence

from safetensors import SafetensorError
from safetensors.torch import load, save

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.datasets.imagenet import described_classes
from molyneux.errors import OutputError
from molyneux.files import write_bytes
from molyneux.images.replay import cache_folder
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.text_anchors import described_names

ROWS = "rows"


def load_known_texts(
    model: VisionLanguageModel, images: Iterable[SyntheticImages], names: Sequence[str], config: TeachingConfig
) -> None:
    """Give the model the embeddings of the names' descriptions, if ConSE anchors need them.

    They are read from the cache folder, under the model's weights and the texts, or computed and written there. A
    file that cannot be read, or a folder that cannot be written, only costs time.
    """
    if not (isinstance(model, TokenizedEncoder) and config.uses_text_anchors and config.conse_anchor):
        return
    if not any(value.source_descriptions for value in images):
        return
    shipped = described_classes()
    texts = list(dict.fromkeys(shipped[name] for name in described_names(model, names)))
    if model.has_read(texts):
        return
    about = repr((weights_digest(model.native), model.precision, model.long_text, model.device.type, texts))
    path = cache_folder() / "texts" / f"{hashlib.sha256(about.encode()).hexdigest()[:16]}.safetensors"
    try:
        rows = load(path.read_bytes())[ROWS]
        if len(rows) == len(texts):
            model.remember(texts, rows)
            return
    except (OSError, KeyError, SafetensorError):
        pass
    rows = model.embed_texts(texts)
    try:
        write_bytes(path, save({ROWS: rows.cpu().contiguous()}))
    except OutputError:
        return
