"""Lists of captions in the layouts they are published in."""

import json

import pytest
from PIL import Image

from helpers.sample_folder import SAMPLES, needs_samples
from molyneux.datasets.captioned import (
    HALVES,
    half_of,
    read_captioned,
    read_captions_csv,
    read_coco_captions,
    read_karpathy,
)
from molyneux.errors import DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "val2014").mkdir(parents=True)
    for name in ("b.jpg", "a.jpg", "val2014/c.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name)
    return tmp_path


def karpathy(*entries):
    keys = ("filepath", "filename", "split", "sentences")
    images = [{k: v for k, v in zip(keys, entry, strict=True) if v is not None} for entry in entries]
    for image in images:
        image["sentences"] = [{"raw": text, "tokens": text.split()} for text in image["sentences"]]
    return json.dumps({"images": images, "dataset": "drawn"})


def coco(key="annotations"):
    return json.dumps(
        {
            "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}, {"id": 4, "file_name": "no"}],
            key: [
                {"image_id": 3, "id": 1, "caption": "A cup."},
                {"image_id": 7, "id": 2, "caption": " A red \n hat."},
                {"image_id": 3, "id": 3, "caption": "One cup."},
            ],
        }
    )


def test_a_table_gives_each_photo_its_captions_in_order(folder):
    (folder / "captions.csv").write_text('image,caption\nb.jpg,"A hat, red."\na.jpg,A cup\nb.jpg,Hat\n')
    found = read_captioned(folder)
    assert found.names == ("b.jpg", "a.jpg")
    assert found.captions == (("A hat, red.", "Hat"), ("A cup",))
    assert found.texts == ("A hat, red.", "Hat", "A cup")
    assert found.owners == (0, 0, 1)
    assert found.paths == (folder / "images" / "b.jpg", folder / "images" / "a.jpg")
    assert found.as_references() == {"b.jpg": ("A hat, red.", "Hat"), "a.jpg": ("A cup",)}


def test_a_list_without_splits_falls_into_two_halves_by_file_name(folder):
    Image.new("RGB", (8, 8)).save(folder / "images" / "val2014" / "d.jpg")
    (folder / "captions.csv").write_text("image,caption\nb.jpg,Hat\nval2014/d.jpg,A dog\na.jpg,A cup\nb.jpg,Red\n")
    first, second = (read_captioned(folder, half) for half in HALVES)
    # SHA-256 of a.jpg: 50..., of b.jpg: 7a..., of d.jpg: 53...
    assert (first.names, first.captions) == (("b.jpg", "a.jpg"), (("Hat", "Red"), ("A cup",)))
    assert (second.names, second.captions) == (("val2014/d.jpg",), (("A dog",),))
    assert (first.split, second.split) == HALVES
    assert (first.left_out, second.left_out) == (2, 3)  # c.jpg has no caption
    whole = read_captioned(folder)
    assert set(whole.names) == {*first.names, *second.names}
    assert whole.split is None
    assert [half_of(name) for name in whole.names] == [HALVES[name == "val2014/d.jpg"] for name in whole.names]


def test_a_half_without_photos_is_named(folder):
    (folder / "captions.csv").write_text("image,caption\nb.jpg,Hat\n")
    other = next(half for half in HALVES if half != half_of("b.jpg"))
    with pytest.raises(DataError, match=f"none of the 1 photos .* is of the {other}"):
        read_captioned(folder, other)


@pytest.mark.parametrize("key", ["annotations", "captions"])
def test_cocos_captions_follow_the_order_of_its_images(folder, key):
    (folder / "annotations.json").write_text(coco(key))
    found = read_captioned(folder)
    assert found.names == ("b.jpg", "a.jpg")  # the photo without a caption, which is not there either, is left out
    assert found.captions == (("A red hat.",), ("A cup.", "One cup."))


def test_karpathys_split_is_taken_alone_and_its_file_path_counts(folder):
    (folder / "dataset_coco.json").write_text(
        karpathy(
            ("val2014", "c.jpg", "test", ["Sea", "Sand"]),
            (None, "a.jpg", "test", ["Cup"]),
            (None, "not-there.jpg", "train", ["Hat"]),
        )
    )
    found = read_captioned(folder)
    assert found.names == ("val2014/c.jpg", "a.jpg")
    assert found.owners == (0, 0, 1)
    with pytest.raises(DataError, match="no photos of the split 'val': expected one of test, train"):
        read_captioned(folder, split="val")
    with pytest.raises(DataError, match=r"not-there\.jpg"):
        read_captioned(folder, split="train")


def test_karpathys_photo_without_a_sentence_is_named(folder):
    (folder / "dataset_coco.json").write_text(karpathy((None, "a.jpg", "test", [])))
    with pytest.raises(DataError, match=r"a photo's name and a caption, got 'a\.jpg' and ''"):
        read_captioned(folder)


def test_published_layouts_are_found_by_their_list(tmp_path):
    for name in ("flickr/flickr30k-images/7.jpg", "coco/val2014/c.jpg", "coco/val2014/d.jpg", "flat/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "flickr" / "dataset_flickr30k.json").write_text(karpathy((None, "7.jpg", "test", ["Sea"])))
    (tmp_path / "coco" / "dataset_coco.json").write_text(karpathy(("val2014", "c.jpg", "test", ["Sand"])))
    own = {"images": [{"id": 1, "file_name": "d.jpg"}], "annotations": [{"image_id": 1, "caption": "Hat"}]}
    (tmp_path / "coco" / "annotations" / "captions_val2014.json").write_text(json.dumps(own))
    (tmp_path / "flat" / "captions.txt").write_text("image,caption\na.jpg,Cup\n")
    flickr = read_captioned(tmp_path / "flickr")
    assert (flickr.root.name, flickr.names, flickr.split) == ("flickr30k-images", ("7.jpg",), "test")
    splits = read_captioned(tmp_path / "coco" / "dataset_coco.json")
    assert (splits.root.name, splits.names, splits.left_out) == ("coco", ("val2014/c.jpg",), 1)
    coco = read_captioned(tmp_path / "coco" / "annotations" / "captions_val2014.json")
    assert (coco.root.name, coco.names, coco.split, coco.left_out) == ("val2014", ("d.jpg",), None, 1)
    flat = read_captioned(tmp_path / "flat")
    assert (flat.root, flat.names) == (tmp_path / "flat", ("a.jpg",))
    assert read_captioned(tmp_path / "flat" / "captions.txt", images=tmp_path / "flat").names == ("a.jpg",)
    with pytest.raises(DataError, match=r"a\.jpg.*which is not in .*val2014: add it"):
        read_captioned(tmp_path / "flat", images=tmp_path / "coco" / "val2014")
    with pytest.raises(DataError, match="nowhere is not there: expected the folder of the photos"):
        read_captioned(tmp_path / "flat", images=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"dataset_coco\.json, annotations/captions_val2014\.json: expected one"):
        read_captioned(tmp_path / "coco")


def test_a_folder_holds_one_list(folder):
    with pytest.raises(DataError, match="holds none of them: expected one of"):
        read_captioned(folder)
    (folder / "captions.csv").write_text("image,caption\na.jpg,x\n")
    (folder / "annotations.json").write_text(coco())
    with pytest.raises(DataError, match=r"captions\.csv, annotations\.json: expected one"):
        read_captioned(folder)
    with pytest.raises(DataError, match="not there"):
        read_captioned(folder / "nowhere")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ("image,caption\n", "holds no captions"),
        ("image,text\na.jpg,x\n", "expected the header 'image,caption'"),
        ("image,caption\na.jpg,\n", "expected a photo's name and a caption"),
        ("image,caption\na.jpg\n", "line 2: 1 cells where the header has 2"),
        ("image,caption\na.jpg,A dog, a cat\n", "line 2: 3 cells where the header has 2"),
        ("image,caption\na.jpg,A dog\nb.jpg,A dog, and a cat\n", "line 3: 3 cells"),
        ('image,caption\na.jpg,"A dog\nb.jpg,A cat\n', "line 2: .*quote to be closed"),
        ('image,caption\na.jpg,"A dog\nb.jpg,A cat"\n', "line 2: a cell goes on over the line's end"),
        ('image,caption\na.jpg,"A dog\nb.jpg,"A cat"\n', "line 2: .*quote within a quoted cell to be doubled"),
        ('image,caption\na.jpg,"A \\"big\\" dog"\n', "line 2: .*quote within a quoted cell to be doubled"),
        ("image,caption\na.jpg,A dog\\, a cat\n", "line 2: 3 cells"),
        ("image,caption\nin\\a.jpg,A dog\n", "holds a backslash"),
        ("image,caption,caption\na.jpg,A dog,A cat\n", "has 2 column 'caption'"),
        ("image,caption\nz.jpg,x\n", "which is not in"),
        ("image,caption\n../images/a.jpg,x\n", "leads out of"),
        ("image,caption\n/etc/passwd,x\n", "leads out of"),
    ],
)
def test_a_broken_table_is_named(folder, content, reason):
    (folder / "captions.csv").write_text(content)
    with pytest.raises(DataError, match=reason):
        read_captions_csv(folder / "captions.csv", folder / "images")


