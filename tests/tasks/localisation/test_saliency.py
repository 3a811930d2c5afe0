import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import normalize

from helpers import families_hf, families_medclip, families_open_clip
from helpers.small_models import ConvModel
from molyneux.backends.abilities import Explainable
from molyneux.backends.division import Chain
from molyneux.errors import ConfigError
from molyneux.tasks.localisation.config import SaliencyConfig
from molyneux.tasks.localisation.saliency import capacity, chosen_block, heat, information

M2IB = SaliencyConfig(noise="standard", block=1, beta=0.1)


class LeftEye(ConvModel):
    """Pixels, stretched and moved, are the hidden state; the embedding is the mean of what lies in the left half."""

    def __init__(self, stretch: float = 1.0, move: float = 0.0) -> None:
        super().__init__()
        self.looked = 0
        self.stretch, self.move = stretch, move

    def chain(self) -> Chain:
        def stem(images: torch.Tensor) -> torch.Tensor:
            self.looked += 1
            return self.stretch * images + self.move

        def top(hidden: torch.Tensor) -> torch.Tensor:
            return ((hidden - self.move) / self.stretch)[..., : hidden.shape[3] // 2].mean(dim=(2, 3))

        return Chain(stem, [nn.Identity(), nn.Identity()], top)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        return normalize(features, dim=1)


def sample_images(count: int = 3, side: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def red(count: int = 3) -> torch.Tensor:
    return torch.tensor([1.0, 0.0, 0.0]).expand(count, -1)


@pytest.mark.parametrize("noise", ["layer", "standard"])
def test_no_information_is_kept_of_what_the_model_does_not_look_at(noise):
    config = SaliencyConfig(noise=noise, block=1, beta=0.01, steps=30)
    found = information(LeftEye(), sample_images(), red(), config)
    assert found.shape == (3, 6, 6)
    assert (found >= 0).all()
    assert (found[..., :3].mean(dim=(1, 2)) > 2 * found[..., 3:].mean(dim=(1, 2))).all()


def test_the_price_of_information_lowers_it():
    kept = [
        information(LeftEye(), sample_images(), red(), SaliencyConfig(block=1, beta=beta)).sum()
        for beta in (0.01, 10.0)
    ]
    assert kept[1] < kept[0]


def test_what_lies_below_the_bottleneck_is_computed_once():
    model = LeftEye()
    information(model, sample_images(), red(), SaliencyConfig(block=1))
    assert model.looked == 1


def test_a_image_s_map_depends_neither_on_its_company_nor_on_its_place():
    model, images = ConvModel(), sample_images(4, 24)
    targets = model.embed_texts(["ring", "cross", "ring", "tree"])
    together = information(model, images, targets, M2IB)
    for place in (3, 1):
        alone = information(model, images[[place]], targets[[place]], M2IB)
        torch.testing.assert_close(alone[0], together[place], atol=1e-4, rtol=1e-4)
    other = information(model, images[:1], targets[1:2], M2IB)
    assert not torch.allclose(other[0], together[0], rtol=1e-2)


def test_noise_of_the_layer_makes_the_map_blind_to_its_scale_as_standard_noise_is_not():
    plain, stretched = LeftEye(), LeftEye(stretch=40.0, move=7.0)
    for noise, same in (("layer", True), ("standard", False)):
        config = SaliencyConfig(noise=noise, block=1)
        maps = [information(model, sample_images(), red(), config) for model in (plain, stretched)]
        assert torch.allclose(*maps, atol=1e-3, rtol=1e-3) is same


def test_the_same_seed_gives_the_same_map_and_another_seed_another():
    run = [information(LeftEye(), sample_images(), red(), SaliencyConfig(block=1, seed=seed)) for seed in (0, 0, 1)]
    assert torch.equal(run[0], run[1])
    assert not torch.equal(run[0], run[2])


def test_it_is_the_published_bottleneck_written_out():
    """One image after the other, Adam by hand, distributions for the capacity."""
    model, images = ConvModel(), sample_images(2, 24)
    targets = model.embed_texts(["ring", "cross"])
    found = information(model, images, targets, M2IB)
    for place in range(2):
        hidden = model.lower(images[[place]], 1).detach()[0]
        alpha, first, second = torch.full_like(hidden, 5.0), torch.zeros_like(hidden), torch.zeros_like(hidden)
        generator = torch.Generator().manual_seed(0)
        for step in range(1, 11):
            alpha.requires_grad_()
            gate = torch.sigmoid(alpha)
            noise = torch.randn(10, *hidden.shape, generator=generator)
            embedded = model.upper(gate * hidden + (1 - gate) * noise, 1)
            told = kl_divergence(Normal(gate * hidden, 1 - gate), Normal(0.0, 1.0))
            loss = 0.1 * told.mean() - (embedded @ targets[place]).mean()
            (slope,) = torch.autograd.grad(loss, alpha)
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            change = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            alpha = (alpha - change).detach()
        gate = torch.sigmoid(alpha)
        told = kl_divergence(Normal(gate * hidden, 1 - gate), Normal(0.0, 1.0)).sum(dim=0)
        torch.testing.assert_close(found[place], told, atol=1e-3, rtol=1e-3)


def test_capacity_is_the_divergence_of_normals_and_stays_finite():
    gates, values = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    passes = torch.sigmoid(gates)
    expected = kl_divergence(Normal(passes * values, 1 - passes), Normal(0.0, 1.0))
    torch.testing.assert_close(capacity(gates, values), expected, atol=1e-5, rtol=1e-4)
    assert capacity(torch.tensor([200.0, -200.0]), torch.tensor([3.0, 3.0])).tolist() == [
        pytest.approx(200 + (9 - 1) / 2),
        0.0,
    ]


def test_heat_is_stretched_to_the_whole_range_and_an_even_grid_is_cold():
    grids = torch.stack([torch.arange(4.0).reshape(2, 2), torch.full((2, 2), 3.0)])
    warm, cold = heat(grids, (5, 7))
    assert warm.shape == (5, 7)
    assert (warm.min(), warm.max()) == (0.0, 1.0)
    assert not cold.any()


class Tokens(LeftEye):
    """Pixels as tokens, as a transformer has them."""

    def chain(self) -> Chain:
        chain = super().chain()
        return Chain(
            lambda images: chain.stem(images).flatten(2).transpose(1, 2), [nn.Identity()] * self.blocks, chain.top
        )


@pytest.mark.parametrize(("blocks", "below"), [(12, 8), (24, 16), (2, 1), (1, 1)])
def test_two_thirds_of_a_transformer_s_blocks_lie_below_unless_said_otherwise(blocks, below, monkeypatch):
    monkeypatch.setattr(Tokens, "blocks", blocks, raising=False)
    assert chosen_block(Tokens(), SaliencyConfig()) == below


def test_all_but_one_of_a_convolutional_network_s_blocks_lie_below(monkeypatch):
    assert chosen_block(LeftEye(), SaliencyConfig()) == 1
    monkeypatch.setattr(LeftEye, "block_count", 17)
    assert chosen_block(LeftEye(), SaliencyConfig()) == 16


def test_a_block_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="expected 0 to 2"):
        information(LeftEye(), sample_images(), red(), SaliencyConfig(block=3))


@pytest.mark.parametrize("family", ["hf clip", "hf siglip2", "medclip-swin", "open_clip-coca", "open_clip-resnet"])
def test_every_kind_of_tower_gives_a_map_over_the_image(family):
    model = (families_hf.FAMILIES | families_medclip.FAMILIES | families_open_clip.FAMILIES)[family]()
    texts = model.embed_texts(["a ring.", "two dark bars."])
    found = information(model, sample_images(2, model.image_size), texts, SaliencyConfig(steps=2, draws=2))
    assert found.shape[0] == 2
    assert found.shape[1] == found.shape[2] > 1
    assert (found >= 0).all()
    assert found.std(dim=(1, 2)).all()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"draws": 0}, {"beta": -1.0}, {"beta": math.nan}, {"block": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"saliency.{next(iter(wrong))} is"):
        SaliencyConfig(**wrong)


def test_the_published_settings():
    paper = SaliencyConfig.paper()
    assert (paper.beta, paper.block, paper.steps, paper.draws, paper.learning_rate) == (0.1, 8, 10, 10, 1.0)
    assert issubclass(ConvModel, Explainable)
