"""With a rate of 0, without steps, or where none of the change is kept, every bit of the model stays."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.small_models import ConvModel
from molyneux.backends.digest import weights_digest
from molyneux.concepts import Concept
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, LoRA, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune

RING = replace(
    noise_images(Concept("ring", ("A circle with a hole.", "Round.")), 5, 16, seed=1), source_descriptions=("Round.",)
)
CROSS = noise_images(Concept("cross", "Two bars that meet."), 4, 16, seed=2)
REPLAY = (noise_images(Concept("replay", "Anything."), 6, 16, seed=3),)
PARTS = ("projection", "blocks", "trunk", "tower", "text", "both")
# made here, since under test their types are checked at random, which a strategy must not be
UPDATES = (*(Full(part=part) for part in PARTS), Full(part="blocks", blocks=2), LoRA(rank=2))
NOTHING = st.sampled_from([{"learning_rate": 0.0}, {"steps": 0, "epochs": 0}, {"strength": 0.0}])
SETTINGS = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(["infonce", "bank", "anchors", "symmetric"]),
        "update": st.sampled_from(UPDATES),
        "steps": st.integers(1, 4),
        "batch": st.integers(1, 6),
        "learning_rate": st.floats(1e-5, 1.0),
        "weight_decay": st.sampled_from([0.0, 0.2]),
        "decay": st.sampled_from(["coupled", "decoupled", "start"]),
        "replay_batch": st.integers(0, 4),
        "texts": st.sampled_from(["definition", "names", "both"]),
        "strength": st.floats(0.0, 1.0),
    }
)


@given(given_settings=SETTINGS, nothing=NOTHING, seed=st.integers(0, 2**63 - 1), two=st.booleans())
@settings(max_examples=12, deadline=None)
def test_nothing_changes_to_the_bit(given_settings, nothing, seed, two):
    model = ConvModel()
    with torch.no_grad():  # a zero below zero is another number to the bit
        model.projection_module()[-1].weight[0, :3] = -0.0
    before = weights_digest(model.native)
    config = TeachingConfig(**(given_settings | nothing))
    taught = fine_tune(model, [RING, CROSS][: 1 + two], config, known=("cat", "dog", "tree"), replay=REPLAY, seed=seed)
    assert weights_digest(taught.native) == before
    assert weights_digest(model.native) == before


@pytest.mark.parametrize("canvas", ["pixels", "pyramid"])
def test_images_do_not_change_either_where_the_rate_is_nothing(canvas):
    still = InversionConfig(images=2, steps=1, canvas=canvas, learning_rate=0.0)
    one, other = (invert(ConvModel(), RING.concept, replace(still, steps=steps)).pixels for steps in (1, 5))
    assert torch.equal(one, other)