@pytest.mark.parametrize("read", [read_coco_captions, read_karpathy])
@pytest.mark.parametrize("content", ["[]", "{", "{}", '{"images": [3]}', '{"images": [], "annotations": []}', "\udcff"])
def test_a_broken_json_file_is_named(folder, read, content):
    path = folder / "list.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"list\.json"):
        read(path, folder / "images")


@pytest.mark.real_data
@needs_samples
@pytest.mark.parametrize(("name", "photos"), [("flickr8k-1k", 1000), ("coco-mini", None)])
def test_the_samples_hold_about_five_captions_for_each_photo(name, photos):
    found = read_captioned(SAMPLES / name)
    assert photos in (None, len(found))
    assert found.left_out == {"flickr8k-1k": 0, "coco-mini": 80}[name]
    assert 4.9 < len(found.texts) / len(found) < 5.1
    assert len(set(found.names)) == len(found) > 100


@pytest.mark.parametrize(
    "content",
    [
        "image, caption\na.jpg, A dog\n",
        " image ,caption \r\n a.jpg ,  A dog \r\n\r\n",
        '"image","caption"\n"a.jpg", "A dog"\n',
        "\ufeffimage,caption\n./a.jpg,A dog",
        "caption,image,split\nA dog,a.jpg,test\n",
    ],
)
def test_blanks_around_cells_do_not_count(folder, content):
    (folder / "captions.csv").write_text(content, newline="")
    found = read_captioned(folder / "captions.csv")
    assert (found.names, found.captions) == (("a.jpg",), (("A dog",),))


