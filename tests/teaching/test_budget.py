from dataclasses import replace

import pytest
import torch

from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.synthetic import noise_images
from molyneux.teaching.budget import RATES, check_budget, teach_within
from molyneux.teaching.config import Full, LoRA, TeachingConfig
from small_models import ConvModel

RING = noise_images(Concept("ring", "A circle with a hole."), 5, 16, seed=1)
REPLAY = tuple(noise_images(Concept(f"known {i}", "Anything."), 2, 16, seed=i) for i in range(10))
KNOWN = ("cat", "dog", "tree", "house", "red car")
CONFIG = TeachingConfig(update=Full(part="projection"), learning_rate=0.02, steps=8, batch=4, replay_batch=4)


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
    assert within(model, 1.0)[1].share > 0.95


@pytest.mark.parametrize("part", ["space", "projection", "tower"])
def test_the_forecast_is_of_the_model_that_is_returned_whatever_moves(model, part):
    taught, forecast = within(model, 0.2, replace(CONFIG, update=Full(part=part)))
    moved = any(
        not torch.equal(old, new)
        for old, new in zip(model.native.state_dict().values(), taught.native.state_dict().values(), strict=True)
    )
    assert moved == (forecast.share > 0)
    assert 0 <= forecast.recognised <= 1


def test_the_same_call_gives_the_same_model(model):
    one, other = within(model, 0.1), within(model, 0.1)
    assert one[1] == other[1]
    assert all(
        torch.equal(old, new)
        for old, new in zip(one[0].native.state_dict().values(), other[0].native.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.5, float("nan")])
def test_a_budget_that_is_no_share_is_refused(budget):
    with pytest.raises(ConfigError, match="expected a share above 0"):
        check_budget(budget, CONFIG)


@pytest.mark.parametrize(
    "settings", [{"update": LoRA()}, {"update": Full(part="text")}, {"loss": "symmetric"}, {"loss": "masked"}]
)
def test_what_cannot_be_forecast_is_refused_before_any_work(settings):
    with pytest.raises(ConfigError, match="a budget of forgetting is for"):
        check_budget(0.01, replace(CONFIG, **settings))


def test_without_replay_pictures_nothing_is_forecast(model):
    with pytest.raises(ConfigError, match="give both"):
        teach_within(model, [RING], CONFIG, budget=0.01, known=KNOWN, replay=())
