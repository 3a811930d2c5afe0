"""Drawn miniatures of the layouts in which marked images are published."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.sample_folder import SAMPLES, needs_samples
from molyneux.datasets.segmented import READERS, read_marked
from molyneux.datasets.sets import SETS, data_set
from molyneux.errors import DataError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


def spot(row: int, height: int = 6, width: int = 9) -> np.ndarray:
    mask = np.zeros((height, width))
    mask[row] = 255
    return mask


def rows_of(item) -> list[int]:
    return item.truth().any(dim=1).nonzero()[:, 0].tolist()


def test_every_layout_is_listed_with_its_source():
    listed = {one.name for one in SETS if one.task == "segmentation"}
    assert listed == READERS.keys()
    assert all(data_set(name).source for name in READERS)


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("masks", ("images", "masks")),
        ("unitochest", ("images", "masks")),
        ("udiat", ("original", "GT")),
        ("udiat", ("images", "masks")),
    ],
)
def test_two_folders_are_paired_by_name(tmp_path, name, folders):
    for index, file in enumerate(("000002", "000001")):
        save(tmp_path / folders[0] / f"{file}.png", np.full((6, 9, 3), index))
        save(tmp_path / folders[1] / f"{file}.png", spot(index))
    save(tmp_path / folders[0] / "000003.png", np.zeros((6, 9, 3)))
    found = read_marked(f"{name}:{tmp_path}")
    assert [item.name for item in found.items] == ["000001", "000002"]
    assert [rows_of(item) for item in found.items] == [[1], [0]]
    assert found.left_out == 1
    assert found.items[1].image().size == (9, 6)
    assert [item.name for item in read_marked(tmp_path).items] == ["000001", "000002"]


def busi(root):
    for kind in ("benign", "malignant", "normal"):
        save(root / kind / f"{kind} (1).png", np.zeros((6, 9, 3)))
        save(root / kind / f"{kind} (1)_mask.png", spot(2) if kind != "normal" else np.zeros((6, 9)))
    save(root / "benign" / "benign (1)_mask_1.png", spot(4))
    return root


def test_busi_unites_the_lesions_of_a_image_and_leaves_healthy_ones_out(tmp_path):
    found = read_marked(busi(tmp_path))
    assert [item.name for item in found.items] == ["benign/benign (1)", "malignant/malignant (1)"]
    assert [rows_of(item) for item in found.items] == [[2, 4], [2]]
    assert found.left_out == 1


def test_busi_names_a_mask_whose_image_is_missing(tmp_path):
    (busi(tmp_path) / "benign" / "benign (1).png").unlink()
    with pytest.raises(DataError, match=r"'benign \(1\).png'.*busi is expected as .* had from scholar.cu.edu.eg"):
        read_marked(f"busi:{tmp_path}")


def siim(root, side=1024):
    for name in ("1.2.3", "1.2.4"):
        save(root / "images" / f"{name}.png", np.zeros((64, 64, 3)))
    upper_halves = " ".join([f"{32 * side} 512", *["512 512"] * 15])
    (root / "train-rle.csv").write_text(
        f"ImageId, EncodedPixels\n1.2.3, {upper_halves}\n1.2.3,0 {16 * side}\n1.2.4, -1\n"
    )
    return root


def test_siim_runs_go_down_the_columns_each_from_the_last_one_s_end(tmp_path):
    found = read_marked(siim(tmp_path))
    assert [item.name for item in found.items] == ["1.2.3"]
    assert found.left_out == 1
    expected = torch.zeros(64, 64, dtype=torch.bool)
    expected[:, 0] = True  # 16 of the 1,024 columns are one of 64
    expected[:32, 2] = True
    assert torch.equal(found.items[0].truth(), expected)


def test_siim_names_what_is_missing_or_cannot_be_read(tmp_path):
    (siim(tmp_path) / "images" / "1.2.3.png").rename(tmp_path / "images" / "other.png")
    with pytest.raises(DataError, match=r"no image of '1.2.3' .*siim is expected as train-rle.csv"):
        read_marked(tmp_path)
    siim(tmp_path)
    for broken in ("1024 x", "1048570 100", "1 2 3"):
        (tmp_path / "train-rle.csv").write_text(f"ImageId,EncodedPixels\n1.2.3,{broken}\n")
        with pytest.raises(DataError, match="cannot be read"):
            read_marked(tmp_path).items[0].truth()
    (tmp_path / "train-rle.csv").write_text("name,runs\n1.2.3,4 5\n")
    with pytest.raises(DataError, match="no table of ImageId and EncodedPixels"):
        read_marked(tmp_path)


def brats(root):
    import nibabel

    case = root / "BraTS-GLI-00001-000"
    case.mkdir()
    volume, marked = np.zeros((8, 6, 4), dtype=np.float32), np.zeros((8, 6, 4), dtype=np.float32)
    volume[..., 1:] = 50
    volume[5, 1, 2], marked[5, 1, 2], marked[5, 2, 2] = 100, 3, 1
    for part, values in (("t2f", volume), ("seg", marked)):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), case / f"{case.name}-{part}.nii.gz")
    return case


def test_brats_gives_the_slices_with_a_tumour(tmp_path):
    brats(tmp_path)
    found = read_marked(tmp_path)
    assert [item.name for item in found.items] == ["BraTS-GLI-00001-000-002"]
    assert found.left_out == 3
    assert found.items[0].truth().nonzero().tolist() == [[1, 5], [2, 5]]
    grey = np.asarray(found.items[0].image())
    assert grey.shape == (6, 8, 3)
    assert grey[1, 5, 0] == 255 > grey[0, 0, 0] > 0


def test_brats_names_a_volume_that_is_missing_or_broken(tmp_path):
    case = brats(tmp_path)
    (case / f"{case.name}-t2f.nii.gz").unlink()
    with pytest.raises(DataError, match=r"has no BraTS-GLI-00001-000-t2f.nii.gz.*synapse"):
        read_marked(tmp_path)
    (case / f"{case.name}-seg.nii.gz").write_bytes(b"nothing")
    (case / f"{case.name}-t2f.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot read the volume"):
        read_marked(tmp_path)


def coco(root, marks):
    save(root / "images" / "7.png", np.zeros((6, 9, 3)))
    save(root / "images" / "8.png", np.zeros((6, 9, 3)))
    annotations = [{"image_id": 7, "category_id": kind, "segmentation": mark} for kind, mark in marks]
    content = {
        "images": [{"id": 7, "file_name": "7.png"}, {"id": 8, "file_name": "8.png"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": annotations,
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def test_coco_gives_an_item_for_each_category_of_a_photo_with_all_its_instances(tmp_path):
    square, other = [[0, 0, 2, 0, 2, 2, 0, 2]], [[5, 4, 7, 4, 7, 5, 5, 5]]
    crowd = {"counts": [6, 3, 45], "size": [6, 9]}
    found = read_marked(coco(tmp_path, [(1, square), (2, crowd), (1, other)]))
    assert [(item.name, item.sought) for item in found.items] == [("7 cat", "cat"), ("7 dog", "dog")]
    assert found.left_out == 1
    cat, dog = (item.truth() for item in found.items)
    assert cat[:2, :2].all()
    assert cat[4:5, 5:7].all()
    assert cat.sum() == 4 + 2
    assert dog.nonzero().tolist() == [[0, 1], [1, 1], [2, 1]]


def test_coco_names_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="marks nothing: expected outlines; coco-instances is expected as"):
        read_marked(coco(tmp_path, []))
    (tmp_path / "annotations.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="not laid out as COCO's instances"):
        read_marked(tmp_path)
    content = {"images": [{"id": 7, "file_name": "../7.png"}], "categories": [{"id": 1, "name": "cat"}]}
    content["annotations"] = [{"image_id": 7, "category_id": 1, "segmentation": [[0, 0, 1, 1, 0, 1]]}]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"no file '../7.png'"):
        read_marked(tmp_path)


def coco_by(root, **changed):
    """A list of one square photo's one polygon, with some of it changed; photos are 9 wide and 6 high."""
    save(root / "images" / "7.png", np.zeros((6, 9, 3)))
    content = {
        "images": [{"id": 7, "file_name": "7.png", "width": 9, "height": 6}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 7, "category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 4, 1, 4]]}],
    }
    (root / "annotations.json").write_text(json.dumps(content | changed))
    return read_marked(root)


def outline(segmentation):
    return {"annotations": [{"image_id": 7, "category_id": 1, "segmentation": segmentation}]}


@pytest.mark.parametrize(
    "polygons",
    [
        [[1, 1, 6, 1, 6, 4, 1, 4]],
        [[0.5, 0.5, 7.2, 1.3, 4.9, 5.5]],
        [[0, 0, 3, 0, 3, 3, 0, 3], [5, 2, 9, 2, 9, 6, 5, 6]],
        [[-2, -2, 4, 3, 12, 8, 3, 6]],
    ],
)
def test_coco_polygons_are_drawn_as_pycocotools_draws_them(tmp_path, polygons):
    from pycocotools import mask

    drawn = mask.merge(mask.frPyObjects(polygons, 6, 9))
    area = mask.area(drawn)
    truth = coco_by(tmp_path, **outline(polygons)).items[0].truth()
    assert truth.sum() == area
    again = mask.encode(np.asfortranarray(truth.numpy().astype(np.uint8)))
    assert again["counts"] == drawn["counts"]
    compressed = {"size": [6, 9], "counts": drawn["counts"].decode()}
    assert torch.equal(coco_by(tmp_path, **outline(compressed)).items[0].truth(), truth)


def test_coco_compressed_runs_of_chance_are_what_was_compressed(tmp_path):
    from pycocotools import mask

    for seed in range(5):
        pixels = np.random.default_rng(seed).random((6, 9)) > 0.5
        packed = mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
        runs = {"size": [6, 9], "counts": packed["counts"].decode()}
        np.testing.assert_array_equal(coco_by(tmp_path, **outline(runs)).items[0].truth().numpy(), pixels)


def test_coco_photos_of_one_name_in_two_folders_are_two(tmp_path):
    for folder in ("day", "night"):
        save(tmp_path / "images" / folder / "1.png", np.zeros((6, 9, 3)))
    save(tmp_path / "images" / "day" / "1.jpg", np.zeros((6, 9, 3)))
    names = ("day/1.png", "night/1.png", "day/1.jpg")
    found = coco_by(
        tmp_path,
        images=[{"id": place, "file_name": name} for place, name in enumerate(names)],
        annotations=[
            {"image_id": place, "category_id": 1, "segmentation": [[place, 0, place + 3, 0, place + 3, 3, place, 3]]}
            for place in range(3)
        ],
    )
    assert [item.name for item in found.items] == ["day/1.png cat", "night/1 cat", "day/1.jpg cat"]
    assert [item.truth().any(dim=0).nonzero()[0].item() for item in found.items] == [0, 1, 2]
    assert found.notes == (f"1 photos in {tmp_path / 'images'} are left out: annotations.json does not name them",)


def test_coco_marks_of_another_size_than_the_photo_are_refused(tmp_path):
    for width, height in ((18, 12), (6, 9), ("9", 6), (10**30, 6)):
        images = [{"id": 7, "file_name": "7.png", "width": width, "height": height}]
        with pytest.raises(DataError, match=r"has 9 x 6 pixels, .* expected the photo that was marked, not resized"):
            coco_by(tmp_path, images=images).items[0].truth()


@pytest.mark.parametrize(
    ("turn", "width", "height", "side", "fine"),
    [
        (1, 9, 6, 9, True),
        (6, 6, 9, 9, True),
        (6, 9, 6, 9, False),
        (3, 9, 6, 9, False),
        (6, 6, 6, 6, False),
        (1, 6, 6, 6, True),
    ],
)
def test_coco_marks_on_a_photo_that_exif_turns_are_read_where_they_must_be_turned_too(
    tmp_path, turn, width, height, side, fine
):
    exif = Image.Exif()
    exif[0x0112] = turn
    images = [{"id": 7, "file_name": "7.png", "width": width, "height": height}]
    marks = outline([[0, 0, 3, 0, 3, 2, 0, 2]])
    found = coco_by(tmp_path, images=images, **marks)
    Image.new("RGB", (side, 6)).save(tmp_path / "images" / "7.png", exif=exif)
    if fine:
        assert found.items[0].truth().shape == found.items[0].image().size[::-1]
        return
    with pytest.raises(DataError, match="turned by its EXIF entry"):
        found.items[0].truth()


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ([[1, 1, 6, 1, 6]], "a polygon of 5 numbers"),
        ([[1, 1, 6, 4]], "a polygon of 4 numbers"),
        ([[1, 1, 6, 1, 10**30, 4]], "corner at"),
        ([[1, 1, 6, 1, 1e30, 4]], "corner at"),
        ([[1, 1, 6, 1, 10**400, 4]], "no finite number"),
        ([[1, 1, 6, 1, "6", 4]], "no finite number"),
        ([[1, 1, 6, 1, None, 4]], "no finite number"),
        ([[1, 1, 6, 1, True, 4]], "no finite number"),
        ([1, 1, 6, 1, 6, 4], "where a list is expected"),
        ("1 1 6 1", "where a list is expected"),
        ({"size": [6, 9], "counts": [6, 3]}, "not 54 pixels in all"),
        ({"size": [6, 9], "counts": [6, -3, 51]}, "not 54 pixels in all"),
        ({"size": [6, 9], "counts": [10**30]}, "not 54 pixels in all"),
        ({"size": [6, 9], "counts": [54.0]}, "not 54 pixels in all"),
        ({"size": [9, 6], "counts": [0, 54]}, r"runs of a mask of \[9, 6\]"),
        ({"size": [6, 9], "counts": "PPYo0"}, "runs"),
        ({"size": [6, 9], "counts": "\u00ff"}, "cannot be read"),
        ({"size": [6, 9], "counts": "o"}, "break off"),
        ({"size": [6, 9], "counts": "o" * 40}, "cannot be read"),
        ({"counts": [54]}, "size"),
        ({"size": [6, 9], "counts": [54]}, "nothing is marked"),
    ],
)
def test_coco_marks_that_are_no_outline_are_refused(tmp_path, marks, reason):
    with pytest.raises(DataError, match=reason) as caught:
        coco_by(tmp_path, **outline(marks)).items[0].truth()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1" * 5000])
