"""Reading single files: what is refused, what is made of the rest, and how it is resized and batched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from helpers.pngs import deep_colour_png, png_that_claims
from helpers.sample_folder import SAMPLES, needs_samples
from helpers.scan_files import write_dicom, write_nifti
from molyneux import framing
from molyneux.datasets import photos
from molyneux.datasets.folders import read_folder
from molyneux.datasets.photos import (
    batches,
    check_headers,
    check_window,
    checked,
    load_batch,
    photo_size,
    read_photo,
    square,
)
from molyneux.datasets.windows import Window
from molyneux.errors import ConfigError, DataError


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def drawn(random: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("width", "height"), [(5001, 5000), (10_000, 10_000), (60_000, 60_000), (1, 25_000_001)])
@pytest.mark.parametrize("read", [read_photo, lambda path: check_headers([path])])
def test_a_gigantic_image_is_refused_before_it_is_decoded(tmp_path, read, width, height):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_that_claims(width, height))  # decoding would fail otherwise: there are no pixels
    with pytest.raises(DataError, match=r"bomb\.png.*megapixels"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", png_that_claims(0, 5)]
)
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "odd.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.jpg") as caught:
        read_photo(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"odd\.jpg"):
        check_headers([path])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_refused(tmp_path, random, kind):
    path = tmp_path / "cut.jpg"
    drawn(random, 90, 80).save(path, format=kind)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        read_photo(path)


@pytest.mark.parametrize("kind", ["PPM", "TGA", "PCX", "ICO", "EPS"])
def test_other_formats_are_refused_whatever_the_suffix(tmp_path, random, kind):
    path = tmp_path / "photo.jpg"
    drawn(random, 20, 20).save(path, format=kind)
    with pytest.raises(DataError, match="no JPEG, PNG, WebP"):
        read_photo(path)


def test_a_file_of_several_pages_or_of_32_bits_is_refused(tmp_path, random):
    path = tmp_path / "pages.tif"
    drawn(random, 9, 9).save(path, save_all=True, append_images=[drawn(random, 9, 9)])
    with pytest.raises(DataError, match="has 2 pages"):
        check_headers([path])
    for kind in (np.int32, np.float32):
        Image.fromarray(np.arange(81).reshape(9, 9).astype(kind)).save(tmp_path / "deep.tif")
        with pytest.raises(DataError, match="values of 32 bits"):
            read_photo(tmp_path / "deep.tif")


def test_twelve_bits_in_sixteen_are_noticed_and_shown_through_a_window(tmp_path):
    (tmp_path / "ring").mkdir()
    greys = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(greys).save(tmp_path / "ring" / "a.png")
    folder = checked(read_folder(tmp_path))
    assert folder.kinds == {"deep"}
    assert "no value above 4095 of 65535" in folder.notes[0]
    assert "for values of 12 bits give --window-center 2048 --window-width 4096" in folder.notes[0]
    window = Window(window_center=2048.0, window_width=4096.0)
    shown = checked(replace(folder, window=window, notes=()))
    assert (shown.notes, shown.scans) == ((), window)
    pixels = load_batch(shown.paths, 8, 1.0, window=window)[0, 0]
    torch.testing.assert_close(pixels, torch.from_numpy(greys / 4095).float(), atol=0.003, rtol=0)
    Image.fromarray(greys * 16).save(tmp_path / "ring" / "a.png")
    assert checked(read_folder(tmp_path)).notes == ()


def test_twelve_bits_in_sixteen_in_colour_are_noticed(tmp_path):
    (tmp_path / "ring").mkdir()
    for values, notes in (((4095, 2000, 0), 1), ((40_000, 2000, 0), 0)):
        (tmp_path / "ring" / "a.png").write_bytes(deep_colour_png(*values))
        folder = checked(read_folder(tmp_path))
        assert (len(folder.notes), folder.kinds) == (notes, {"deep colour"})
        assert all("no value above 4095 of 65535" in note for note in folder.notes)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_window_and_the_slice_are_what_a_batch_shows(tmp_path, fit):
    greys = np.linspace(0, 4000, 100).astype(np.int16).reshape(10, 10)
    path = write_nifti(tmp_path / "a.nii", np.stack([greys, greys[::-1]], axis=2))
    seen = []
    for window in (Window(), Window(slice=0), Window(window_center=300.0, window_width=40.0, slice=0)):
        expected = square(read_photo(path, window), 6, fit=fit)
        values = load_batch([path], 6, fit=fit, window=window)
        torch.testing.assert_close(values[0], torch.from_numpy(np.array(expected)).permute(2, 0, 1) / 255)
        torch.testing.assert_close(next(batches([path], 6, fit=fit, window=window)), values)
        seen.append(values)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_a_window_that_nothing_is_shown_through_is_refused(tmp_path, random):
    drawn(random, 9, 9).save(tmp_path / "a.png")
    write_dicom(tmp_path / "b.dcm", np.arange(100).reshape(10, 10))
    write_nifti(tmp_path / "c.nii", np.zeros((4, 4, 3), dtype=np.int16))
    window, third = Window(window_center=1.0, window_width=2.0), Window(slice=2)
    for wanted, fine in ((window, ["b.dcm"]), (window, ["c.nii"]), (third, ["c.nii"]), (third, ["b.dcm", "c.nii"])):
        check_window(wanted, check_headers([tmp_path / name for name in ("a.png", *fine)], wanted))
    for wanted, names, word in (
        (window, ["a.png"], "--window-width change nothing"),
        (third, ["a.png", "b.dcm"], "--slice changes nothing"),
    ):
        with pytest.raises(ConfigError, match=word):
            check_window(wanted, check_headers([tmp_path / name for name in names], wanted))
    with pytest.raises(DataError, match="there is no slice 3"):
        check_headers([tmp_path / "c.nii"], Window(slice=3))


def test_a_missing_file_and_a_folder_are_no_photos(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match="no photo at"):
            read_photo(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, random, mode):
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    drawn(random, 30, 20).convert(mode).save(path)
    photo = read_photo(path)
    assert (photo.mode, photo.size) == ("RGB", (30, 20))


def test_sixteen_bit_greys_keep_their_tones(tmp_path):
    path = tmp_path / "deep.png"
    greys = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(greys * 257).save(path)
    np.testing.assert_array_equal(np.asarray(read_photo(path))[..., 1], greys)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_parts_become_white(tmp_path, mode):
    path = tmp_path / "clear.png"
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    clear.convert(mode).save(path)
    photo = read_photo(path)
    assert photo.getpixel((3, 3)) == (255, 255, 255)
    assert photo.getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, random, orientation):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawn(random, 7, 5).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(np.asarray(read_photo(path)), expected)


def test_of_an_animation_the_first_frame_counts(tmp_path):
    path = tmp_path / "moving.webp"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert read_photo(path).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("shape", [(100, 100), (160, 90), (91, 203), (20, 31), (1000, 40)])
@pytest.mark.parametrize("crop", [0.875, 1.0])
def test_square_is_resizing_the_shorter_side_and_cutting_the_middle(random, shape, crop):
    image, size = drawn(random, *shape), 32
    shorter = round(size / crop)
    scale = shorter / min(shape)
    wide, high = (max(shorter, int(side * scale + 1e-9)) for side in shape)
    resized = image.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    expected = np.asarray(resized.crop((left, top, left + size, top + size))).astype(int)
    found = np.asarray(square(image, size, crop)).astype(int)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("fit", ["crop", "pad", "longest", "squash"])
def test_a_hair_thin_image_costs_no_memory(random, fit):
    assert square(drawn(random, 100_000, 1), 64, fit=fit).size == (64, 64)


@pytest.mark.parametrize("shape", [(100, 100), (160, 90), (91, 203), (64, 20), (20, 31)])
def test_padding_is_a_black_square_around_the_whole_image(random, shape):
    image = drawn(random, *shape)
    side = max(32, *shape)
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    left, top = (side - shape[0]) // 2, (side - shape[1]) // 2
    canvas[top : top + shape[1], left : left + shape[0]] = np.asarray(image)
    expected = Image.fromarray(canvas).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(square(image, 32, fit="pad")), np.asarray(expected))


def test_squashing_keeps_the_borders_of_a_image_of_any_shape():
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (45, 0, 90, 30))
    squashed = np.asarray(square(wide, 32, fit="squash"))
    np.testing.assert_array_equal(squashed[:, :14], np.broadcast_to([255, 0, 0], (32, 14, 3)))
    np.testing.assert_array_equal(squashed[:, 18:], np.broadcast_to([0, 0, 255], (32, 14, 3)))


def test_a_small_image_is_padded_and_not_enlarged(random):
    image = drawn(random, 10, 6)
    padded = np.asarray(square(image, 32, fit="pad"))
    np.testing.assert_array_equal(padded[13:19, 11:21], np.asarray(image))
    assert padded.sum() == np.asarray(image).sum()


def test_a_huge_image_is_padded_as_a_smaller_one_would_be(monkeypatch):
    image = Image.linear_gradient("L").convert("RGB").resize((240, 120))
    whole = np.asarray(square(image, 32, fit="pad")).astype(int)
    monkeypatch.setattr(framing, "LARGEST_PHOTO", 100 * 100)
    shrunk = np.asarray(square(image, 32, fit="pad")).astype(int)
    assert np.abs(whole - shrunk).mean() < 1


def test_batches_are_fitted_as_single_images_are(tmp_path, random):
    path = tmp_path / "wide.png"
    image = drawn(random, 60, 20)
    image.save(path)
    expected = torch.from_numpy(np.array(square(image, 16, fit="pad"))).permute(2, 0, 1) / 255
    assert torch.equal(load_batch([path], 16, fit="pad")[0], expected)
    assert torch.equal(next(batches([path], 16, fit="pad"))[0], expected)
    assert not torch.equal(load_batch([path], 16)[0], expected)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_batching_does_not_change_the_images(tmp_path, random, count):
    paths = []
    for index in range(7):
        paths.append(tmp_path / f"{index}.png")
        drawn(random, 20 + index, 30).save(paths[-1])
    whole = load_batch(paths, 16)
    parts = list(batches(paths, 16, count=count))
    assert [len(part) for part in parts] == [min(count, 7 - start) for start in range(0, 7, count)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)
    assert whole.shape == (7, 3, 16, 16)
    assert 0 <= whole.min() < whole.max() <= 1


def test_no_photos_make_no_batches_and_an_empty_tensor():
    assert list(batches([], 16)) == []
    assert load_batch([], 16).shape == (0, 3, 16, 16)


def test_a_broken_photo_in_a_batch_is_named(tmp_path, random):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    drawn(random, 20, 20).save(good)
    bad.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"bad\.png"):
        list(batches([good] * 5 + [bad], 16, count=2))


def test_a_colour_survives_reading_resizing_and_scaling(tmp_path):
    path = tmp_path / "flat.png"
    Image.new("RGB", (40, 50), (255, 128, 0)).save(path)
    flat = load_batch([path], 8)
    torch.testing.assert_close(flat.mean(dim=(0, 2, 3)), torch.tensor([1.0, 128 / 255, 0.0]))
    torch.testing.assert_close(flat.std(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-6)


def test_headers_are_read_and_nothing_is_decoded(tmp_path, random):
    path = tmp_path / "cut.png"
    drawn(random, 90, 80).save(path)
    path.write_bytes(path.read_bytes()[:100])
    check_headers([path])
    with pytest.raises(DataError):
        read_photo(path)
    with pytest.raises(DataError, match="no photo at"):
        check_headers([tmp_path / "none.png"])


def test_the_cap_is_twenty_five_megapixels(tmp_path, monkeypatch, random):
    path = tmp_path / "photo.png"
    drawn(random, 10, 10).save(path)
    monkeypatch.setattr(photos, "LARGEST_PHOTO", 100)
    assert read_photo(path).size == (10, 10)
    monkeypatch.setattr(photos, "LARGEST_PHOTO", 99)
    with pytest.raises(DataError, match="10 x 10 pixels"):
        read_photo(path)


@pytest.mark.real_data
@needs_samples
def test_real_photos_are_read():
    paths = sorted((SAMPLES / "novel-concepts" / "okapi").glob("*.jpg"))[:5]
    images = load_batch(paths, 224)
    assert images.shape == (5, 3, 224, 224)
    assert images.std() > 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_in_the_header_is_that_of_the_upright_photo(random, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawn(random, 12, 20).save(tmp_path / "turned.jpg", exif=exif)
    assert photo_size(tmp_path / "turned.jpg") == read_photo(tmp_path / "turned.jpg").size


def test_a_given_height_and_width_is_met_without_a_cut(random, tmp_path):
    drawn(random, 30, 20).save(tmp_path / "a.png")
    (found,) = batches([tmp_path / "a.png"] * 2, (8, 16))
    expected = np.array(Image.open(tmp_path / "a.png").resize((16, 8), Image.Resampling.BICUBIC)) / 255
    assert found.shape == (2, 3, 8, 16)
    np.testing.assert_allclose(found[1].permute(1, 2, 0).numpy(), expected, atol=1e-6)
