"""What an edit compares with: known names and their descriptions, read once for each text tower."""

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.runs.options import Progress
from molyneux.runs.text_cache import read_texts
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.descriptions import known_texts
from molyneux.teaching.texts import KnownNames

READING = "known names and descriptions, once for this model"
"""What progress calls it."""


def load_known_texts(
    model: VisionLanguageModel, names: KnownNames, config: TeachingConfig, on_step: Progress | None = None
) -> None:
    """Give the model the embeddings of known names and their descriptions, if the lesson compares with them."""
    if isinstance(model, TokenizedEncoder) and config.objective.reads_descriptions:
        texts = [text for pair in known_texts(model, names).values() for text in pair]
        read_texts(model, texts, READING, on_step)
