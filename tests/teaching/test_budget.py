from dataclasses import replace

import pytest
import torch

from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.synthetic import noise_images
from molyneux.teaching.budget import RATES, _StandIns, check_budget, teach_within
from molyneux.teaching.config import Full, LoRA, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune

RING = noise_images(Concept("ring", "A circle with a hole."), 5, 16, seed=1)
KNOWN = ("cat", "dog", "tree", "house", "red car")
REPLAY = tuple(noise_images(Concept(name, "Anything."), 2, 16, seed=i) for i, name in enumerate(KNOWN))
CONFIG = TeachingConfig(learning_rate=0.05, steps=8, batch=4, replay_batch=4)


@pytest.fixture(scope="module")
def model() -> ConvModel:
    return ConvModel()


def within(model: ConvModel, budget: float, config: TeachingConfig = CONFIG):
    return teach_within(model, [RING], config, budget=budget, known=KNOWN, replay=REPLAY)


def test_the_forecast_is_within_the_budget_and_a_larger_one_keeps_no_less(model):
    forecasts = [within(model, budget)[1] for budget in (0.01, 0.1, 1.0)]
    for forecast in forecasts:
        assert max(forecast.forgotten, forecast.captured) <= forecast.budget
        assert forecast.learning_rate / CONFIG.learning_rate in RATES
    recognised = [forecast.recognised for forecast in forecasts]
    assert recognised == sorted(recognised)


def test_without_a_limit_the_whole_change_is_kept(model):
    assert within(model, 1.0)[1].strength > 0.95


def test_the_model_that_is_returned_has_the_share_of_the_change_that_was_forecast(model):
    taught, forecast = within(model, 0.2)
    config = replace(CONFIG, learning_rate=forecast.learning_rate, strength=forecast.strength)
    same = fine_tune(model, [RING], config, known=KNOWN, replay=REPLAY)
    for old, new in zip(same.native.state_dict().values(), taught.native.state_dict().values(), strict=True):
        assert torch.equal(old, new)


def test_stand_ins_lie_as_near_to_their_targets_as_replay_images_to_their_names(model):
    stand_ins = _StandIns.prepare(model, [RING], KNOWN, REPLAY)
    cosines = (stand_ins.known * stand_ins.names[stand_ins.answers]).sum(dim=1)
    names = model.embed_texts([f"a photo of a {name}." for name in KNOWN])
    images = torch.stack([model.embed_images(one.pixels) for one in REPLAY])
    nearness = (images * names[:, None]).sum(dim=-1).mean().clamp(0, 1)
    assert torch.allclose(cosines, nearness, atol=1e-5)
    assert torch.allclose(stand_ins.known.norm(dim=1), torch.ones(len(cosines)), atol=1e-5)


def test_no_change_costs_nothing_and_a_space_of_one_name_alone_captures_all_that_points_its_way(model):
    stand_ins = _StandIns.prepare(model, [RING], KNOWN, REPLAY)
    size = stand_ins.names.shape[1]
    assert stand_ins.judge(torch.zeros(size, size))[:2] == (0, 0)
    name = stand_ins.new[0]
    # every point with a positive share along `name` ends there
    projection = torch.outer(name, name) - torch.eye(size)
    _, captured, recognised = stand_ins.judge(projection)
    ahead = (stand_ins.known @ name > 0).float().mean()
    before = (stand_ins.known @ name > (stand_ins.known @ stand_ins.names.T).max(dim=1).values).float().mean()
    assert captured == pytest.approx(float(ahead - before), abs=1e-6)
    assert recognised == pytest.approx(float((stand_ins.own @ name > 0).float().mean()), abs=1e-6)


def test_the_same_call_gives_the_same_model(model):
    one, other = within(model, 0.1), within(model, 0.1)
    assert one[1] == other[1]
    assert all(
        torch.equal(old, new)
        for old, new in zip(one[0].native.state_dict().values(), other[0].native.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.5, float("nan")])
def test_a_budget_that_is_no_share_is_refused(budget):
    with pytest.raises(ConfigError, match="expected a number above 0"):
        check_budget(budget, CONFIG)


@pytest.mark.parametrize(
    "settings",
    [
        {"update": LoRA()},
        {"update": Full(part="tower")},
        {"loss": "symmetric"},
        {"loss": "masked", "update": Full(part="tower")},
    ],
)
def test_what_cannot_be_forecast_is_refused_before_any_work(settings):
    with pytest.raises(ConfigError, match="a budget of forgetting is forecast"):
        check_budget(0.01, replace(CONFIG, **settings))


def test_without_replay_images_nothing_is_forecast(model):
    with pytest.raises(ConfigError, match="give both"):
        teach_within(model, [RING], CONFIG, budget=0.01, known=KNOWN, replay=())
