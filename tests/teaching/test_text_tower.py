"""Teaching the text tower: what it is told apart from, and what keeps the other names where they are."""

from dataclasses import replace

import pytest
import torch
from torch import Generator
from torch.nn.functional import normalize

from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, LoRA, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.base import Lesson, start_objective
from molyneux.teaching.objectives.losses import bank_loss
from molyneux.teaching.updates import check_update, moves_texts, shares_trunk

RING = noise_images(Concept("ring", "a round band"), 4, 24, 0)
CROSS = noise_images(Concept("cross", "two bars"), 2, 24, 1)
BAR = noise_images(Concept("bar", "a dark bar"), 3, 24, 2)
KNOWN = ("bar", "photo", "dot", "star", "leaf")
CONFIG = TeachingConfig(
    loss="bank",
    update=Full(part="text"),
    steps=30,
    batch=4,
    learning_rate=0.02,
    replay_batch=0,
    strength=1.0,
    bank_batch=100,
)


def rows(count, seed):
    return normalize(torch.randn(count, 6, generator=Generator().manual_seed(seed)), dim=1)


def test_a_text_that_counts_k_times_is_k_texts():
    images, own, bank = rows(3, 0), rows(3, 1), rows(4, 2)
    allowed = torch.tensor([[True, True, False, True]]).expand(3, -1)
    once = bank_loss(images, own, bank, allowed, 0.1, 3.0)
    thrice = bank_loss(images, own, bank.repeat(3, 1), allowed.repeat(1, 3), 0.1)
    torch.testing.assert_close(once, thrice)


@pytest.mark.parametrize("loss", ["infonce", "bank", "anchors", "symmetric"])
@pytest.mark.parametrize("part", ["text", "both"])
def test_a_learning_text_tower_lowers_the_loss(loss, part):
    model = ConvModel()
    config = replace(CONFIG, loss=loss, update=Full(part=part))

    def value(one):
        objective = start_objective(Lesson(one, [RING, CROSS], config, KNOWN), one.copy(whole=True))
        return sum(float(objective.loss(torch.arange(6), Generator().manual_seed(seed))) for seed in range(5))

    assert value(fine_tune(model, [RING, CROSS], config, known=KNOWN)) < value(model)


def test_a_sample_of_the_bank_gives_the_whole_banks_negatives_on_average():
    model = ConvModel()
    config = replace(CONFIG, texts="definition")

    def sums(size):
        """exp(loss) - 1 of each draw: the sum over negatives, relative to the positive."""
        lesson = Lesson(model, [RING], replace(config, bank_batch=size), KNOWN)
        objective = start_objective(lesson, model.copy(whole=True))
        drawn = [objective.loss(torch.tensor([0]), Generator().manual_seed(seed)).exp() - 1 for seed in range(100)]
        return torch.stack(drawn)

    whole, sampled = sums(100), sums(2)
    assert whole.std() < 1e-4 * whole.mean()
    assert sampled.std() > 0.01 * whole.mean()
    # four standard errors
    assert abs(sampled.mean() - whole.mean()) < 4 * sampled.std() / 10


def test_replay_keeps_the_names_where_they_were():
    model = ConvModel()

    def drift(replay_batch):
        config = replace(CONFIG, replay_batch=replay_batch, replay_weight=5.0)
        student = fine_tune(model, [RING], config, known=KNOWN, replay=[BAR])
        prompts = [f"a photo of a {name}." for name in KNOWN]
        shown = model.embed_images(BAR.pixels)
        answers = [(shown @ one.embed_texts(prompts).T / 0.1).softmax(dim=1) for one in (model, student)]
        return float((answers[0] - answers[1]).abs().sum())

    assert drift(8) < drift(0)


def test_who_shares_what():
    parts = {
        part: TeachingConfig(loss="bank", update=Full(part=part)) for part in ("projection", "trunk", "text", "both")
    }
    assert {part for part, config in parts.items() if shares_trunk(config)} == {"projection", "text"}
    assert {part for part, config in parts.items() if moves_texts(config.update)} == {"text", "both"}
    low = TeachingConfig(loss="bank", update=LoRA())
    assert not shares_trunk(low)
    assert not moves_texts(low.update)


def test_adapters_find_linear_layers_in_any_tower():
    model = ConvModel()
    check_update(model, LoRA())
    student = fine_tune(model, [RING], replace(CONFIG, update=LoRA(rank=2), steps=3), known=KNOWN)
    old, new = model.native.state_dict(), student.native.state_dict()
    assert {key for key in old if not torch.equal(old[key], new[key])} == {
        "vision.head.0.weight",
        "vision.head.2.weight",
    }


@pytest.mark.parametrize(
    "settings",
    [{"rank": 0}, {"alpha": 0.0}, {"alpha": float("inf")}, {"dropout": 1.0}, {"dropout": -0.1}, {"targets": ("",)}],
)
def test_settings_of_adapters_are_checked(settings):
    with pytest.raises(ConfigError, match=f"teaching.update.{next(iter(settings))}"):
        LoRA(**settings)


def test_a_bank_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"teaching\.bank_batch is 0"):
        TeachingConfig(loss="bank", bank_batch=0)
