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
) -> KnownNames:
    """Give the model the embeddings of known names and their descriptions, if the lesson compares with them.

    Returns:
        What to teach with: the names that the lesson compares with, each with how it looks. Names that it does not
        compare with descriptions are returned as they came.
    """
    if not (isinstance(model, TokenizedEncoder) and config.objective.reads_descriptions):
        return names
    texts = known_texts(model, names)
    read_texts(model, [text for pair in texts.values() for text in pair], READING, on_step)
    return {name: looks for name, (_, looks) in texts.items()}
