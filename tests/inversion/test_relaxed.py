from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from helpers.small_models import ConvModel
from molyneux.backends.division import Chain
from molyneux.concepts import Concept
from molyneux.errors import ConfigError, ModelError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.priors import statistics_distance
from molyneux.inversion.relaxed import _expected, _laid_out, place_moments, relax
from molyneux.synthetic import SyntheticImages

RING = Concept("ring", ("A circle with a hole.", "A round band."))
CONFIG = InversionConfig(images=4, steps=60, learning_rate=0.1, block=1, statistics=1.0, trace_every=20)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> ConvModel:
    return ConvModel()


@pytest.fixture(scope="module")
def natural() -> torch.Tensor:
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))


class Tokens(ConvModel):
    """Its hidden states are a class token and four patches; the embedding is their mean: Psi is linear."""

    def chain(self) -> Chain:
        def stem(images: torch.Tensor) -> torch.Tensor:
            patches = images.unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5)).flatten(2).transpose(1, 2)
            wide = torch.cat([patches, -patches, patches[..., :2] ** 2], dim=2)
            return torch.cat([wide.mean(dim=1, keepdim=True), wide], dim=1)

        return Chain(stem, [nn.Identity(), nn.Identity()], lambda hidden: hidden.mean(dim=1), prefix=1)

    def image_outputs(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_moments_are_those_of_all_places_with_each_prefix_token_by_itself():
    tokens = random(3, 6, 5)
    found = place_moments(tokens, 2)
    for (mean, variance), rows in zip(found, (tokens[:, 0], tokens[:, 1], tokens[:, 2:].reshape(-1, 5)), strict=True):
        torch.testing.assert_close(mean, rows.mean(dim=0))
        torch.testing.assert_close(variance, rows.var(dim=0, correction=0))
    maps = random(3, 5, 2, 2)
    ((mean, variance),) = place_moments(maps, 0)
    torch.testing.assert_close(mean, maps.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(variance, maps.var(dim=(0, 2, 3), correction=0))


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (6, 9, 5)])
def test_the_penalty_is_nothing_where_statistics_agree_and_one_where_all_are_off_by_one_deviation(shape):
    hidden = random(*shape)
    expected = [_expected(moments) for moments in place_moments(hidden, 0)]
    mean, deviation = (_laid_out([getattr(one, name) for one in expected], hidden) for name in ("mean", "deviation"))

    def penalty(values: torch.Tensor) -> torch.Tensor:
        return statistics_distance(place_moments(values, 0), expected)

    torch.testing.assert_close(penalty(hidden), torch.tensor(0.0), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(penalty(hidden.flip(0)), torch.tensor(0.0), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(penalty(hidden + deviation), torch.tensor(1.0), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(penalty(mean + 2 * (hidden - mean)), torch.tensor(1.0), atol=1e-3, rtol=0.0)


def test_without_the_penalty_a_linear_top_is_inverted_to_the_text_itself():
    """Psi(Z) is the mean of Z: of all Z those along the text have a cosine of 1."""
    made = relax(
        Tokens(), RING, torch.rand(5, 3, 16, 16), replace(CONFIG, steps=300, statistics=0.0, learning_rate=1.0)
    )
    target = normalize(Tokens().embed_texts(RING.descriptions).mean(dim=0), dim=0)
    assert made.hidden.shape == (4, 5, 8)
    found = normalize(made.hidden.mean(dim=1), dim=1) @ target
    torch.testing.assert_close(found, torch.ones(4), atol=1e-3, rtol=0.0)


@pytest.mark.parametrize(("kind", "block"), [(ConvModel, 1), (Tokens, 1), (Tokens, 2)])
def test_hidden_states_come_near_the_text_and_the_trace_says_how_near(kind, block, natural):
    model = kind()
    # where the top is a mean, statistics that agree leave it no choice
    weight = 0.01 if kind is Tokens else 1.0
    made = relax(model, RING, natural, replace(CONFIG, block=block, statistics=weight))
    target = normalize(model.embed_texts(RING.descriptions).mean(dim=0), dim=0)
    found = float((model.upper(made.hidden, block) @ target).mean())
    assert made.trace[-1].plain == pytest.approx(found, abs=1e-5)
    assert [point.step for point in made.trace] == [1, 20, 40, 60]
    assert made.trace[-1].plain > made.trace[0].plain + 0.1
    assert made.hidden.shape == (4, *model.lower(natural, block).shape[1:])
    assert (made.block, made.source, len(made), made.samples) == (block, "hidden", 0, 4)


def test_the_penalty_keeps_the_statistics_at_a_price_in_similarity(model, natural):
    expected = [_expected(moments) for moments in place_moments(model.lower(natural, 1), 0)]

    def ends(weight: float) -> tuple[float, float]:
        made = relax(model, RING, natural, replace(CONFIG, statistics=weight))
        return float(statistics_distance(place_moments(made.hidden, 0), expected)), made.trace[-1].plain

    free, held = ends(0.0), ends(10.0)
    assert held[0] < 0.2 * free[0]
    assert held[1] < free[1]


def test_the_same_seed_gives_the_same_hidden_states_and_the_model_stays(model, natural):
    before = {key: value.clone() for key, value in model.native.state_dict().items()}
    short = replace(CONFIG, steps=3)
    one, again = (relax(model, RING, natural, short, seed=4) for _ in range(2))
    assert torch.equal(one.hidden, again.hidden)
    assert not torch.equal(one.hidden, relax(model, RING, natural, short, seed=5).hidden)
    assert not torch.equal(one.hidden[0], one.hidden[1])
    assert all(torch.equal(value, before[key]) for key, value in model.native.state_dict().items())


def test_the_name_is_not_shown_and_the_block_is_the_middle_one_unless_it_is_set(natural):
    model = ConvModel()
    made = relax(model, RING, natural, replace(CONFIG, steps=1, block=0))
    assert model.texts_seen == list(RING.descriptions)
    assert made.block == model.middle_block == 1


def test_what_cannot_be_is_refused(model, natural):
    with pytest.raises(ConfigError, match="block 9: expected 0 to 1"):
        relax(model, RING, natural, replace(CONFIG, block=9))
    with pytest.raises(ConfigError, match="1 natural images have no statistics"):
        relax(model, RING, natural[:1], CONFIG)
    with pytest.raises(ConfigError, match=r"inversion\.block is -1"):
        replace(CONFIG, block=-1)

    class Broken(ConvModel):
        def image_outputs(self, features):
            return super().image_outputs(features) * float("nan")

    with pytest.raises(ModelError, match="became nan at step 0"):
        relax(Broken(), RING, natural, CONFIG)


def test_hidden_states_are_saved_and_read_to_the_bit(model, natural, tmp_path):
    made = relax(model, RING, natural, replace(CONFIG, steps=2))
    made.save(tmp_path / "ring")
    read = SyntheticImages.load(tmp_path / "ring")
    assert torch.equal(read.hidden, made.hidden)
    assert (read.block, read.source, read.trace) == (1, "hidden", made.trace)
    assert repr(read).startswith("<4 hidden states of 'ring' after block 1, similarity ")
