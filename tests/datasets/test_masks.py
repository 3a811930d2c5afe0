"""Pairs of image and mask."""

import numpy as np
import pytest
from PIL import Image

from helpers.sample_folder import SAMPLES, needs_samples
from molyneux.datasets.masks import read_mask, read_masks
from molyneux.errors import DataError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(("a", "b", "sub/c")):
        save(tmp_path / "images" / f"{name}.png", np.zeros((4, 6, 3)))
        mask = np.zeros((4, 6))
        mask[index] = 255
        save(tmp_path / "masks" / f"{name}.png", mask)
    return tmp_path


def test_files_are_paired_by_name_and_not_by_order(folder):
    save(folder / "images" / "0-extra.png", np.zeros((4, 6, 3)))
    (folder / "images" / "b.png").rename(folder / "images" / "b.jpg.tmp")
    Image.new("RGB", (6, 4)).save(folder / "images" / "b.jpg")
    found = read_masks(folder)
    assert [pair.name for pair in found.pairs] == ["a", "b", "sub/c"]
    assert [path.name for path in found.images] == ["a.png", "b.jpg", "c.png"]
    assert found.unmasked == ("0-extra",)
    rows = [mask.nonzero()[:, 0].unique().tolist() for mask in (read_mask(pair.mask) for pair in found.pairs)]
    assert rows == [[0], [1], [2]]


def test_a_mask_without_a_image_is_named(folder):
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 masks in .* have no image in .*, the first is 'b'"):
        read_masks(folder)


def test_missing_folders_and_doubled_names_are_named(folder, tmp_path):
    save(folder / "masks" / "a.webp", np.zeros((4, 6)))
    with pytest.raises(DataError, match="expected one file for each name"):
        read_masks(folder)
    with pytest.raises(DataError, match="not there"):
        read_masks(tmp_path / "nowhere")


def test_an_empty_mask_is_refused_unless_allowed(folder):
    path = folder / "masks" / "a.png"
    save(path, np.ones((4, 6)))
    with pytest.raises(DataError, match="brightest pixel is 1, expected some above 127"):
        read_mask(path)
    assert not read_mask(path, allow_empty=True).any()
    assert read_mask(path, bright=0).all()


def test_a_mask_of_another_size_than_its_image_is_refused(folder):
    save(folder / "masks" / "a.png", np.full((6, 4), 255))
    with pytest.raises(DataError, match="has 4 x 6 pixels: expected its image's 6 x 4"):
        read_mask(folder / "masks" / "a.png", size=(4, 6))


def test_shades_count_above_the_threshold(folder):
    path = folder / "masks" / "a.png"
    save(path, [[0, 127, 128, 200, 201, 255]])
    assert read_mask(path).tolist() == [[False, False, True, True, True, True]]
    assert read_mask(path, bright=200).tolist() == [[False] * 4 + [True] * 2]


@pytest.mark.real_data
@needs_samples
@pytest.mark.parametrize(("name", "count"), [("breast-ultrasound", 80), ("brain-mri", 40), ("lung-ct", 24)])
def test_the_samples_have_a_mask_for_each_image(name, count):
    found = read_masks(SAMPLES / "medical" / name)
    assert len(found) == count
    assert not found.unmasked
    for pair in found.pairs:
        mask = read_mask(pair.mask)
        assert 0 < mask.double().mean() < 0.9
