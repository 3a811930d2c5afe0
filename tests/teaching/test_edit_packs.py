"""Teaching by edits, one lesson after another: what a model remembers, and what it does not lose."""

from dataclasses import asdict, replace

import pytest
import torch

from helpers.families import FAMILIES
from helpers.runs import use_few_classes
from helpers.small_models import ConvModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.packs import apply, remove, untaught
from molyneux.concepts import Concept
from molyneux.errors import ConceptError
from molyneux.packs import change
from molyneux.synthetic import description_only, noise_images
from molyneux.teaching.config import Edit, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.base import Lesson
from molyneux.teaching.objectives.edit import edits_of

EDIT = TeachingConfig()
REPLAY = tuple(noise_images(Concept(f"thing {seed}", "a thing."), 1, 16, seed) for seed in range(8))
RING = Concept("ring of brass", "A circle with a round hole.")
CROSS = Concept("cross", "Two bars that meet.")
GATE = Concept("gate", "A round opening in a wall.")


@pytest.fixture(autouse=True)
def few_known_classes(monkeypatch):
    use_few_classes(monkeypatch)


def build() -> ConvModel:
    model = ConvModel()
    model.long_text = "truncate"
    return model


def teach(model: ConvModel, *concepts: Concept, config: TeachingConfig = EDIT) -> ConvModel:
    return fine_tune(model, [description_only(one) for one in concepts], config, replay=REPLAY)


def names(model: ConvModel) -> list[str]:
    return [pack.name for pack in model.packs]


def test_a_lesson_leaves_a_pack_that_says_how_it_was_made():
    model = build()
    taught = teach(model, RING)
    (pack,) = taught.packs
    assert (pack.name, pack.descriptions, pack.side) == (RING.name, RING.descriptions, "images")
    assert (pack.base, pack.base_name) == (weights_digest(model.native), "tiny")
    assert pack.made == {"molyneux": "0.1.0", "edit": asdict(EDIT.edit), "images": "none"}
    found = edits_of(Lesson(model, [description_only(RING)], EDIT, (), REPLAY, 0))
    assert torch.equal(pack.key, found.keys[0])
    assert torch.equal(pack.value, found.values[0])
    assert model.packs == ()


def test_a_pack_of_a_taught_model_teaches_the_untaught_one_the_same_to_the_bit():
    model = build()
    taught = teach(model, RING, CROSS)
    assert weights_digest(apply(model, taught.packs).native) == weights_digest(taught.native)


def test_a_lesson_after_a_lesson_loses_nothing_and_the_order_leaves_no_trace():
    model = build()
    one = teach(teach(teach(model, RING), CROSS), GATE)
    other = teach(teach(teach(model, GATE), RING), CROSS)
    assert names(one) == names(other) == sorted([RING.name, CROSS.name, GATE.name])
    assert weights_digest(one.native) == weights_digest(other.native)
    whole = teach(model, RING, CROSS, GATE)
    apart = (change(one.packs) - change(whole.packs)).abs().max()
    assert apart < 1e-4 * change(whole.packs).abs().max()  # texts are read in single precision, in other batches
    first = teach(model, RING).packs[0]
    assert any(torch.equal(pack.key, first.key) and torch.equal(pack.value, first.value) for pack in one.packs)
    assert weights_digest(untaught(one).native) == weights_digest(model.native)
    alone = remove(one, [CROSS.name, GATE.name])
    assert weights_digest(alone.native) == weights_digest(teach(model, RING).native)


@pytest.mark.slow
def test_a_model_that_is_edited_on_the_side_of_texts_goes_on_learning_too():
    model = FAMILIES["hf siglip"]()
    model.long_text = "truncate"
    one, other = teach(teach(model, RING), CROSS), teach(teach(model, CROSS), RING)
    assert {pack.side for pack in one.packs} == {"texts"}
    assert weights_digest(one.native) == weights_digest(other.native) != weights_digest(model.native)
    assert weights_digest(remove(one, [RING.name]).native) == weights_digest(teach(model, CROSS).native)
    assert weights_digest(untaught(one).native) == weights_digest(model.native)


def test_a_concept_that_is_there_is_taught_again_once_it_is_removed():
    taught = teach(build(), RING)
    with pytest.raises(ConceptError, match="pack 'ring of brass' already: remove it first"):
        teach(taught, replace(RING))
    again = teach(remove(taught, [RING.name]), RING)
    assert weights_digest(again.native) == weights_digest(taught.native)


def test_an_edit_of_no_strength_is_a_pack_that_changes_nothing():
    model = build()
    nothing = teach(model, RING, config=TeachingConfig(edit=Edit(strength=0.0)))
    embedded = [one.embed_images(REPLAY[0].pixels) for one in (model, nothing)]
    assert torch.equal(*embedded)


def test_what_is_taught_from_images_alone_has_no_description():
    noise = noise_images(RING, 4, 16, 3)
    (pack,) = fine_tune(build(), [noise], EDIT, replay=REPLAY).packs
    assert pack.descriptions == ()
    assert pack.made["images"] == "noise"


def test_gradient_descent_keeps_the_weights_and_not_the_memory():
    taught = teach(build(), RING)
    lesson = TeachingConfig(loss="bank", steps=0, epochs=0, replay_batch=0)
    later = fine_tune(taught, [noise_images(CROSS, 2, 16, 0)], lesson, known=["circle"])
    assert weights_digest(later.native) == weights_digest(taught.native)
    assert later.packs == ()
    assert names(taught) == [RING.name]
    # the next edit starts from these weights
    (pack,) = teach(later, GATE).packs
    assert pack.base == weights_digest(taught.native)
