"""`molyneux.teach`: teaching with a run's defaults for known names and replay images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from molyneux.backends.base import VisionLanguageModel, dual_encoder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.names import without
from molyneux.images.replay import replay_images
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.runs.options import check_seed
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import check_ability, fine_tune

ModelT = TypeVar("ModelT", bound=VisionLanguageModel)


def teach(
    model: ModelT,
    images: Sequence[SyntheticImages],
    config: TeachingConfig | None = None,
    *,
    known: Sequence[str] | None = None,
    replay: Sequence[SyntheticImages] | None = None,
    seed: int = 0,
    adapter: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> ModelT:
    """A new model that has learned the concepts of `images`; the given one stays as it is.

    Args:
        model: one with the ability that `config.loss` needs; the default loss needs separate image and text
            embeddings.
        images: of each concept, as `invert` makes them.
        config: Molyneux's own defaults if None.
        known: names that the model knows, as negatives; ImageNet's if None.
        replay: synthetic images of known classes, on which the model's answers are kept. If None, the model's own
            set, which ships with it or is made the first time and cached; () for none.
        seed: decides the order and choice of images.
        adapter: with a low-rank update, a folder to be made for the adapter, in peft's layout.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ModelError: if the model lacks the ability, or a text has more tokens than it reads.
        OutputError: if replay images cannot be cached.
    """
    check_seed(seed)
    config = config or TeachingConfig()
    check_ability(model, config)
    taught = [one.concept.name for one in images]
    if replay is None:
        replay = replay_images(dual_encoder(model, "replay"), taught=taught) if config.uses_replay else ()
    bank = without(imagenet_names(), taught) if known is None else known
    load_known_texts(model, images, bank, config)
    return fine_tune(model, images, config, known=bank, replay=replay, seed=seed, adapter=adapter, on_step=on_step)