def test_a_number_that_json_has_not_is_refused(tmp_path, number):
    coco_by(tmp_path)
    text = (tmp_path / "annotations.json").read_text()
    (tmp_path / "annotations.json").write_text(text.replace("[1, 1, 6", f"[1, {number}, 6"))
    with pytest.raises(DataError, match="is not valid JSON"):
        read_marked(tmp_path)


def test_coco_lists_that_contradict_themselves_are_refused(tmp_path):
    twice = [{"id": 7, "file_name": "7.png"}, {"id": 7, "file_name": "8.png"}]
    for changed, reason in (
        ({"images": twice}, "two images of the id 7"),
        ({"categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]}, "two categories of the id 1"),
        ({"categories": [{"id": 1, "name": ""}]}, "where a name is expected"),
        ({"categories": {}}, "where a list is expected"),
        ({"images": [{"id": 7, "file_name": 7}]}, "where a name is expected"),
        (
            {"annotations": [{"image_id": 9, "category_id": 1, "segmentation": [[1]]}]},
            "a mark of the image_id 9, which",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": "1", "segmentation": [[1]]}]},
            "of the category_id '1', which",
        ),
        ({"annotations": [{"image_id": 7, "category_id": 1}]}, "marks nothing: 1 pairs .* no outline"),
        ({"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]}, "two categories called 'cat'"),
        ({"categories": [{"id": 1, "name": "c\x1b[31mat"}]}, "where a name is expected"),
        ({"images": [{"id": True, "file_name": "7.png"}]}, "the id True among its images"),
        ({"images": [{"id": None, "file_name": "7.png"}]}, "the id None among its images"),
        ({"images": [{"id": 7, "file_name": "7.PNG"}]}, "no file '7.PNG': .*; '7.png' is there, which is written"),
    ):
        with pytest.raises(DataError, match=reason):
            coco_by(tmp_path, **changed)


def test_coco_has_one_entry_for_a_file_and_ids_of_one_kind_or_two(tmp_path):
    mark = {"category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 4, 1, 4]]}
    images = [{"id": one, "file_name": name} for one, name in ((7, "7.png"), ("a", "8.png"))]
    save(tmp_path / "images" / "8.png", np.zeros((6, 9, 3)))
    found = coco_by(tmp_path, images=images, annotations=[mark | {"image_id": one} for one in ("a", 7)])
    assert [item.name for item in found.items] == ["7 cat", "8 cat"]
    images[1]["file_name"] = "7.png"
    with pytest.raises(DataError, match=r"two images of the file '7\.png'"):
        coco_by(tmp_path, images=images, annotations=[mark | {"image_id": one} for one in ("a", 7)])


@pytest.mark.parametrize("side", [{"width": 18}, {"height": 12}])
def test_one_side_that_contradicts_the_photo_is_enough(tmp_path, side):
    found = coco_by(tmp_path, images=[{"id": 7, "file_name": "7.png"} | side])
    with pytest.raises(DataError, match="not resized"):
        found.items[0].truth()


def test_an_instance_without_an_outline_leaves_its_photo_and_category_out(tmp_path):
    marked = [[1, 1, 6, 1, 6, 4, 1, 4]]
    annotations = [
        {"image_id": 7, "category_id": kind, "segmentation": mark} for kind, mark in ((1, marked), (1, []), (2, marked))
    ]
    found = coco_by(tmp_path, annotations=annotations, categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}])
    assert [item.sought for item in found.items] == ["dog"]
    assert found.notes == ("1 pairs of a photo and a category are left out: an instance has no outline",)


def test_a_folder_of_plain_images_is_a_set_without_marks(tmp_path):
    save(tmp_path / "a.png", np.zeros((6, 9, 3)))
    save(tmp_path / "in" / "b.png", np.zeros((6, 9, 3)))
    found = read_marked(tmp_path)
    assert [item.name for item in found.items] == ["a.png", "in/b.png"]
    assert not found.is_marked
    (tmp_path / "in").rename(tmp_path / "images")
    with pytest.raises(DataError, match=r"neither masks/ nor annotations.json beside it: .* heat maps without scores"):
        read_marked(tmp_path)


def test_an_empty_mask_is_named(tmp_path):
    save(tmp_path / "images" / "a.png", np.zeros((6, 9, 3)))
    save(tmp_path / "masks" / "a.png", np.zeros((6, 9)))
    with pytest.raises(DataError, match=r"a.png is empty"):
        read_marked(tmp_path).items[0].truth()


def test_a_folder_in_no_layout_is_told_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"none of the layouts .*expected images/ and masks/"):
        read_marked(tmp_path)
    with pytest.raises(DataError, match="not there"):
        read_marked(f"busi:{tmp_path / 'nowhere'}")


@pytest.mark.real_data
@needs_samples
def test_the_sample_photos_are_marked_with_what_their_categories_say():
    found = read_marked(SAMPLES / "coco-mini")
    assert len(found) > 300
    assert found.items[0].sought
    for item in found.items[::60]:
        assert item.truth().shape == item.image().size[::-1]
