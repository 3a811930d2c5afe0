"""Each term of inversion that is on by default does its part: without it, or with another weight, a test here fails."""

import pytest
import torch
from torch import Generator

from helpers.small_models import ConvModel
from molyneux.backends.base import Alignment
from molyneux.concepts import Concept
from molyneux.inversion import invert as module
from molyneux.inversion.canvas import decorrelated
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert

RING = Concept("ring", "A circle with a hole.")


class Bright(ConvModel):
    """The score of an image does not depend on it; that of all together is their mean brightness."""

    def alignment(self, texts, **how):
        del texts, how
        return Alignment(lambda images: (0 * images.mean(dim=(1, 2, 3)), images.mean()))


def test_the_score_of_all_images_together_is_climbed_by_default():
    config = InversionConfig(images=2, steps=10, batch_norm=0.0)
    assert invert(Bright(), RING, config).pixels.mean() > 0.6
    assert config.joint == 2.0


def test_the_weight_of_the_joint_score_is_its_weight_in_the_loss(monkeypatch):
    losses = []
    gradient = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda loss, leaves: losses.append(loss.item()) or gradient(loss, leaves)
    )
    still = {"affine_probability": 0.0, "color_shift": 0.0, "noise": 0.0, "batch_norm": 0.0, "images": 2, "steps": 1}
    for joint in (1.0, 2.0):
        invert(Bright(), RING, InversionConfig(joint=joint, **still))
    assert losses[1] == pytest.approx(2 * losses[0])
    assert losses[0] < 0


def test_the_noise_on_the_views_falls_to_nothing(monkeypatch):
    drawn, draw = [], module.draw_views

    def remembered(config, size, noise, generators):
        if config.affine_probability:  # the plain view that is measured has none
            drawn.append(noise)
        return draw(config, size, noise, generators)

    monkeypatch.setattr(module, "draw_views", remembered)
    config = InversionConfig(images=1, steps=10)
    invert(ConvModel(), RING, config)
    assert drawn == pytest.approx([config.noise * (1 - step / 10) for step in range(10)])
    assert config.noise == 0.05


def test_colours_vary_as_those_of_photographs():
    values = 0.1 * torch.randn(4, 3, 64, 64, generator=Generator().manual_seed(0))
    pixels = decorrelated(values).logit() / 2
    axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
    along = torch.einsum("ac,nchw->anhw", axes / axes.norm(dim=1, keepdim=True), pixels).flatten(1).std(dim=1)
    assert (along / along[0]).tolist() == pytest.approx([1.0, 0.35, 0.15], rel=0.02)


def test_a_default_run_of_a_small_model_reaches_its_text():
    """At a tenth of the rate or ten times it, it does not."""
    trace = invert(ConvModel(), RING, InversionConfig(images=4)).trace
    assert trace[-1].plain > 0.52
    assert trace[-1].augmented > 0.5


@pytest.mark.parametrize("name", ["affine_probability", "color_shift", "batch_norm"])
def test_views_and_statistics_change_the_images(name):
    quick = {"images": 2, "steps": 5}
    with_it, without = (
        invert(ConvModel(), RING, InversionConfig(**quick, **changed)).pixels for changed in ({}, {name: 0.0})
    )
    assert not torch.allclose(with_it, without, atol=1e-3)
