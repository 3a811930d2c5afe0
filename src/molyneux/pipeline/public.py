"""`molyneux.teach`: teaching with a run's defaults for known names and replay images."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from molyneux.arguments import check_kind, check_texts, several
from molyneux.backends.base import VisionLanguageModel, check_model, dual_encoder
from molyneux.backends.packs import check_new, untaught
from molyneux.concepts import Concept, check_distinct
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.names import without
from molyneux.errors import ConceptError
from molyneux.images.replay import replay_images
from molyneux.inversion.invert import invert
from molyneux.pipeline.describe import names_used
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.pipeline.means import means_of
from molyneux.runs.options import check_seed
from molyneux.runs.progress import counting, shown
from molyneux.synthetic import SyntheticImages, description_only
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import check_ability, fine_tune
from molyneux.teaching.texts import KnownNames

ModelT = TypeVar("ModelT", bound=VisionLanguageModel)

LOG = logging.getLogger(__name__)


def teach(
    model: ModelT,
    images: SyntheticImages | Concept | Iterable[SyntheticImages | Concept],
    config: TeachingConfig | None = None,
    *,
    known: KnownNames | None = None,
    replay: Sequence[SyntheticImages] | None = None,
    seed: int = 0,
    adapter: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> ModelT:
    """A new model that has learned the concepts of `images`; the given one stays as it is.

    An edit is computed on the model without its packs (`model.packs`) and merged beside them, so earlier concepts stay
    and the order of teaching makes no difference. Gradient descent goes on from the weights as they are, and the model
    does not know of its packs any more.

    Args:
        model: one with the ability that `config.loss` needs; the default loss needs separate image and text
            embeddings.
        images: of each concept, as `invert` makes them, or the concept itself: then `invert` is called first, with
            this seed, unless the lesson can do without images, as the default can.
        config: Molyneux's own defaults if None.
        known: names that the model knows, which the new ones have to beat, or a mapping from them to how each looks;
            ImageNet's if None.
        replay: synthetic images of known classes. An edit reads from them where images lie, and needs two at least; a
            contrastive loss keeps the model's answers on them, and takes () for none. If None, the model's own set,
            which ships with it or is made the first time and cached.
        seed: decides the order and choice of images.
        adapter: with a low-rank update, a folder to be made for the adapter, in peft's layout.
        on_step: called after each step of the lesson with (steps done, steps in all).

    Raises:
        ConceptError: if two concepts have one name, or an edit is to teach a name that the model has a pack of.
        ConfigError: if the loss lacks the replay images or known names that it needs.
        ModelError: if the model lacks the ability, or a text has more tokens than it reads.
        OutputError: if replay images cannot be cached.
    """
    check_seed(seed)
    check_texts(known, "known names")
    config = TeachingConfig() if config is None else config
    check_kind(config, TeachingConfig, "the config", "a TeachingConfig")
    check_model(model)
    check_ability(model, config)
    given = _several(images)
    for one in () if replay is None else _several(replay):
        check_kind(one, SyntheticImages, "what is replayed", "what molyneux.invert gives, one for each known class")
    for one in given:
        expected = "a molyneux.Concept with a name and a description, or what molyneux.invert gives"
        check_kind(one, (SyntheticImages, Concept), "what is taught", expected, ConceptError)
    concepts = check_distinct(one if isinstance(one, Concept) else one.concept for one in given)
    taught = [concept.name for concept in concepts]
    source: VisionLanguageModel = model
    if config.objective.merges:
        check_new(model, taught)
        source = untaught(dual_encoder(model, "an edit"))
    for concept in concepts:
        warn_of_name(concept)
    started = time.perf_counter()
    bank = without(imagenet_names(), taught) if known is None else known
    with shown() as told:
        if replay is None:
            used = config.uses_replay
            replay = replay_images(dual_encoder(source, "replay"), taught=taught, on_step=told) if used else ()
        bank = load_known_texts(source, bank, config, told)
    values = _as_images(model, given, seed, inverts=config.needs_images)
    with counting("teaching", on_step) as told:
        student = fine_tune(model, values, config, known=bank, replay=replay, seed=seed, adapter=adapter, on_step=told)
    student.learned(concepts, means_of(model, config, values))
    if adapter is not None:
        student.write_about(adapter)
    LOG.info("taught %s in %.1f seconds", ", ".join(map(repr, taught)), time.perf_counter() - started)
    return student


def _several(images: object) -> Sequence[Any]:
    """One value or several as a sequence; what teaches nothing is left for the caller to refuse."""
    return [images] if isinstance(images, SyntheticImages | Concept | Mapping) else several(images)


def warn_of_name(concept: Concept) -> None:
    """Log a warning for each description that holds the concept's name."""
    for text in concept.descriptions:
        if used := names_used(concept.name, text):
            LOG.warning(
                "a description of %r says %s: describe how it looks without its name", concept.name, repr(used[0])
            )


def _as_images(
    model: VisionLanguageModel, given: Sequence[SyntheticImages | Concept], seed: int, *, inverts: bool
) -> Sequence[SyntheticImages]:
    """Each concept's images: as they were given, inverted now, or none where its description is enough."""
    if not any(isinstance(one, Concept) for one in given):
        return cast(Sequence[SyntheticImages], given)

    def images_of(concept: Concept) -> SyntheticImages:
        return invert(model, concept, seed=seed) if inverts else description_only(concept)

    return [images_of(one) if isinstance(one, Concept) else one for one in given]
