"""Teaching from hidden states is teaching from the images that have them, where nothing below them moves."""

from dataclasses import replace

import pytest
import torch

from helpers.families import FAMILIES
from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.relaxed import relax
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, LoRA, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.base import Lesson
from molyneux.teaching.objectives.edit import edits_of

RING = noise_images(Concept("ring", "A circle with a hole."), 5, 24, seed=1)
CROSS = noise_images(Concept("cross", "Two bars that meet."), 4, 24, seed=2)
REPLAY = (noise_images(Concept("replay", "Anything."), 6, 24, seed=3),)
KNOWN = ("cat", "dog", "tree", "house", "red car")
BANK = TeachingConfig(loss="bank", update=Full(part="projection"), learning_rate=0.01, steps=4, batch=3, replay_batch=4)


@pytest.fixture(scope="module")
def model() -> ConvModel:
    return ConvModel()


def as_hidden(model, value, block: int):
    with torch.no_grad():
        hidden = model.lower(value.pixels, block)
    return replace(value, pixels=torch.zeros(0, 3, 1, 1), hidden=hidden, block=block, source="hidden")


def weights(model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.native.state_dict().items()}


@pytest.mark.parametrize(
    ("update", "block"),
    [
        (Full(part="projection"), 0),
        (Full(part="projection"), 1),
        (Full(part="blocks"), 0),
        (Full(part="text"), 1),
    ],
)
@pytest.mark.parametrize("loss", ["bank", "infonce"])
def test_hidden_states_teach_as_their_images_do(model, update, block, loss):
    config = replace(BANK, update=update, loss=loss)
    ours = (RING, CROSS)
    one = fine_tune(model, ours, config, known=KNOWN, replay=REPLAY)
    other = fine_tune(model, [as_hidden(model, value, block) for value in ours], config, known=KNOWN, replay=REPLAY)
    before = weights(model)
    assert any(not torch.equal(value, before[key]) for key, value in weights(other).items())
    for key, value in weights(one).items():
        torch.testing.assert_close(weights(other)[key], value, atol=1e-5, rtol=1e-5)


def test_an_edit_takes_hidden_states_for_images(model):
    config = TeachingConfig()
    one, other = (
        edits_of(Lesson(model, [replace(value, source_descriptions=("A circle.",))], config, KNOWN, REPLAY))
        for value in (RING, as_hidden(model, RING, 1))
    )
    bare = replace(RING, pixels=RING.pixels[:0], source_descriptions=("A circle.",))
    none = edits_of(Lesson(model, [bare], config, KNOWN, REPLAY))
    torch.testing.assert_close(other.keys, one.keys, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(none.keys, one.keys, atol=1e-4, rtol=1e-3)


def test_weights_below_the_hidden_states_stay_and_those_above_move(model):
    config = replace(BANK, update=Full(part="tower"), replay_batch=0)
    taught = weights(fine_tune(model, [as_hidden(model, RING, 0)], config, known=KNOWN))
    moved = {key for key, value in weights(model).items() if not torch.equal(value, taught[key])}
    assert any(key.startswith("vision.trunk.1.") for key in moved)
    assert not any(key.startswith("vision.trunk.0.") for key in moved)


@pytest.mark.parametrize("family", ["hf clip", "open_clip ViT", "hf siglip"])
@pytest.mark.parametrize("update", [Full(part="blocks"), LoRA(rank=2)])
def test_relaxed_inversion_teaches_a_transformer(family, update):
    if family not in FAMILIES:
        family = next(name for name in FAMILIES if name.startswith(family.split()[0]))
    model = FAMILIES[family]()
    size = model.inversion_size
    natural = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    ring = Concept("ring", "a circle with a round hole.")
    block = model.block_count - 1
    made = relax(model, ring, natural, InversionConfig(images=3, steps=5, block=block))
    config = replace(BANK, update=update, replay_batch=0, texts="definition", learning_rate=3e-3, steps=20)
    taught = fine_tune(model, [made], config, known=["cross", "bar"])
    words, others = model.embed_texts(ring.captions)[0], model.embed_texts(["a photo of a cross."])[0]

    def margin(one) -> float:
        return float((one.upper(made.hidden, block) @ (words - others)).mean())

    assert margin(taught) > margin(model)


def test_what_cannot_be_taught_from_hidden_states_is_refused(model):
    hidden = as_hidden(model, RING, 1)
    with pytest.raises(ConfigError, match="not all of one block"):
        fine_tune(model, [hidden, as_hidden(model, CROSS, 0)], replace(BANK, replay_batch=0), known=KNOWN)
    with pytest.raises(ConfigError, match="not all of one block"):
        fine_tune(model, [hidden, CROSS], replace(BANK, replay_batch=0), known=KNOWN)
    trunk = replace(BANK, update=Full(part="trunk"), replay_batch=0)
    with pytest.raises(ConfigError, match="no weight that may move lies above the hidden states"):
        fine_tune(model, [as_hidden(model, RING, 1)], trunk, known=KNOWN)


def test_losses_that_read_pixels_refuse_hidden_states():
    coca = FAMILIES[next(name for name in FAMILIES if "coca" in name.lower())]()
    size = coca.inversion_size
    hidden = as_hidden(coca, noise_images(RING.concept, 2, size, seed=0), 1)
    config = TeachingConfig(loss="captioning", replay_batch=0, steps=1)
    with pytest.raises(ConfigError, match="hidden states cannot be taught by the loss 'captioning'"):
        fine_tune(coca, [hidden], config)
    vilt = FAMILIES[next(name for name in FAMILIES if "vilt" in name.lower())]()
    with pytest.raises(ConfigError, match="hidden states cannot be taught by the loss 'matching'"):
        fine_tune(vilt, [hidden], replace(config, loss="matching"))
