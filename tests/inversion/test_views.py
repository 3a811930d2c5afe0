import math

import pytest
import torch
from torch import Generator
from torch.nn.functional import affine_grid, grid_sample, interpolate

from molyneux.inversion.config import InversionConfig
from molyneux.inversion.views import Draw, _matrix, draw_views, view

STRONG = InversionConfig(rotation=30.0, translation=0.2, scale=(0.6, 1.5), color_shift=0.5)


def sample_images(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=Generator().manual_seed(seed))


def streams(*seeds: int) -> list[Generator]:
    return [Generator().manual_seed(seed) for seed in seeds]


def by_matrix(*rows: list[list[float]]) -> Draw:
    matrices = torch.tensor(rows)
    count = len(matrices)
    return Draw(matrices=matrices, shift=torch.zeros(count, 3, 1, 1), gain=torch.ones(count, 3, 1, 1), noise=None)


IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize("size", [8, 15])
def test_the_identity_view_is_the_image(size):
    images = sample_images(2, size)
    torch.testing.assert_close(view(images, by_matrix(IDENTITY, IDENTITY), size), images, atol=1e-5, rtol=0.0)


def test_views_without_chance_are_the_images():
    images = sample_images(3, 12)
    still = InversionConfig(affine_probability=0.0, color_shift=0.0)
    torch.testing.assert_close(view(images, draw_views(still, 12, 0.0, streams(1, 2, 3)), 12), images)


def test_the_identity_view_at_another_size_is_the_plain_resize():
    images = sample_images(1, 12)
    expected = interpolate(images, size=(24, 24), mode="bilinear", align_corners=False)
    torch.testing.assert_close(view(images, by_matrix(IDENTITY), 24), expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 11])
def test_a_quarter_turn_moves_every_pixel_to_its_place(turns, size):
    cos, sin = round(math.cos(turns * math.pi / 2)), round(math.sin(turns * math.pi / 2))
    images = sample_images(1, size)
    turned = view(images, by_matrix([[float(cos), float(sin), 0.0], [float(-sin), float(cos), 0.0]]), size)
    expected = {k: torch.rot90(images, k, dims=(2, 3)) for k in (turns, -turns)}
    assert any(torch.allclose(turned, other, atol=1e-5) for other in expected.values())


def test_a_drawn_rotation_of_ninety_degrees_is_a_quarter_turn_either_way():
    only_turns = InversionConfig(rotation=90.0, translation=0.0, scale=(1.0, 1.0), affine_probability=1.0)
    images = sample_images(1, 9)
    seen = set()
    for first in (0.0, 1.0):
        matrix = _matrix(only_turns, [0.0, first, 0.5, 0.5, 0.5])
        turned = view(images, by_matrix(matrix), 9)
        seen |= {k for k in (1, -1) if torch.allclose(turned, torch.rot90(images, k, dims=(2, 3)), atol=1e-5)}
    assert seen == {1, -1}


def test_a_view_zoomed_out_shows_the_image_small_and_repeats_its_border():
    images = sample_images(1, 16)
    small = view(images, by_matrix([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), 16)
    # each inner pixel lies in the middle of four of the image's
    torch.testing.assert_close(small[..., 4:12, 4:12], torch.nn.functional.avg_pool2d(images, 2))
    torch.testing.assert_close(small[..., 0, :4], images[..., 0, :1].expand(1, 3, 4))
    torch.testing.assert_close(small[..., 4:12, 0], small[..., 4:12, 3])


@pytest.mark.parametrize(("canvas", "size"), [(16, 16), (9, 16), (16, 9)])
def test_borders_are_repeated_as_grid_sample_repeats_them(canvas, size):
    draw = draw_views(STRONG, size, 0.0, streams(*range(20)))
    plain = Draw(matrices=draw.matrices, shift=0 * draw.shift, gain=0 * draw.gain + 1, noise=None)
    images = sample_images(20, canvas)
    grid = affine_grid(draw.matrices, [20, 3, size, size], align_corners=False)
    expected = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    torch.testing.assert_close(view(images, plain, size), expected, atol=1e-5, rtol=0.0)


def test_a_view_never_leaves_the_range_of_the_image_unless_its_colours_shift():
    draw = draw_views(STRONG, 16, 0.0, streams(*range(20)))
    flat = torch.full((20, 3, 16, 16), 0.7)
    plain = Draw(matrices=draw.matrices, shift=0 * draw.shift, gain=0 * draw.gain + 1, noise=None)
    torch.testing.assert_close(view(flat, plain, 16), flat)


def test_every_image_has_a_draw_of_its_own():
    matrices = draw_views(STRONG, 8, 0.1, streams(*range(30))).matrices
    assert len({tuple(matrix.flatten().tolist()) for matrix in matrices}) == 30


@pytest.mark.parametrize("config", [STRONG, InversionConfig(affine_probability=0.5)])
def test_a_image_is_seen_the_same_whatever_company_it_has(config):
    images = sample_images(5, 12)
    together = view(images, draw_views(config, 10, 0.2, streams(0, 1, 2, 3, 4)), 10)
    some = [3, 0, 4]
    apart = view(images[some], draw_views(config, 10, 0.2, streams(*some)), 10)
    assert torch.equal(together[some], apart)


def test_the_same_streams_give_the_same_views_and_go_on():
    one, other = streams(7, 8), streams(7, 8)
    first = draw_views(STRONG, 8, 0.1, one)
    assert torch.equal(first.matrices, draw_views(STRONG, 8, 0.1, other).matrices)
    second = draw_views(STRONG, 8, 0.1, one)
    assert not torch.equal(first.matrices, second.matrices)
    assert torch.equal(second.noise, draw_views(STRONG, 8, 0.1, other).noise)


def test_half_of_the_views_move_where_the_probability_is_a_half():
    matrices = draw_views(InversionConfig(affine_probability=0.5), 8, 0.0, streams(*range(400))).matrices
    still = (matrices == torch.tensor(IDENTITY)).all(dim=(1, 2)).float().mean()
    assert 0.4 < still < 0.6


def test_draws_stay_within_the_settings():
    config = InversionConfig(rotation=20.0, translation=0.15, scale=(0.5, 0.9), affine_probability=1.0)
    matrices = draw_views(config, 8, 0.0, streams(*range(300))).matrices
    zoom = 1 / matrices[:, :, :2].det().sqrt()
    angle = torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]).rad2deg()
    # a shift by a share of the side is twice that in a grid from -1 to 1
    assert matrices[:, :, 2].abs().max() <= 2 * 0.15 + 1e-6
    assert 0.5 - 1e-5 <= zoom.min() < 0.55
    assert 0.85 < zoom.max() <= 0.9 + 1e-5
    assert 15 < angle.abs().max() <= 20 + 1e-4
    assert angle.min() < -15
    torch.testing.assert_close(matrices[:, 0, 0], matrices[:, 1, 1])
    torch.testing.assert_close(matrices[:, 0, 1], -matrices[:, 1, 0])


