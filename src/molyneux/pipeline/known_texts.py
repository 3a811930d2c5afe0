"""A cache for the embeddings of known classes' names and descriptions: two thousand texts take a while."""

import hashlib

from safetensors import SafetensorError
from safetensors.torch import load, save

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.long_text import TEXTS_AT_ONCE
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.errors import OutputError
from molyneux.files import write_bytes
from molyneux.images.replay import cache_folder
from molyneux.runs.options import Progress
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.descriptions import known_texts
from molyneux.teaching.texts import KnownNames

ROWS = "rows"


READING = "known names and descriptions, once for this model"
"""What progress calls it."""


def load_known_texts(
    model: VisionLanguageModel, names: KnownNames, config: TeachingConfig, on_step: Progress | None = None
) -> None:
    """Give the model the embeddings of known names and their descriptions, if the lesson compares with them.

    They are read from the cache folder, under the model's weights and the texts, or computed and written there. A
    file that cannot be read, or a folder that cannot be written, only costs time.
    """
    if not (isinstance(model, TokenizedEncoder) and config.objective.reads_descriptions):
        return
    texts = list(dict.fromkeys(text for pair in known_texts(model, names).values() for text in pair))
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
    # in batches of texts of about one length, as a tower reads them fastest
    ordered = sorted(texts, key=lambda text: (len(text), text))
    for start in range(0, len(ordered), TEXTS_AT_ONCE):
        model.embed_texts(ordered[start : start + TEXTS_AT_ONCE])
        if on_step is not None:
            on_step(READING, min(start + TEXTS_AT_ONCE, len(ordered)), len(ordered))
    rows = model.embed_texts(texts)
    try:
        write_bytes(path, save({ROWS: rows.cpu().contiguous()}))
    except OutputError:
        return
