from collections.abc import Sequence

import pytest
import torch
from torch import nn

from molyneux.backends.folding import LayerStatistics
from molyneux.inversion.priors import (
    _Moments,
    batch_norm_moments,
    frobenius_variation,
    statistics_distance,
    total_variation,
)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def checkerboard(size: int) -> torch.Tensor:
    squares = (torch.arange(size)[:, None] + torch.arange(size)[None]) % 2
    return squares.float().expand(1, 3, size, size)


def trained_norm(channels: int, seed: int = 0) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels).eval()
    layer.running_mean.copy_(seeded(channels, seed=seed) - 0.5)
    layer.running_var.copy_(seeded(channels, seed=seed + 1) + 0.2)
    return layer


@pytest.mark.parametrize("variation", [total_variation, frobenius_variation])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_image_does_not_vary(variation, value):
    torch.testing.assert_close(variation(torch.full((2, 3, 9, 7), value)), torch.zeros(2), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("size", [2, 8, 32])
def test_a_checkerboard_is_the_roughest_image_at_any_size(size):
    torch.testing.assert_close(total_variation(checkerboard(size)), torch.tensor([2.0]))


@pytest.mark.parametrize("size", [4, 16])
def test_the_total_variation_of_a_ramp_is_its_slope(size):
    ramp = torch.linspace(0, 1, size).expand(1, 3, size, size)
    torch.testing.assert_close(total_variation(ramp), torch.tensor([1 / (size - 1)]))


@pytest.mark.parametrize("size", [4, 16])
def test_the_frobenius_variation_of_a_checkerboard_grows_with_its_side(size):
    # each of size * (size - 1) neighbours along rows and columns differs by 1, and no diagonal one differs
    expected = torch.tensor([2 * (size * (size - 1)) ** 0.5])
    torch.testing.assert_close(frobenius_variation(checkerboard(size)), expected, atol=1e-4, rtol=1e-5)


def test_frobenius_variation_equals_a_slow_loop():
    images = seeded(2, 3, 5, 6)
    expected = []
    for image in images.tolist():
        total = 0.0
        for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
            for channel in image:
                squares = 0.0
                for y in range(5):
                    for x in range(6):
                        if y + down < 5 and 0 <= x + across < 6:
                            squares += (channel[y + down][x + across] - channel[y][x]) ** 2
                total += squares**0.5 / 3
        expected.append(total)
    torch.testing.assert_close(frobenius_variation(images), torch.tensor(expected))


@pytest.mark.parametrize("variation", [total_variation, frobenius_variation])
def test_variation_does_not_see_a_constant_shift_or_a_mirror(variation):
    images = seeded(3, 3, 8, 8)
    torch.testing.assert_close(variation(images), variation(images + 0.25))
    torch.testing.assert_close(variation(images), variation(images.flip(-1)))
    torch.testing.assert_close(variation(images)[[2, 0]], variation(images[[2, 0]]))


def test_the_gradient_of_the_frobenius_variation_is_finite_on_a_flat_image():
    flat = torch.full((1, 3, 6, 6), 0.5, requires_grad=True)
    frobenius_variation(flat).sum().backward()
    assert flat.grad.isfinite().all()


def test_the_hand_written_gradient_of_the_moments_is_right():
    layer_input = seeded(2, 3, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(_Moments.apply, (layer_input,))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_moments_are_the_mean_and_the_variance(layout):
    layer_input = seeded(2, 3, 4, 5).contiguous(memory_format=layout)
    mean, variance = _Moments.apply(layer_input)
    torch.testing.assert_close(mean, layer_input.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(variance, layer_input.var(dim=(0, 2, 3), correction=0))


def distance_to(layers: Sequence[nn.BatchNorm2d], inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    moments = [_Moments.apply(layer_input) for layer_input in inputs]
    return statistics_distance(moments, [LayerStatistics.of(layer) for layer in layers])


def naive_distance(inputs: list[torch.Tensor], layers: list[nn.BatchNorm2d]) -> torch.Tensor:
    parts = []
    for seen, layer in zip(inputs, layers, strict=True):
        var, mean = torch.var_mean(seen, dim=(0, 2, 3), correction=0)
        deviation = torch.sqrt(layer.running_var + layer.eps)
        of_means = ((mean - layer.running_mean) / deviation) ** 2
        of_deviations = (torch.sqrt(var + layer.eps) / deviation - 1) ** 2
        parts.append((of_means + of_deviations).mean())
    return sum(parts) / len(parts)


def test_the_distance_of_statistics_and_its_gradient_equal_a_naive_form():
    layers = [trained_norm(4), trained_norm(6, seed=7)]
    ours = [seeded(3, 4, 5, 5).requires_grad_(), seeded(3, 6, 2, 3, seed=1).requires_grad_()]
    naive = [value.detach().clone().requires_grad_() for value in ours]
    distance, expected = distance_to(layers, ours), naive_distance(naive, layers)
    torch.testing.assert_close(distance, expected)
    distance.backward()
    expected.backward()
    for one, other in zip(ours, naive, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_the_distance_is_zero_where_the_statistics_agree():
    layer = trained_norm(4)
    seen = seeded(3, 4, 8, 8)
    var, mean = torch.var_mean(seen, dim=(0, 2, 3), correction=0, keepdim=True)
    standard = (seen - mean) / var.sqrt()
    fitting = standard * layer.running_var.view(1, 4, 1, 1).sqrt() + layer.running_mean.view(1, 4, 1, 1)
    torch.testing.assert_close(distance_to([layer], [fitting]), torch.tensor(0.0), atol=1e-6, rtol=0.0)
    assert distance_to([layer], [fitting + 0.1]) > 1e-3
    assert distance_to([layer], [fitting * 1.2]) > 1e-3


def test_a_channel_without_variation_has_a_finite_distance_and_gradient():
    flat = torch.full((2, 4, 3, 3), 0.3, requires_grad=True)
    distance = distance_to([trained_norm(4)], [flat])
    distance.backward()
    assert distance.isfinite()
    assert flat.grad.isfinite().all()


def test_layers_are_watched_only_inside_the_block():
    tower = nn.Sequential(trained_norm(3), nn.Identity(), trained_norm(3, seed=3))
    images = seeded(1, 3, 4, 4)
    with batch_norm_moments([tower[0], tower[2]]) as seen:
        tower(images)
    tower(images)
    assert len(seen) == 2
    for (mean, variance), received in zip(seen, (images, tower[0](images)), strict=True):
        torch.testing.assert_close(mean, received.mean(dim=(0, 2, 3)))
        torch.testing.assert_close(variance, received.var(dim=(0, 2, 3), correction=0))


def test_layers_are_left_unwatched_after_a_failure():
    layer = trained_norm(3)

    def fail() -> None:
        with batch_norm_moments([layer]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not layer._forward_pre_hooks
