"""`molyneux.teach`: teaching with the defaults that a whole run would take."""

from collections.abc import Callable, Sequence

from molyneux.backends.base import DualEncoder, VisionLanguageModel, dual_encoder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.pipeline.prepare import without
from molyneux.pipeline.replay import replay_pictures
from molyneux.pipeline.settings import check_seed
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.teach import teach as teach_with


def teach(
    model: VisionLanguageModel,
    pictures: Sequence[SyntheticImages],
    config: TeachingConfig | None = None,
    *,
    known: Sequence[str] | None = None,
    replay: Sequence[SyntheticImages] | None = None,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> DualEncoder:
    """A new model that has learned the concepts of `pictures`; the given one stays as it is.

    Args:
        model: one with separate image and text embeddings.
        pictures: of each concept, as `invert` makes them.
        config: Molyneux's own defaults if None.
        known: names that the concepts are told apart from; ImageNet's if None.
        replay: synthetic pictures of known classes, to keep them as they are; if None, the model's own set,
            which ships with it or is made the first time and cached. () goes without.
        seed: decides the order and the views of the pictures.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ModelError: if the model has no separate embeddings, or a text does not fit.
        OutputError: if replay pictures cannot be cached.
    """
    check_seed(seed)
    config = config or TeachingConfig()
    encoder = dual_encoder(model, "teaching")
    taught = [one.concept.name for one in pictures]
    if replay is None:
        replay = replay_pictures(encoder) if config.replay_batch else ()
        kept = set(without([one.concept.name for one in replay], taught))
        replay = [one for one in replay if one.concept.name in kept]
    bank = without(imagenet_names(), taught) if known is None else known
    return teach_with(encoder, pictures, config, known=bank, replay=replay, seed=seed, on_step=on_step)
