"""Each term of teaching that is on by default does its part, with the weight that its setting has."""

from dataclasses import replace

import pytest
import torch
from torch import Generator
from torch.nn.functional import normalize

from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.synthetic import noise_images
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.base import Lesson
from molyneux.teaching.objectives.contrastive import Bank

RING = replace(
    noise_images(Concept("ring", "A circle with a hole."), 4, 16, 1),
    source="inverted",
    source_descriptions=("A circle with a hole.",),
)
REPLAY = tuple(
    noise_images(Concept(name, f"a {name}."), 3, 16, seed) for seed, name in enumerate(("bar", "cross", "dot"))
)
KNOWN = ["bar", "cross", "dot", "photo"]


@pytest.fixture(scope="module")
def model() -> ConvModel:
    return ConvModel()


def objective(model: ConvModel, **changed) -> Bank:
    lesson = Lesson(model, [RING], TeachingConfig(**changed), KNOWN, REPLAY, 0)
    return Bank(lesson, model.copy())


def test_both_text_anchors_are_learned_from_and_weigh_five_images(model):
    weights = objective(model)._data.weights.tolist()
    assert weights == [1.0] * 4 + [5.0, 5.0]
    # in mixtures, their share on average
    mixtures = torch.empty(4000, 6).exponential_(generator=Generator().manual_seed(0)) * torch.tensor(weights)
    shares = (mixtures / mixtures.sum(dim=1, keepdim=True)).mean(dim=0)
    assert shares[4:].sum() > 0.65


def test_what_all_synthetic_images_share_is_subtracted_one_and_a_half_times(model):
    found, plain = objective(model)._data, objective(model, center=0.0)._data
    assert found.replay is not None
    expected = normalize(plain.inputs - 1.5 * found.replay.mean(dim=0), dim=-1)
    assert torch.allclose(found.inputs, expected, atol=1e-6)
    assert not torch.allclose(found.inputs, plain.inputs, atol=1e-2)


def test_the_loss_has_a_replay_term_of_weight_one(model):
    both = objective(model)
    batch = torch.tensor([0, 1])
    whole = both.loss(batch, Generator().manual_seed(3))
    generator = Generator().manual_seed(3)
    embedded = both._data.embed(both._data.mixtures(batch, generator))
    alone = both.contrastive_loss(embedded, batch, generator)
    assert both.replay_loss(generator) > 0
    assert whole > alone


def test_a_step_is_as_long_as_the_default_rate_says(model):
    """Adam's first step moves every weight that has a gradient by the rate."""
    taught = fine_tune(model, [RING], TeachingConfig(steps=1, strength=1.0), known=KNOWN, replay=REPLAY)
    one, other = (m.native["vision"]["head"][2] for m in (model, taught))
    change = torch.linalg.lstsq(one.weight.T, (other.weight - one.weight).T).solution.T
    assert change.abs().max() == pytest.approx(6e-4, rel=0.05)


def test_the_strength_is_kept_and_no_more(model):
    whole, kept = (
        fine_tune(model, [RING], TeachingConfig(steps=3, **changed), known=KNOWN, replay=REPLAY)
        for changed in ({"strength": 1.0}, {})
    )
    old, full, part = (m.native["vision"]["head"][2].weight for m in (model, whole, kept))
    assert torch.allclose(part - old, 0.85 * (full - old), atol=1e-7)