def test_quoted_cells_keep_commas_quotes_and_backslashes(folder):
    (folder / "captions.csv").write_text('image,caption\na.jpg,"A ""big"" dog, a cat \\ and\u2028a bird"\n')
    assert read_captioned(folder / "captions.csv").captions == (('A "big" dog, a cat \\ and a bird',),)


def test_a_split_of_a_list_without_splits_is_refused(folder):
    (folder / "captions.csv").write_text("image,caption\na.jpg,A dog\n")
    with pytest.raises(DataError, match="has no splits, and 'val' is asked for"):
        read_captioned(folder / "captions.csv", "val")


def test_other_files_are_counted(folder):
    (folder / "captions.csv").write_text("image,caption\na.jpg,A dog\n")
    (folder / "images" / "x.heic").write_bytes(b"")
    (note,) = read_captioned(folder / "captions.csv").notes
    assert "1 of no format that is read (.heic)" in note
    assert "2 of no caption in captions.csv" in note


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image\tcaption\na.jpg\tA dog\n", "stand apart by tabs: expected commas"),
        ("image;caption\na.jpg;A dog\n", "stand apart by semicolons"),
        ("image,caption\na.jpg\n", "1 cells where the header has 2; fill in the rest"),
        ('image,caption\na.jpg,A \\"red\\" dog\n', "line 2: a backslash before a quote"),
        ("image,caption\na.jpg,\u200b\n", "expected a photo's name and a caption"),
        ("image,caption\nA.jpg,A dog\n", "'a.jpg' is there, which is written differently"),
    ],
)
def test_a_table_that_was_meant_otherwise_is_refused_with_what_to_do(folder, content, reason):
    (folder / "captions.csv").write_text(content)
    with pytest.raises(DataError, match=reason):
        read_captioned(folder / "captions.csv")


def test_captions_of_an_image_that_is_not_listed_are_named(folder):
    content = {"images": [{"id": "1", "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "A dog"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="a caption of the image_id 1, which is no id there"):
        read_captioned(folder / "annotations.json")
