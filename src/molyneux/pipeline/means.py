"""What a lesson was made with, for those who cite it."""

from collections.abc import Iterable

from molyneux.backends.base import VisionLanguageModel
from molyneux.images.choices import SOURCES
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import LoRA, TeachingConfig


def means_of(
    model: VisionLanguageModel, config: TeachingConfig, images: Iterable[SyntheticImages], batch_norm: bool = True
) -> tuple[str, ...]:
    """Names in `citations.MEANS_ENTRIES`.

    Args:
        model: that was taught.
        config: of the lesson.
        images: that it learned from.
        batch_norm: whether inverted images followed the statistics of batch norm, where the model has it.
    """
    sources = {one.source for one in images if len(one)}
    inverted = "inverted" in sources or config.uses_replay
    found = {
        "edit": config.objective.merges,
        "inversion": inverted,
        "batch-norm prior": inverted and batch_norm and bool(model.vision_batch_norms()),
        "sdxl": any(SOURCES[source].is_generated for source in sources if source in SOURCES),
        "low-rank update": isinstance(config.update, LoRA),
        "interpolation": not config.objective.merges and 0 < config.strength < 1,
        "decay towards the start": config.decay == "start" and config.weight_decay > 0,
    }
    return tuple(name for name, used in found.items() if used)
