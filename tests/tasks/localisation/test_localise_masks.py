import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molyneux.errors import ConfigError
from molyneux.tasks.localisation.config import MaskConfig
from molyneux.tasks.localisation.masks import boxes, coarse_mask, largest, pieces, points, two_means

THREE = torch.tensor(
    [
        [1, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1],
    ],
    dtype=torch.bool,
)
"""Pieces of three pixels, of two that touch at a corner, and of one."""
EMPTY = torch.zeros(4, 6, dtype=torch.bool)


def spread(values: torch.Tensor, threshold: float) -> float:
    """Squared distances to the means of the two groups."""
    groups = (values[values > threshold], values[values <= threshold])
    return sum(((group - group.mean()) ** 2).sum().item() for group in groups if len(group))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_no_threshold_parts_numbers_better(numbers):
    values = torch.tensor(numbers, dtype=torch.float64) / 40
    best = min(spread(values, threshold) for threshold in [-1.0, *values.tolist()])
    assert spread(values, two_means(values)) == pytest.approx(best, abs=1e-9)


def test_otsu_is_the_same_of_256_levels_and_a_level_is_a_level():
    heat = torch.rand(20, 20, generator=torch.Generator().manual_seed(0)) ** 3
    rounded = (heat * 255).round() / 255
    otsu = coarse_mask(heat, MaskConfig(method="otsu", pieces=0))
    assert torch.equal(otsu, rounded > two_means(rounded))
    assert torch.equal(coarse_mask(heat, MaskConfig(method="threshold", level=0.4, pieces=0)), heat > 0.4)


def test_of_an_even_map_nothing_is_kept():
    for method in ("k-means", "otsu"):
        assert not coarse_mask(torch.full((4, 4), 0.5), MaskConfig(method=method)).any()


def test_two_blots_give_the_larger_one():
    heat = torch.zeros(8, 8)
    heat[1:4, 1:4] = 0.8
    heat[6, 6:8] = 1.0
    assert coarse_mask(heat, MaskConfig()).nonzero().max() == 3
    assert coarse_mask(heat, MaskConfig(pieces=2)).sum() == 11


def test_the_largest_pieces_are_kept_and_corners_hang_together():
    assert pieces(THREE) == 3
    assert [int(largest(THREE, count).sum()) for count in (1, 2, 3, 9, 0)] == [3, 5, 6, 6, 6]
    assert torch.equal(largest(EMPTY, 1), EMPTY)


def test_boxes_hold_their_pixels_exactly():
    assert boxes(THREE).tolist() == [[0, 0, 5, 3]]
    assert boxes(THREE, each=True).tolist() == [[0, 0, 1, 1], [3, 1, 4, 2], [5, 3, 5, 3]]
    for each in (False, True):
        assert boxes(EMPTY, each=each).tolist() == [[0, 0, 5, 3]]


def test_points_lie_in_the_mask_and_differ():
    chosen = points(THREE, 4, torch.Generator().manual_seed(0))
    assert all(THREE[down, across] for across, down in chosen.tolist())
    assert len({tuple(place) for place in chosen.tolist()}) == 4
    assert len(points(THREE, 50, torch.Generator().manual_seed(0))) == 6
    assert len(points(EMPTY, 50, torch.Generator().manual_seed(0))) == 24


@pytest.mark.parametrize("wrong", [{"level": 1.5}, {"pieces": -1}, {"points": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="masks"):
        MaskConfig(**wrong)
