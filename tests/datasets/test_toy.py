"""Drawn images: the same from the same seed, others from another, and recognisable by simple measures."""

import numpy as np
import pytest
import torch

from molyneux.datasets.folders import read_folder
from molyneux.datasets.photos import load_batch
from molyneux.datasets.toy import (
    SHAPES,
    as_tensor,
    draw_shapes,
    draw_sunflower,
    draw_sunflowers,
    write_folder,
)
from molyneux.errors import DataError, OutputError


@pytest.mark.parametrize("kind", SHAPES)
def test_a_shape_depends_on_its_seed_and_index_alone(kind):
    three, five = draw_shapes(kind, 3, 32, seed=1), draw_shapes(kind, 5, 32, seed=1)
    torch.testing.assert_close(as_tensor(three), as_tensor(five[:3]), rtol=0, atol=0)
    assert not torch.equal(as_tensor(five[:3]), as_tensor(draw_shapes(kind, 3, 32, seed=2)))
    assert all(image.size == (32, 32) and image.mode == "RGB" for image in five)
    assert len({image.tobytes() for image in five}) == 5


def test_kinds_of_one_seed_differ():
    assert len({draw_shapes(kind, 1, 32, seed=0)[0].tobytes() for kind in SHAPES}) == len(SHAPES)


def test_a_circle_covers_pi_quarters_of_its_square():
    circle, square = (as_tensor(draw_shapes(kind, 1, 128, seed=4)) for kind in ("circle", "square"))
    ground = square[0, :, 0, 0]
    covered = [((image[0] - ground[:, None, None]).abs().sum(dim=0) > 0.1).sum().item() for image in (circle, square)]
    assert covered[0] / covered[1] == pytest.approx(np.pi / 4, abs=0.03)


def test_an_unknown_shape_is_refused():
    with pytest.raises(DataError, match="cannot draw a 'heart': expected one of circle"):
        draw_shapes("heart", 1, 32, seed=0)


def test_sunflowers_are_yellow_round_a_dark_middle():
    for seed in range(3):
        pixels = np.asarray(draw_sunflower(seed, 96)).astype(int)
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        yellow = (red > 150) & (green > 110) & (blue < 110)
        assert 0.06 < yellow.mean() < 0.5
        rows, columns = np.nonzero(yellow)
        middle = pixels[int(rows.mean()) - 3 : int(rows.mean()) + 3, int(columns.mean()) - 3 : int(columns.mean()) + 3]
        assert middle.mean() < 110


def test_sunflowers_repeat_with_their_seed_and_vary_without():
    first, again = draw_sunflowers(2, 48, seed=5), draw_sunflowers(3, 48, seed=5)
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again[:2]]
    assert len({image.tobytes() for image in again}) == 3
    assert draw_sunflowers(0, 48, seed=5) == []


def test_a_written_folder_reads_back_exactly(tmp_path):
    drawn = {"red ring": draw_shapes("ring", 2, 24, seed=0), "circle": draw_shapes("circle", 3, 24, seed=0)}
    root = write_folder(tmp_path / "toys", drawn)
    folder = read_folder(root)
    assert folder.names == ("circle", "red ring")
    expected = as_tensor([*drawn["circle"], *drawn["red ring"]])
    torch.testing.assert_close(load_batch(folder.paths, 24, crop=1.0), expected, rtol=0, atol=0)
    with pytest.raises(OutputError, match="not empty"):
        write_folder(root, drawn)
