import pytest
import torch

from molyneux.errors import DataError
from molyneux.tasks.localisation.energy import energy_ratio, pointing_hits
from molyneux.tasks.localisation.record import Spread
from molyneux.tasks.localisation.scores import change, heat_row, mask_row, summary


def masks(count: int = 200) -> torch.Tensor:
    found = torch.zeros(count, 8, 8, dtype=torch.bool)
    found[:, 2:5, 1:7] = True
    return found


def test_maps_that_know_nothing_get_what_chance_gives():
    maps = torch.rand(2000, 8, 8, generator=torch.Generator().manual_seed(0))
    true = masks(2000)
    assert energy_ratio(maps, true).mean() == pytest.approx(1.0, abs=0.02)
    assert pointing_hits(maps, true).mean() == pytest.approx(18 / 64, abs=0.03)


def test_even_maps_get_exactly_that():
    for value in (0.0, 0.7):
        maps = torch.full((2, 8, 8), value)
        assert energy_ratio(maps, masks(2)).tolist() == [1.0, 1.0]
        assert pointing_hits(maps, masks(2)).tolist() == [18 / 64, 18 / 64]


def test_the_mask_itself_is_the_best_map_and_its_complement_the_worst():
    true = masks(1)
    assert energy_ratio(true.float(), true).item() == pytest.approx(64 / 18)
    assert energy_ratio((~true).float(), true).item() == 0.0
    assert [pointing_hits(one.float(), true).item() for one in (true, ~true)] == [1.0, 0.0]


def test_neither_depends_on_the_map_s_unit():
    maps = torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(energy_ratio(maps, masks(5)), energy_ratio(3 * maps, masks(5)), atol=1e-6, rtol=1e-6)
    assert torch.equal(pointing_hits(maps, masks(5)), pointing_hits(3 * maps, masks(5)))


def test_a_mask_that_is_empty_or_of_another_shape_is_refused():
    for measure in (energy_ratio, pointing_hits):
        with pytest.raises(DataError, match="a mask is empty"):
            measure(torch.ones(2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool))
        with pytest.raises(DataError, match=r"maps of shape \(1, 8, 8\) beside masks of shape \(2, 8, 8\)"):
            measure(torch.ones(1, 8, 8), masks(2))


def test_rows_are_averaged_and_differences_are_paired():
    true = masks(3)
    good, bad = ([mask_row(one, mask) for one, mask in zip(found, true, strict=True)] for found in (true, ~true))
    assert summary(good)["dice"] == Spread(mean=1.0, interval=(1.0, 1.0))
    assert change(bad, good)["iou"] == Spread(mean=1.0, interval=(1.0, 1.0))
    assert heat_row(true[0].float(), true[0]) == {"energy_ratio": pytest.approx(64 / 18), "pointing": 1.0}