def test_a_view_zoomed_in_lies_anywhere_inside_the_image():
    config = InversionConfig(rotation=0.0, translation=0.0, scale=(2.0, 2.0), affine_probability=1.0)
    matrices = draw_views(config, 8, 0.0, streams(*range(300))).matrices
    corners = torch.cat([matrices[:, :, 2] - 0.5, matrices[:, :, 2] + 0.5])
    assert corners.min() >= -1 - 1e-5
    assert corners.max() <= 1 + 1e-5
    assert corners.min() < -0.95
    assert corners.max() > 0.95


def by_hand(angle: float, zoom: float, shift: list[float]) -> torch.Tensor:
    """Turn, scale and then move, as kornia does; what a view shows at x lies at the inverse of that."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = torch.eye(3)
    forward[:2, :2], forward[:2, 2] = zoom * turn, torch.tensor(shift)
    return torch.linalg.inv(forward)[:2]


@pytest.mark.parametrize("zoom", [0.7, 1.0, 1.2])
def test_a_shift_of_the_view_comes_after_turn_and_zoom(zoom):
    config = InversionConfig(rotation=30.0, translation=0.1, scale=(zoom, zoom), shift="view")
    u = [0.0, 0.8, 0.1, 0.9, 0.5]
    found = torch.tensor(_matrix(config, u))
    expected = by_hand(math.radians(30 * 0.6), zoom, [0.2 * -0.8, 0.2 * 0.8])
    torch.testing.assert_close(found, expected)


def test_the_authors_shift_is_at_most_a_tenth_of_the_side_whatever_the_zoom():
    config = InversionConfig.authors_code()
    matrices = draw_views(config, 8, 0.0, streams(*range(2000))).matrices
    zoom = 1 / matrices[:, :, :2].det().sqrt()
    # where the middle of the image lies in the view, in a grid from -1 to 1
    middle = -torch.linalg.solve(matrices[:, :, :2], matrices[:, :, 2:])[..., 0].abs()
    for part in (zoom < 0.9, zoom > 1.1):
        assert 0.19 < middle[part].abs().max() <= 0.2 + 1e-5


def test_colours_shift_about_the_middle_grey():
    draw = draw_views(InversionConfig(affine_probability=0.0, color_shift=0.4), 8, 0.0, streams(0, 1))
    images = sample_images(2, 8)
    expected = (images - 0.5 - draw.shift) * draw.gain + 0.5
    torch.testing.assert_close(view(images, draw, 8), expected)
    assert draw.shift.abs().max() <= 0.4
    assert draw.gain.log().abs().max() <= 0.4 + 1e-6
    assert len(draw.shift.unique()) == 6


def test_noise_has_the_deviation_that_was_asked_for():
    noise = draw_views(InversionConfig(), 64, 0.2, streams(0, 1)).noise
    assert noise.shape == (2, 3, 64, 64)
    torch.testing.assert_close(noise.std(), torch.tensor(0.2), atol=0.01, rtol=0.0)


def test_pixels_receive_gradients_through_a_view():
    images = sample_images(2, 8).requires_grad_()
    view(images, draw_views(STRONG, 16, 0.1, streams(0, 1)), 16).sum().backward()
    assert images.grad.abs().sum() > 0
