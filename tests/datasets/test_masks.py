"""Pairs of image and mask."""

import numpy as np
import pytest
from PIL import Image

from helpers.sample_folder import SAMPLES, needs_samples
from molyneux.datasets.masks import read_mask, read_masks
from molyneux.datasets.photos import read_photo
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
    with pytest.raises(DataError, match="is 1 everywhere, of at most 255, which says neither object nor not"):
        read_mask(path)
    assert read_mask(path, bright=0).all()
    save(path, np.zeros((4, 6)))
    with pytest.raises(DataError, match="brightest pixel is 0, expected some above 127"):
        read_mask(path)
    assert not read_mask(path, allow_empty=True).any()


OBJECT = np.zeros((40, 60), dtype=bool)
OBJECT[10:25, 12:50] = True


def shades(fill):
    """The object with an edge of one pixel between, as a mask that was resized has."""
    edge = OBJECT.copy()
    edge[9:26, 11:51] = True
    return np.where(OBJECT, fill, np.where(edge, fill // 3, 0))


def in_palette(colours):
    image = Image.fromarray(OBJECT.astype(np.uint8)).convert("P")
    image.putpalette([part for colour in colours for part in colour])
    image.putdata(OBJECT.astype(np.uint8).ravel().tolist())
    return image


def in_colour(inside, outside):
    return Image.fromarray(np.where(OBJECT[..., None], inside, outside).astype(np.uint8))


READ = {
    "0 and 1": lambda: Image.fromarray(OBJECT.astype(np.uint8)),
    "0 and 255": lambda: Image.fromarray(OBJECT.astype(np.uint8) * 255),
    "0 and 100": lambda: Image.fromarray(OBJECT.astype(np.uint8) * 100),
    "shades at the edge": lambda: Image.fromarray(shades(255).astype(np.uint8)),
    "one bit": lambda: Image.fromarray(OBJECT),
    "16 bit, 0 and 1": lambda: Image.fromarray(OBJECT.astype(np.uint16)),
    "16 bit, 0 and 255": lambda: Image.fromarray(OBJECT.astype(np.uint16) * 255),
    "16 bit, 0 and 65535": lambda: Image.fromarray(OBJECT.astype(np.uint16) * 65535),
    "16 bit, shades": lambda: Image.fromarray(shades(65535).astype(np.uint16)),
    "grey palette": lambda: in_palette([(0, 0, 0), (255, 255, 255)]),
    "VOC's palette": lambda: in_palette([(0, 0, 0), (128, 0, 0)]),
    "red on black": lambda: in_colour((255, 0, 0), (0, 0, 0)),
    "white on transparent": lambda: in_colour((255, 255, 255, 255), (0, 0, 0, 0)),
    "white on transparent white": lambda: in_colour((255, 255, 255, 255), (255, 255, 255, 0)),
    "black on transparent": lambda: in_colour((0, 0, 0, 255), (0, 0, 0, 0)),
    "red on transparent": lambda: in_colour((255, 0, 0, 255), (0, 0, 0, 0)),
    "opaque throughout": lambda: in_colour((255, 255, 255, 255), (0, 0, 0, 255)),
}


@pytest.mark.parametrize("kind", READ)
def test_masks_of_every_kind_are_the_object(tmp_path, kind):
    READ[kind]().save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").numpy(), OBJECT)


def test_a_mask_with_transparency_and_a_grey_layer_is_the_object(tmp_path):
    grey = np.stack([np.where(OBJECT, 200, 0), np.where(OBJECT, 255, 0)], axis=-1).astype(np.uint8)
    Image.merge("LA", [Image.fromarray(grey[..., part]) for part in range(2)]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").numpy(), OBJECT)
    image = in_palette([(0, 0, 0), (255, 255, 255)])
    image.save(tmp_path / "b.png", transparency=0)
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png").numpy(), OBJECT)


REFUSED = {
    "black on transparent white": (
        lambda: in_colour((0, 0, 0, 255), (255, 255, 255, 0)),
        "is black where it can be seen and has other colours where it is transparent",
    ),
    "shares": (
        lambda: Image.fromarray((np.indices(OBJECT.shape)[0] * 2 + OBJECT).astype(np.uint8)),
        "has no value above half of its range: the highest is .*, of at most 255",
    ),
    "8 bits of shades in 16": (
        lambda: Image.fromarray((np.indices(OBJECT.shape)[0] * 5 + OBJECT).astype(np.uint16)),
        "has no value above half of its range: the highest is .*, of at most 65535",
    ),
    "two labels": (lambda: Image.fromarray(np.where(OBJECT, 2, 1).astype(np.uint8)), "values 1, 2, with whole areas"),
    "three labels": (
        lambda: Image.fromarray(np.where(OBJECT, 2, np.indices(OBJECT.shape)[1] > 55).astype(np.uint8)),
        "values 0, 1, 2, with whole areas of 1",
    ),
    "a label for what is uncertain": (
        lambda: Image.fromarray(np.where(OBJECT, 15, 255 * (np.indices(OBJECT.shape)[1] > 55)).astype(np.uint8)),
        "values 0, 15, 255",
    ),
    "objects by number": (
        lambda: Image.fromarray(np.where(OBJECT, 1000, 2000 * (np.indices(OBJECT.shape)[1] > 55)).astype(np.uint16)),
        "values 0, 1000, 2000",
    ),
    "grey everywhere": (lambda: Image.fromarray(np.full((9, 9), 100, np.uint8)), "is 100 everywhere"),
    "red on white": (lambda: in_colour((255, 0, 0), (255, 255, 255)), "is in colour, with 2 colours"),
    "transparent in parts": (
        lambda: Image.fromarray(
            np.where(OBJECT[..., None], (255, 255, 255, 255), (0, 0, 0, 255)).astype(np.uint8)
            * (np.indices(OBJECT.shape)[1] > 5).astype(np.uint8)[..., None]
        ),
        "is transparent in parts and has 2 colours",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_mask_is_refused_with_the_reason(tmp_path, kind):
    draw, reason = REFUSED[kind]
    draw().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=reason):
        read_mask(tmp_path / "a.png")


def test_a_lossy_mask_is_read_by_its_bright_half(tmp_path):
    Image.fromarray(OBJECT.astype(np.uint8) * 255).convert("RGB").save(tmp_path / "a.jpg", quality=70)
    assert (read_mask(tmp_path / "a.jpg").numpy() != OBJECT).mean() < 0.02
    for grey in (90, 128, 140):
        Image.fromarray(OBJECT.astype(np.uint8) * grey).save(tmp_path / "b.jpg")
        with pytest.raises(DataError, match="in a format that changes them"):
            read_mask(tmp_path / "b.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_mask_is_turned_as_its_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    chance = np.random.default_rng(0).integers(0, 2, (5, 7), dtype=np.uint8) * 255
    Image.fromarray(chance).save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(read_photo(tmp_path / "a.png"))[..., 0] > 127
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").numpy(), upright)


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
