"""DICOM and NIfTI to images: against pydicom's own windowing, and nothing of what identifies a person comes along."""

import math

import numpy as np
import pytest
from pydicom import DataElement, dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from helpers.scan_files import SECRETS, by_pydicom, write_dicom, write_nifti
from molyneux.datasets import scans
from molyneux.datasets.folders import photos_below, read_folder
from molyneux.datasets.photos import check_headers, load_batch, photo_size, read_photo
from molyneux.datasets.sets import read_set
from molyneux.datasets.windows import Window
from molyneux.errors import ConfigError, DataError

GREYS = np.random.default_rng(0).integers(0, 4000, (6, 9))


def greys(path, window=None):
    image = read_photo(path, window or Window())
    assert image.mode == "RGB"
    assert image.info == {}
    assert len(image.getexif()) == 0
    values = np.asarray(image)
    assert (values == values[..., :1]).all()
    return values[..., 0]


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 1000, "WindowWidth": 1500},
        {"WindowCenter": [900, 40], "WindowWidth": [700, 400]},
        {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 0.5, "RescaleIntercept": -1024},
        {"WindowCenter": 1000, "WindowWidth": 1},
    ],
)
@pytest.mark.parametrize("below", [0, 500])
def test_the_files_own_window_is_pydicoms(tmp_path, tags, below):
    path = write_dicom(tmp_path / "a.dcm", GREYS - below, **tags)
    np.testing.assert_allclose(greys(path), by_pydicom(path), atol=0.51)
    assert len(np.unique(greys(path))) > (1 if tags["WindowWidth"] == 1 else 5)


def test_a_window_that_is_given_stands_above_the_files(tmp_path):
    own = write_dicom(tmp_path / "own.dcm", GREYS, WindowCenter=900, WindowWidth=800)
    other = write_dicom(tmp_path / "other.dcm", GREYS, WindowCenter=40, WindowWidth=400)
    bare = write_dicom(tmp_path / "bare.dcm", GREYS)
    window = Window(window_center=900.0, window_width=800.0)
    for path in (own, other, bare):
        np.testing.assert_array_equal(greys(path, window), greys(own))
    whole = (GREYS - GREYS.min()) / (GREYS.max() - GREYS.min()) * 255
    np.testing.assert_allclose(greys(bare), whole, atol=0.5)
    assert (greys(write_dicom(tmp_path / "flat.dcm", np.full((4, 4), 7))) == 0).all()


def table(values, first, bits):
    """A lookup table, as an item of a sequence."""
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(values), first, bits])
    item.add_new(0x00283006, "OW", np.asarray(values, dtype="<u2").tobytes())
    return Sequence([item])


STEPS = np.round(np.linspace(0, 1, 4000) ** 3 * 65535)


