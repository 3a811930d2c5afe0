"""A folder per class: what is read, what is ignored, what is refused."""

from pathlib import Path

import pytest
from PIL import Image

from helpers.sample_folder import SAMPLES, needs_samples
from molyneux.datasets.folders import class_name, photos_below, read_folder
from molyneux.datasets.photos import load_batch
from molyneux.errors import DataError


def fill(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, format="PNG")
    return root


def test_classes_and_photos_come_in_sorted_order_with_their_labels(tmp_path):
    fill(tmp_path, "zebra/b.png", "zebra/a.JPG", "n01440764/x.jpeg", "great_white_shark/y.WebP")
    folder = read_folder(tmp_path)
    assert folder.names == ("great white shark", "tench", "zebra")
    found = [(photo.path.name, folder.names[photo.label]) for photo in folder.photos]
    assert found == [
        ("y.WebP", "great white shark"),
        ("x.jpeg", "tench"),
        ("a.JPG", "zebra"),
        ("b.png", "zebra"),
    ]
    assert len(folder) == 4
    assert folder.paths[0] == tmp_path / "great_white_shark" / "y.WebP"


def test_hidden_and_other_files_are_left_out_and_counted(tmp_path):
    fill(
        tmp_path,
        "okapi/a.png",
        "okapi/.hidden.png",
        "okapi/notes.heic",
        ".cache/b.png",
        "__MACOSX/c.png",
        "top.png",
    )
    (tmp_path / "concepts.json").write_text("{}")
    (tmp_path / "okapi" / "more.png").mkdir()
    folder = read_folder(tmp_path)
    assert folder.names == ("okapi",)
    assert [path.name for path in folder.paths] == ["a.png"]
    assert folder.notes == (
        f"5 files in {tmp_path} are left out: 1 beside the folders of the classes, 3 hidden, "
        "1 of no format that is read (.heic)",
    )


def test_every_format_that_pillow_reads_safely_is_read(tmp_path):
    folder = tmp_path / "okapi"
    folder.mkdir()
    drawn = Image.new("RGB", (6, 4), "red")
    for suffix in ("jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "avif"):
        drawn.save(folder / f"{suffix}.{suffix}")
    found = read_folder(tmp_path)
    assert (len(found), found.notes) == (10, ())
    pixels = load_batch(found.paths, 4)
    assert pixels[:, 0].min() > 0.95
    assert pixels[:, 1:].max() < 0.05


def test_linked_folders_are_followed_once_and_what_leads_nowhere_is_counted(tmp_path):
    fill(tmp_path, "else/in/b.png", "photos/okapi/a.png", "photos/okapi/in/deep.png")
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "else" / "in")
    (tmp_path / "photos" / "okapi" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "else" / "in" / "loop").symlink_to(tmp_path / "else")
    found = read_folder(tmp_path / "photos")
    assert found.relative_paths == ("linked/b.png", "okapi/a.png")
    assert "2 in a folder within a class, 1 no regular file, or a link to nothing" in found.notes[0]
    below = [path.relative_to(tmp_path).as_posix() for path in photos_below(tmp_path / "photos")]
    assert below == ["photos/linked/b.png", "photos/okapi/a.png", "photos/okapi/in/deep.png"]


def test_two_spellings_of_one_accent_are_one_name(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    fill(tmp_path, f"{apart}/a.png")
    found = read_folder(tmp_path, only=[composed])
    assert found.names == (composed,)
    assert found.only([apart]).names == (composed,)
    fill(tmp_path, f"{composed}/b.png")
    with pytest.raises(DataError, match="both mean"):
        read_folder(tmp_path)


def test_two_wordnet_ids_of_one_name_make_one_class(tmp_path):
    folder = read_folder(fill(tmp_path, "n03773504/a.png", "n04008634/b.png", "okapi/c.png"))
    assert folder.names == ("missile", "okapi")
    assert [photo.label for photo in folder.photos] == [0, 0, 1]
    assert [photo.later for photo in folder.photos] == [False, True, False]
    assert [photo.later for photo in folder.only(["missile"]).photos] == [False, True]


def test_only_chosen_classes_are_looked_at(tmp_path):
    fill(tmp_path, "okapi/a.png", "red_panda/b.png", "n99999999/c.png")
    (tmp_path / "empty").mkdir()
    assert read_folder(tmp_path, only=["Red Panda", "unheard of"]).names == ("red panda",)
    with pytest.raises(DataError, match="no sub-folder for any of 'wombat'"):
        read_folder(tmp_path, only=["wombat"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["great_white/a.png", "great white/b.png"], "both mean 'great white'"),
        (["okapi/a.png", "Okapi/b.png"], "both mean 'okapi'"),
        (["tench/a.png", "n01440764/b.png"], "both mean 'tench'"),
        (["n99999999/a.png"], "outside ImageNet-1k"),
        (["okapi/a.heic"], "okapi has no photos.*left out: 1 of no format that is read .\\.heic"),
        (["a.png"], "no sub-folders"),
    ],
)
def test_what_cannot_be_sorted_is_refused_in_one_line(tmp_path, files, message):
    with pytest.raises(DataError, match=message) as caught:
        read_folder(fill(tmp_path, *files))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="no folder at"):
        read_folder(tmp_path / "none")
    with pytest.raises(DataError, match="is a file"):
        read_folder(fill(tmp_path, "file.png") / "file.png")


def test_a_name_of_underscores_stays_itself():
    assert class_name("_") == "_"


@pytest.mark.real_data
@needs_samples
def test_the_sample_folders_are_read():
    novel = read_folder(SAMPLES / "novel-concepts")
    assert (len(novel.names), len(novel)) == (12, 360)
    known = read_folder(SAMPLES / "imagenet1k-sample")
    assert (len(known.names), len(known)) == (998, 1000)


def test_names_that_would_move_a_terminals_cursor_are_counted_or_refused(tmp_path):
    (tmp_path / "dog").mkdir()
    for name in ("1.png", "\x1b[31m.png", "\udcff.png", "café.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "dog" / name)
    found = read_folder(tmp_path)
    assert [path.name for path in found.paths] == ["1.png", "café.png"]
    assert "2 of a name with control characters, or not in UTF-8" in found.notes[0]
    (tmp_path / "dog").rename(tmp_path / "do\x1b[31mg")
    with pytest.raises(DataError, match="has control characters in its name"):
        read_folder(tmp_path)
