import pytest
import torch
from torch import Generator
from torch.nn.functional import interpolate

from molyneux.inversion.canvas import _AXES, CANVASES, COLORS, Pixels, Pyramid, decorrelated
from molyneux.inversion.config import InversionConfig

CPU = torch.device("cpu")
GROWING = InversionConfig(canvas="pixels", growth=((0.0, 8), (0.25, 12), (0.5, 32)))


def streams(*seeds: int) -> list[Generator]:
    return [Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("kind", sorted(CANVASES))
@pytest.mark.parametrize("size", [16, 21])
def test_the_values_have_the_finished_size(kind, size):
    config = InversionConfig(canvas=kind, growth=())
    assert CANVASES[kind](config, size, streams(0, 1), CPU).values().shape == (2, 3, size, size)


@pytest.mark.parametrize("kind", sorted(CANVASES))
def test_a_image_starts_from_its_own_stream(kind):
    config = InversionConfig(canvas=kind, growth=())
    together = CANVASES[kind](config, 16, streams(0, 1, 2), CPU).values()
    assert torch.equal(together[[2, 0]], CANVASES[kind](config, 16, streams(2, 0), CPU).values())
    assert not torch.equal(together[0], together[1])


def test_the_pixels_grow_at_their_shares_of_the_run_and_at_no_other_step():
    canvas = Pixels(GROWING, 32, streams(0), CPU)
    grew = {}
    for step in range(100):
        if canvas.advance(step, 100):
            grew[step] = canvas.values().shape[-1]
    assert grew == {25: 12, 50: 32}


def test_the_pixels_never_outgrow_the_finished_size():
    canvas = Pixels(GROWING, 16, streams(0), CPU)
    for step in range(100):
        canvas.advance(step, 100)
        assert canvas.values().shape[-1] <= 16
    assert canvas.values().shape[-1] == 16


def test_growing_is_a_bicubic_step_that_stays_a_image():
    canvas = Pixels(GROWING, 32, streams(0), CPU)
    before = canvas.values().detach()
    assert canvas.advance(50, 100)
    expected = interpolate(before, size=(32, 32), mode="bicubic", align_corners=False).clamp(0, 1)
    assert torch.equal(canvas.values().detach(), expected)
    assert all(leaf.requires_grad and leaf.is_leaf for leaf in canvas.leaves())


def test_pixels_start_as_uniform_noise_and_settle_in_their_range():
    canvas = Pixels(InversionConfig(canvas="pixels"), 16, streams(0), CPU)
    start = canvas.values().detach()
    assert 0 <= start.min() < 0.02
    assert 0.98 < start.max() <= 1
    expected = (start * 4 - 1).clamp(0, 1)
    canvas.leaves()[0].data.mul_(4).sub_(1)
    canvas.settle()
    assert torch.equal(canvas.values().detach(), expected)


def test_a_normal_start_is_standard_normal_around_the_middle_and_cut_to_its_range():
    canvas = Pixels(InversionConfig(canvas="pixels", start="normal"), 64, streams(3), CPU)
    start = canvas.values().detach()
    normalised = (start - 0.5) / 0.5
    drawn = torch.randn(3, 64, 64, generator=Generator().manual_seed(3))
    torch.testing.assert_close(normalised[0], drawn.clamp(-1, 1), atol=1e-6, rtol=0.0)
    assert 0.66 < float(((start > 0) & (start < 1)).float().mean()) < 0.71  # 68.3 % lie within one deviation
    assert all(leaf.requires_grad and leaf.is_leaf for leaf in canvas.leaves())


def test_a_pyramid_is_the_sum_of_its_levels():
    canvas = Pyramid(InversionConfig(falloff=0.5), 16, streams(0), CPU)
    sides = [level.shape[-1] for level in canvas.leaves()]
    assert sides == [1, 2, 4, 8, 16]
    with torch.no_grad():
        for level in canvas.leaves()[1:]:
            level.zero_()
        torch.testing.assert_close(canvas.values(), canvas.leaves()[0].expand(1, 3, 16, 16))
        canvas.leaves()[0].zero_()
        canvas.leaves()[-1].fill_(1.0)
        # the finest level reaches (4 / 16) ** 0.5
        torch.testing.assert_close(canvas.values(), torch.full((1, 3, 16, 16), 0.5))


def test_a_pyramid_without_falloff_moves_all_levels_alike():
    canvas = Pyramid(InversionConfig(falloff=0.0), 16, streams(0), CPU)
    with torch.no_grad():
        for level in canvas.leaves():
            level.fill_(1.0)
    torch.testing.assert_close(canvas.values().detach(), torch.full((1, 3, 16, 16), 5.0))


def test_a_pyramid_never_grows_and_reaches_every_leaf():
    canvas = Pyramid(InversionConfig(), 16, streams(0, 1), CPU)
    assert not any(canvas.advance(step, 10) for step in range(10))
    canvas.values().square().sum().backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in canvas.leaves())


@pytest.mark.parametrize("name", ["squashed", "decorrelated"])
def test_colours_are_in_range_whatever_the_values(name):
    values = 30 * torch.randn(2, 3, 8, 8, generator=Generator().manual_seed(0))
    colours = COLORS[name](values)
    assert colours.min() >= 0
    assert colours.max() <= 1


@pytest.mark.parametrize("name", ["squashed", "decorrelated"])
def test_no_value_at_all_is_middle_grey(name):
    torch.testing.assert_close(COLORS[name](torch.zeros(1, 3, 2, 2)), torch.full((1, 3, 2, 2), 0.5))


def test_rgb_values_are_left_alone():
    values = torch.rand(1, 3, 4, 4)
    assert torch.equal(COLORS["rgb"](values), values)


def test_the_axes_of_colour_are_orthonormal():
    torch.testing.assert_close(_AXES @ _AXES.T, torch.eye(3), atol=2e-3, rtol=0.0)


def test_the_first_axis_is_light_and_the_others_keep_it():
    light = torch.zeros(1, 3, 1, 1)
    light[:, 0] = 1.0
    red, green, blue = decorrelated(light).flatten().tolist()
    assert red == green == blue > 0.5
    for axis in (1, 2):
        values = torch.zeros(1, 3, 1, 1)
        values[:, axis] = 1.0
        before_sigmoid = decorrelated(values).logit()
        torch.testing.assert_close(before_sigmoid.sum(), torch.tensor(0.0), atol=2e-3, rtol=0.0)