@pytest.mark.parametrize(
    "tags",
    [
        {"VOILUTSequence": table(STEPS, 0, 16)},
        {"VOILUTSequence": table(STEPS[::-1], 500, 16), "WindowCenter": 40, "WindowWidth": 400},
        {"VOILUTSequence": table(STEPS // 16, -900, 12), "RescaleSlope": 1, "RescaleIntercept": -1000},
        {"ModalityLUTSequence": table(STEPS, 0, 16), "WindowCenter": 30000, "WindowWidth": 50000},
        {"WindowCenter": 1000, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1000, "WindowWidth": 0.5, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1000, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1000, "WindowWidth": 900, "RescaleSlope": None, "RescaleIntercept": None},
    ],
)
def test_the_files_own_tables_and_functions_are_pydicoms(tmp_path, tags):
    path = write_dicom(tmp_path / "a.dcm", GREYS, **tags)
    plain = {name: value for name, value in tags.items() if value is not None}
    expected = by_pydicom(write_dicom(tmp_path / "plain.dcm", GREYS, **plain))
    np.testing.assert_allclose(greys(path), expected, atol=0.51)
    assert len(np.unique(greys(path))) > (1 if tags.get("WindowWidth") == 0.5 else 5)


def test_padding_that_says_a_signed_value_as_an_unsigned_one_is_padding(tmp_path):
    values = GREYS.copy().astype(int)
    values[0, :3] = -30000
    path = write_dicom(tmp_path / "a.dcm", values, PixelPaddingValue=-30000)
    right = greys(path)
    data = dcmread(path)
    data[0x00280120] = DataElement(0x00280120, "US", 2**16 - 30000)
    data.save_as(path)
    np.testing.assert_array_equal(greys(path), right)
    assert (right[0, :3] == 0).all()


def test_padding_is_black_and_no_part_of_the_range(tmp_path):
    values = GREYS.copy().astype(int)
    plain = greys(write_dicom(tmp_path / "plain.dcm", values))
    corner = np.unravel_index(values.argmin(), values.shape)
    values[0, :3] = -30000
    inside = np.ones(values.shape, dtype=bool)
    inside[0, :3] = False
    assert inside[corner]
    shown = greys(write_dicom(tmp_path / "a.dcm", values, PixelPaddingValue=-30000))
    top = values[inside].max(), GREYS.max()
    np.testing.assert_allclose(
        shown[inside], plain[inside] * (top[1] - values[corner]) / (top[0] - values[corner]), atol=1
    )
    assert (shown[0, :3] == 0).all()
    values[0, 1] = -29990
    some = {"PixelPaddingValue": -30000, "PixelPaddingRangeLimit": -29000}
    ranged = greys(write_dicom(tmp_path / "b.dcm", values, **some))
    np.testing.assert_array_equal(ranged, shown)
    turned = greys(write_dicom(tmp_path / "c.dcm", values, PhotometricInterpretation="MONOCHROME1", **some))
    assert (turned[0, :3] == 0).all()
    assert abs(255 - turned[inside].astype(int) - shown[inside]).max() <= 1
    whole = write_dicom(tmp_path / "d.dcm", np.full((4, 4), 9), PixelPaddingValue=9)
    assert (greys(whole) == 0).all()


def test_a_frames_own_slope_and_window_stand_above_what_all_share(tmp_path):
    frames = np.stack([GREYS, GREYS])

    def group(slope, width):
        item, transform, window = Dataset(), Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept = slope, 0
        window.WindowCenter, window.WindowWidth = 1000, width
        item.PixelValueTransformationSequence = Sequence([transform])
        item.FrameVOILUTSequence = Sequence([window])
        return item

    frame = {"PerFrameFunctionalGroupsSequence": Sequence([group(1, 900), group(0.5, 300)])}
    path = write_dicom(tmp_path / "a.dcm", frames, **frame)
    shared = write_dicom(tmp_path / "b.dcm", frames, SharedFunctionalGroupsSequence=Sequence([group(0.5, 300)]))
    for place, slope, width in ((0, 1, 900), (1, 0.5, 300)):
        alone = write_dicom(
            tmp_path / f"{place}.dcm",
            GREYS,
            WindowCenter=1000,
            WindowWidth=width,
            RescaleSlope=slope,
            RescaleIntercept=0,
        )
        np.testing.assert_array_equal(greys(path, Window(slice=place)), greys(alone))
    np.testing.assert_array_equal(greys(shared, Window(slice=0)), greys(tmp_path / "1.dcm"))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "slope or intercept that makes no image"),
        ({"WindowCenter": 1, "WindowWidth": 5, "VOILUTFunction": "MAGIC"}, "window of a kind that is not known"),
        ({"VOILUTSequence": table(np.arange(400) % 255, 0, 8)}, "table of 400 places for 8-bit greys"),
        ({"VOILUTSequence": table([1, 2, 3], 0, 77)}, "NotImplementedError"),
    ],
)
def test_tables_and_windows_that_make_no_image_are_refused(tmp_path, tags, reason):
    with pytest.raises(DataError, match=reason):
        read_photo(write_dicom(tmp_path / "a.dcm", GREYS, **tags))


def test_monochrome1_is_shown_bright_for_dark(tmp_path):
    tags = {"WindowCenter": 2000, "WindowWidth": 4000}
    plain = greys(write_dicom(tmp_path / "a.dcm", GREYS, **tags)).astype(int)
    turned = greys(write_dicom(tmp_path / "b.dcm", GREYS, PhotometricInterpretation="MONOCHROME1", **tags))
    assert abs(255 - plain - turned).max() <= 1


