"""`molyneux.teach`: teaching with the defaults that a whole run would take."""

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
from molyneux.teaching.fine_tune import check_ability, fine_tune, uses_replay

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
        model: one that can do what `config.loss` asks for; the defaults want separate image and text embeddings.
        images: of each concept, as `invert` makes them.
        config: Molyneux's own defaults if None.
        known: names that the concepts are told apart from; ImageNet's if None.
        replay: synthetic images of known classes, to keep them as they are; if None, the model's own set,
            which ships with it or is made the first time and cached. () goes without.
        seed: decides the order and the views of the images.
        adapter: with a low-rank update, a folder to be made for the adapter alone, in peft's layout.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ModelError: if the model cannot do what the loss asks for, or a text does not fit.
        OutputError: if replay images cannot be cached.
    """
    check_seed(seed)
    config = config or TeachingConfig()
    check_ability(model, config)
    taught = [one.concept.name for one in images]
    if replay is None:
        replay = replay_images(dual_encoder(model, "replay"), taught=taught) if uses_replay(config) else ()
    bank = without(imagenet_names(), taught) if known is None else known
    load_known_texts(model, images, bank, config)
    return fine_tune(model, images, config, known=bank, replay=replay, seed=seed, adapter=adapter, on_step=on_step)
