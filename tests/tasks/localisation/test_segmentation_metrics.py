"""Masks against closed forms on squares, loops, and DeepMind's own code."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molyneux.errors import ConfigError, DataError
from molyneux.tasks.localisation.metrics import contour_dice, dice, iou, slice_dice

steady = settings(deadline=None, max_examples=60)
has_reference = importlib.util.find_spec("surface_distance") is not None
needs_reference = pytest.mark.skipif(not has_reference, reason="surface-distance is not installed")
has_monai = importlib.util.find_spec("monai") is not None
needs_monai = pytest.mark.skipif(not has_monai, reason="MONAI is not installed")
METRICS = (dice, iou, contour_dice, slice_dice)


def square(top: int, left: int, side: int, size: int = 24) -> torch.Tensor:
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


@st.composite
def pairs(draw, empty=True):
    high, wide = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    bits = st.lists(st.booleans(), min_size=high * wide, max_size=high * wide)
    one, other = (torch.tensor(draw(bits)).view(1, high, wide) for _ in range(2))
    if not empty:
        one[0, 0, 0], other[0, -1, -1] = True, True
    return one, other


@steady
@given(pairs())
def test_overlap_agrees_with_counting_pixels(pair):
    one, other = ({tuple(place) for place in mask[0].nonzero().tolist()} for mask in pair)
    whole = len(one | other)
    assert iou(*pair).item() == pytest.approx(len(one & other) / whole if whole else 1.0)
    assert dice(*pair).item() == pytest.approx(2 * len(one & other) / (len(one) + len(other)) if whole else 1.0)
    torch.testing.assert_close(iou(*pair), dice(*pair) / (2 - dice(*pair)))


@needs_reference
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@steady
@given(
    pairs(empty=False),
    st.sampled_from([0.0, 0.7, 1.0, 1.5, 2.0, 3.3, 50.0]),
    st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.25, 0.8)]),
)
def test_contours_agree_with_deepminds_code(pair, tolerance, spacing):
    from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances

    one, other = (mask[0].numpy() for mask in pair)
    distances = compute_surface_distances(other, one, spacing)
    expected = compute_surface_dice_at_tolerance(distances, tolerance)
    assert contour_dice(*pair, tolerance, spacing).item() == pytest.approx(expected, abs=1e-9)
    distances = compute_surface_distances(other[..., None], one[..., None], (1, 1, 1))
    expected = compute_surface_dice_at_tolerance(distances, tolerance)
    assert slice_dice(*pair, tolerance).item() == pytest.approx(expected, abs=1e-6)


@steady
@given(pairs(), st.floats(0, 6))
def test_masks_agree_with_themselves_and_both_ways_alike(pair, tolerance):
    one, other = pair
    for metric in METRICS:
        assert metric(one, one).item() == 1.0
        assert metric(one, other).item() == pytest.approx(metric(other, one).item())
        assert 0 <= metric(one, other).item() <= 1 + 1e-12
    for metric in (contour_dice, slice_dice):
        assert metric(one, other, tolerance).item() <= metric(one, other, tolerance + 1).item() + 1e-12
        # moved or turned, in a wider image, nothing changes
        turned = [torch.nn.functional.pad(mask, (3, 1, 2, 0)).transpose(1, 2).flip(1) for mask in pair]
        assert metric(*turned, tolerance).item() == pytest.approx(metric(one, other, tolerance).item())


@pytest.mark.parametrize("metric", METRICS)
def test_empty_masks_agree_with_each_other_only(metric):
    empty, full = torch.zeros(1, 6, 6, dtype=torch.bool), torch.ones(1, 6, 6, dtype=torch.bool)
    assert metric(empty, empty).item() == 1.0
    assert metric(empty, full).item() == metric(full, empty).item() == 0.0
    assert metric(torch.cat([empty, full, full]), torch.cat([empty, empty, full])).tolist() == [1.0, 0.0, 1.0]
    assert metric(empty[:0], empty[:0]).shape == (0,)


@pytest.mark.parametrize("shift", [0, 1, 4, 10, 12])
def test_a_square_moved_aside(shift):
    side, one, other = 10, square(5, 1, 10), square(5, 1 + shift, 10)
    shared = max(0, side - shift) / side
    assert dice(one, other).item() == pytest.approx(shared)
    assert iou(one, other).item() == pytest.approx(shared / (2 - shared))
    # at tolerance 0 each contour shares what lies on the other: of top and bottom the stretch along which both run,
    # an own corner at its end; of two squares that touch, the side between them
    corner = math.sqrt(0.5)
    whole = 4 * (side - 1) + 4 * corner
    common = {0: whole, 10: side - 1 + 2 * corner, 12: 0.0}.get(shift, 2 * (side - shift) + 2 * corner)
    assert contour_dice(one, other, 0.0).item() == pytest.approx(common / whole)
    assert contour_dice(one, other, float(shift)).item() == pytest.approx(1.0)


def test_a_smaller_square_within_is_as_far_as_the_gap():
    outer, inner = square(2, 2, 16), square(6, 6, 8)
    # contours are 4 apart along the sides; the outer one's corners are further
    assert contour_dice(outer, inner, 3.9).item() == 0.0
    part = contour_dice(outer, inner, 4.0).item()
    assert 0.5 < part < 1
    assert contour_dice(outer, inner, 4 * math.sqrt(2)).item() == pytest.approx(1.0)
    assert slice_dice(outer, inner, 0.0).item() > 0.3  # what is inside both counts there


def test_distances_are_in_the_unit_of_the_spacing():
    one, other = square(5, 1, 8), square(5, 4, 8)
    assert contour_dice(one, other, 1.4, (0.5, 0.5)).item() == pytest.approx(contour_dice(one, other, 2.8).item())
    assert contour_dice(one, other, 1.5, (9.0, 0.5)).item() == pytest.approx(1.0)
    assert contour_dice(one, other, 2.0, (0.5, 9.0)).item() < 1


def test_pixels_forgiven_are_far_from_a_contour_met():
    rows, columns = torch.meshgrid(torch.arange(224), torch.arange(224), indexing="ij")

    def disk(centre: int, radius: int) -> torch.Tensor:
        return ((rows - 112) ** 2 + (columns - centre) ** 2 <= radius**2)[None]

    moved = disk(100, 40), disk(105, 40)
    assert slice_dice(*moved).item() > dice(*moved).item() > contour_dice(*moved).item()
    found = [metric(*moved).item() for metric in (dice, slice_dice, contour_dice)]
    assert found == pytest.approx([0.921, 0.966, 0.321], abs=0.015)
    wider = disk(112, 60), disk(112, 40)
    found = [metric(*wider).item() for metric in (dice, slice_dice, contour_dice)]
    assert found == pytest.approx([0.615, 0.652, 0.0], abs=0.005)


@pytest.mark.parametrize("metric", METRICS)
def test_masks_of_two_sizes_are_refused(metric):
    with pytest.raises(DataError, match=r"shape \(1, 24, 24\) beside true ones of shape \(1, 12, 12\)"):
        metric(square(0, 0, 2), square(0, 0, 2, size=12))


def test_impossible_distances_are_refused():
    one = square(0, 0, 2)
    for values in ((-1.0, (1.0, 1.0)), (float("nan"), (1.0, 1.0)), (1.0, (0.0, 1.0))):
        with pytest.raises(ConfigError, match="tolerance"):
            contour_dice(one, one, *values)
    assert np.isfinite(contour_dice(one, one, 1e6).item())


@needs_monai
@pytest.mark.filterwarnings("ignore::FutureWarning:monai.*", "ignore::DeprecationWarning")
@steady
@given(pairs(empty=False))
def test_overlap_agrees_with_monai(pair):
    from monai.metrics import compute_dice, compute_iou

    one, other = (mask[:, None].float() for mask in pair)
    torch.testing.assert_close(dice(*pair).float(), compute_dice(one, other, include_background=True)[:, 0].float())
    torch.testing.assert_close(iou(*pair).float(), compute_iou(one, other, include_background=True)[:, 0].float())


@needs_monai
@pytest.mark.filterwarnings("ignore::FutureWarning:monai.*", "ignore::DeprecationWarning")
@steady
@given(pairs(empty=False), st.sampled_from([0.0, 0.7, 1.0, 1.5, 2.0, 3.3]))
def test_contours_agree_with_monai(pair, tolerance):
    from monai.metrics import compute_surface_dice

    one, other = (mask[:, None].float() for mask in pair)
    expected = compute_surface_dice(one, other, [tolerance], include_background=True, use_subvoxels=True)[:, 0]
    torch.testing.assert_close(contour_dice(*pair, tolerance=tolerance).double(), expected.double(), atol=1e-5, rtol=0)