def test_of_many_frames_the_middle_one_or_the_one_asked_for(tmp_path):
    frames = np.stack([GREYS, GREYS[::-1], GREYS[:, ::-1], GREYS // 2])
    path = write_dicom(tmp_path / "a.dcm", frames, WindowCenter=2000, WindowWidth=4000)
    alone = [
        write_dicom(tmp_path / f"{k}.dcm", one, WindowCenter=2000, WindowWidth=4000) for k, one in enumerate(frames)
    ]
    np.testing.assert_array_equal(greys(path), greys(alone[2]))
    np.testing.assert_array_equal(greys(path, Window(slice=1)), greys(alone[1]))
    with pytest.raises(DataError, match="there is no slice 4"):
        greys(path, Window(slice=4))


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_volumes_slice_lies_as_radiologists_look_at_it(tmp_path, suffix):
    values = np.zeros((4, 6, 5), dtype=np.int16)
    values[3, 5, 1] = 100  # right, front, near the feet
    values[0, 0, 2] = 50
    path = write_nifti(tmp_path / f"a.{suffix}", values)
    lowest = greys(path, Window(slice=1))
    assert lowest.shape == (6, 4)
    assert np.argwhere(lowest).tolist() == [[0, 0]]  # above, and to the left of who looks
    assert np.argwhere(greys(path)).tolist() == [[5, 3]]  # the middle slice
    mirrored = write_nifti(tmp_path / f"b.{suffix}", values[::-1, :, ::-1].copy(), np.diag([-1.0, 1, -1, 1]))
    np.testing.assert_array_equal(greys(mirrored, Window(slice=1)), lowest)
    window = Window(window_center=100.0, window_width=200.0, slice=1)
    np.testing.assert_allclose(greys(path, window)[0, 0], (0.5 / 199 + 0.5) * 255, atol=0.51)
    assert photo_size(path) == (4, 6)


def test_scans_lie_in_folders_as_photos_do(tmp_path):
    write_dicom(tmp_path / "nodule" / "a.DCM", GREYS)
    write_nifti(tmp_path / "none" / "b.nii.gz", np.zeros((4, 6, 5), dtype=np.int16))
    folder = read_set(tmp_path, window=Window(slice=2))
    assert folder.relative_paths == ("nodule/a.DCM", "none/b.nii.gz")
    assert (folder.scans, folder.medical) == (Window(slice=2), True)
    assert folder.only(["none"]).scans == Window(slice=2)
    assert len(photos_below(tmp_path)) == 2
    check_headers(folder.paths)
    assert [photo_size(path) for path in folder.paths] == [(9, 6), (4, 6)]
    assert load_batch(folder.paths[1:], 8, window=folder.window).shape == (1, 3, 8, 8)
    plain = read_folder(write_dicom(tmp_path / "x" / "c" / "a.jpg", GREYS).parents[1])
    assert (plain.scans, plain.medical) == (None, False)


@pytest.mark.parametrize("name", ["a.dcm", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"no scan", b"\x1f\x8b broken", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_what_is_no_scan_is_one_clear_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_photo, photo_size, lambda one: check_headers([one])):
        with pytest.raises(DataError, match=name) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_no_error_quotes_what_identifies_a_person(tmp_path, monkeypatch):
    wrong = [
        write_dicom(tmp_path / "colour.dcm", GREYS, PhotometricInterpretation="RGB"),
        write_dicom(tmp_path / "short.dcm", GREYS, Rows=60),
        write_dicom(tmp_path / "window.dcm", GREYS, WindowCenter=1, WindowWidth=0, BitsStored=40),
        write_nifti(tmp_path / "four.nii", np.zeros((2, 2, 2, 2), dtype=np.int16)),
    ]
    for path in wrong:
        with pytest.raises(DataError, match=path.name) as caught:
            read_photo(path)
        assert not any(secret in str(caught.value) for secret in SECRETS)
    monkeypatch.setattr(scans, "LARGEST_SLICE", 10)
    with pytest.raises(DataError, match="9 x 6 pixels: expected at most"):
        read_photo(write_dicom(tmp_path / "large.dcm", GREYS))
    monkeypatch.setattr(scans, "LARGEST_SLICE", 100)
    monkeypatch.setattr(scans, "LARGEST_VOLUME", 100)
    with pytest.raises(DataError, match="at most 100 bytes"):
        read_photo(write_nifti(tmp_path / "large.nii", np.zeros((4, 6, 5), dtype=np.int16)))


def test_without_the_libraries_the_extra_is_named(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", GREYS)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(DataError, match=r"install 'molyneux\[medical\]'"):
        read_photo(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_center": 1.0},
        {"window_center": 1.0, "window_width": 0.5},
        {"window_center": 1.0, "window_width": math.nan},
        {"window_center": 1.0, "window_width": math.inf},
        {"window_center": math.nan, "window_width": 2.0},
        {"window_center": -math.inf, "window_width": 2.0},
        {"slice": -1},
    ],
)
def test_windows_that_are_none_are_refused(wrong):
    with pytest.raises(ConfigError):
        Window(**wrong)
