"""Published layouts in miniature: what each loader reads, and that it says what is missing and where it can be had."""

import json
from collections import Counter
from pathlib import Path

import pytest

from helpers.sample_folder import SAMPLES, needs_samples
from molyneux.datasets.folders import PhotoFolder, read_folder
from molyneux.datasets.imagenet import imagenet_names, imagenet_wnids
from molyneux.datasets.imagenet_sets import read_imagenet
from molyneux.datasets.radiographs import (
    BENIGN_NODULE,
    CHEXPERT_CLASSES,
    LUNG_CANCER,
    NO_NODULE,
    NODULE,
    read_chexpert,
    read_jsrt_malignancy,
    read_jsrt_nodules,
)
from molyneux.datasets.sets import SETS, named_set, read_set
from molyneux.errors import DataError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def labels(photos: PhotoFolder) -> dict[str, str]:
    """The class of each photo, by its path."""
    places = zip(photos.relative_paths, photos.photos, strict=True)
    return {path: photos.names[photo.label] for path, photo in places}


@pytest.fixture(scope="module")
def by_class(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("imagenet")
    for wnid in imagenet_wnids():
        touch(root / wnid / "a.JPEG")
    return root


@pytest.fixture
def flat(tmp_path) -> Path:
    for number in range(1, 1002):
        touch(tmp_path / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    return tmp_path


def order() -> list[str]:
    """A class for each of 1,001 photos: all classes, in no order in particular, one of them twice."""
    wnids = imagenet_wnids()
    return [wnids[(7 * place + 3) % 1000] for place in range(1001)]


@pytest.mark.parametrize("layout", ["ids", "kaggle", "places", "pairs"])
def test_a_flat_folder_beside_any_of_its_lists_is_the_folder_per_class(flat, layout):
    wnids, stems = order(), [f"ILSVRC2012_val_{number:08d}" for number in range(1, 1002)]
    pairs = list(zip(stems, wnids, strict=True))
    place = {wnid: index for index, wnid in enumerate(imagenet_wnids())}
    texts = {
        "ids": ("imagenet_2012_validation_synset_labels.txt", "\n".join(wnids)),
        "kaggle": (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n" + "\n".join(f"{stem},{wnid} 85 1 499 272 " for stem, wnid in reversed(pairs)),
        ),
        "places": ("val.txt", "\n".join(f"{stem}.JPEG {place[wnid]}" for stem, wnid in pairs) + "\n"),
        "pairs": ("val.txt", "\r\n".join(f"{stem}.JPEG\t{wnid}" for stem, wnid in pairs)),
    }
    name, text = texts[layout]
    (flat / name).write_text(text)
    photos = read_imagenet(flat)
    names = dict(zip(imagenet_wnids(), imagenet_names(), strict=True))
    assert labels(photos) == {f"val/{stem}.JPEG": names[wnid] for stem, wnid in pairs}
    assert photos.names == tuple(dict.fromkeys(imagenet_names()))
    later = {wnid for wnid, name in names.items() if list(names.values()).index(name) < place[wnid]}
    assert len(later) == 2
    marked = {path for path, photo in zip(photos.relative_paths, photos.photos, strict=True) if photo.later}
    assert marked == {f"val/{stem}.JPEG" for stem, wnid in pairs if wnid in later}


def test_imagenet_by_class_goes_by_either_set_of_names(by_class):
    assert len(read_set(f"imagenet-1k:{by_class}")) == 1000
    curated = read_set(f"imagenet-1k:{by_class}")
    assert curated.names == read_folder(by_class).names
    lemmas = read_set(f"imagenet-1k:{by_class}", class_names="wordnet")
    assert lemmas.names == tuple(dict.fromkeys(imagenet_names("wordnet")))
    assert lemmas.paths != ()
    assert "through arch bridge" in curated.names
    assert "steel arch bridge" in lemmas.names


def test_imagenet_100_lies_in_its_own_folder_or_in_any(tmp_path):
    for wnid in imagenet_wnids()[:100]:
        touch(tmp_path / "val.X" / wnid / "a.JPEG")
    touch(tmp_path / "train.X1" / imagenet_wnids()[0] / "b.JPEG")
    found = read_set(f"imagenet-100:{tmp_path}")
    assert found.names == imagenet_names()[:100]
    assert found.paths == read_set(f"imagenet-100:{tmp_path / 'val.X'}").paths


@pytest.fixture
def chexpert(tmp_path) -> Path:
    entries = {}
    for index in range(10):
        label = [int(place == index % 5) for place in range(5)]
        file = f"train/patient{index:05d}/study1/view1_frontal.jpg"
        touch(tmp_path / file)
        entries[str(index)] = {"image_path": file, "label": label}
    (tmp_path / "chexpert_5x200.json").write_text(json.dumps(entries))
    return tmp_path


def test_chexpert_is_read_from_its_list(chexpert):
    photos = read_chexpert(chexpert, per_class=2)
    assert photos.names == CHEXPERT_CLASSES
    assert labels(photos)["train/patient00007/study1/view1_frontal.jpg"] == CHEXPERT_CLASSES[7 % 5]
    assert Counter(labels(photos).values()) == dict.fromkeys(CHEXPERT_CLASSES, 2)
    with pytest.raises(DataError, match=r"2 radiographs of 'Atelectasis', not 200.*CheXpert"):
        read_set(f"chexpert-5x200:{chexpert}")


@pytest.mark.parametrize("file", ["../secret.jpg", "/etc/secret.jpg", "train/none.jpg", 3])
def test_chexpert_reads_nothing_outside_its_folder(chexpert, file):
    path = chexpert / "chexpert_5x200.json"
    entries = json.loads(path.read_text())
    entries["0"]["image_path"] = file
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"which is not in"):
        read_chexpert(chexpert, per_class=2)


@pytest.mark.parametrize("label", [[1, 1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0, 0], "Edema", None])
def test_chexpert_takes_one_finding_for_each(chexpert, label):
    path = chexpert / "chexpert_5x200.json"
    path.write_text(json.dumps({"0": {"image_path": "train/a.jpg", "label": label}}))
    with pytest.raises(DataError, match=r"cannot read the list"):
        read_chexpert(chexpert)


@pytest.fixture
def jsrt(tmp_path) -> Path:
    lines = []
    for number in (1, 2, 3):
        touch(tmp_path / "Nodule154images" / f"JPCLN{number:03d}.png")
        kind = "benign" if number == 2 else "malignant"
        lines.append(f"JPCLN{number:03d}.IMG\t5\t15\t53\tfemale\t1634\t692\t{kind}\tl.upper lobe\tlung cancer\r\n")
    for number in (1, 2):
        touch(tmp_path / "NonNodule93images" / f"JPCNN{number:03d}.png")
    touch(tmp_path / "masks.png")
    (tmp_path / "CLNDAT_EN.txt").write_text("".join(lines))
    return tmp_path


def test_jsrt_is_read_both_ways(jsrt):
    nodules = labels(read_jsrt_nodules(jsrt, (3, 2)))
    assert Counter(nodules.values()) == {NODULE: 3, NO_NODULE: 2}
    assert nodules["NonNodule93images/JPCNN002.png"] == NO_NODULE
    assert labels(read_jsrt_malignancy(jsrt, (2, 1))) == {
        "Nodule154images/JPCLN001.png": LUNG_CANCER,
        "Nodule154images/JPCLN003.png": LUNG_CANCER,
        "Nodule154images/JPCLN002.png": BENIGN_NODULE,
    }


def test_jsrt_says_what_is_amiss(jsrt):
    with pytest.raises(DataError, match=r"3 radiographs with a nodule.*not 154 and 93.*db\.jsrt\.or\.jp"):
        read_set(f"jsrt-nodules:{jsrt}")
    with pytest.raises(DataError, match=r"2 malignant and 1 benign"):
        read_set(f"jsrt-malignancy:{jsrt}")
    twin = touch(jsrt / "again" / "JPCLN001.jpg")
    with pytest.raises(DataError, match=r"holds JPCLN001 twice"):
        read_jsrt_nodules(jsrt, (3, 2))
    twin.unlink()
    touch(jsrt / "Nodule154images" / "JPCLN004.png")
    with pytest.raises(DataError, match=r"does not say whether JPCLN004"):
        read_jsrt_malignancy(jsrt)
    (jsrt / "CLNDAT_EN.txt").unlink()
    with pytest.raises(DataError, match=r"holds no CLNDAT_EN.txt"):
        read_jsrt_malignancy(jsrt)


def test_rare_concepts_are_those_of_the_paper(tmp_path):
    for folder in ("moongate", "Gyroscope", "harbour"):
        touch(tmp_path / folder / "1.jpg")
    assert read_set(f"rare-concepts:{tmp_path}").names == ("Gyroscope", "moongate")
    assert read_set(f"rare-concepts:{tmp_path}", only=["MOONGATE"]).names == ("moongate",)
    with pytest.raises(DataError, match=r"no photos of any of 'tonometer'"):
        read_set(f"rare-concepts:{tmp_path}", only=["tonometer"])


@pytest.mark.parametrize("one", [one for one in SETS if one.read and one.name != "folder"], ids=lambda one: one.name)
def test_what_is_missing_is_said_with_what_was_expected_and_where_it_can_be_had(one, tmp_path):
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError) as caught:
            read_set(f"{one.name}:{root}")
        assert str(root) in str(caught.value)
        assert one.layout in str(caught.value)
        assert one.source in str(caught.value)
        assert "\n" not in str(caught.value)


def test_lists_that_do_not_fit_the_photos_are_named(flat, tmp_path):
    path = flat / "val.txt"
    path.write_text("\n".join(str(place % 1000 + 1) for place in range(1001)))
    with pytest.raises(DataError, match=r"an order of their own"):
        read_imagenet(flat)
    path.write_text("\n".join(order()[:-1]))
    with pytest.raises(DataError, match=r"no class for 1 of the photos.*00001001"):
        read_imagenet(flat)
    path.write_text("\n".join([*order(), "n01440764"]))
    with pytest.raises(DataError, match=r"1 of the photos in .* are not in .*00001002"):
        read_imagenet(flat)
    path.write_text("\n".join(["n01440764"] * 1001))
    with pytest.raises(DataError, match=r"1 classes, not of 1000"):
        read_imagenet(flat)
    path.write_text("ILSVRC2012_val_00000001.JPEG n99999999")
    with pytest.raises(DataError, match=r"its WordNet id, got"):
        read_imagenet(flat)
    (flat / "test.txt").touch()
    with pytest.raises(DataError, match=r"2 lists"):
        read_imagenet(flat)


def test_a_part_of_imagenet_is_no_imagenet(tmp_path):
    touch(tmp_path / imagenet_wnids()[0] / "a.jpg")
    with pytest.raises(DataError, match=r"1 classes, not of 1000"):
        read_set(f"imagenet-1k:{tmp_path}")
    touch(tmp_path / "cups" / "a.jpg")
    with pytest.raises(DataError, match=r"'cups', which is no WordNet id"):
        read_set(f"imagenet-100:{tmp_path}")


def test_only_a_known_name_before_the_colon_names_a_set(tmp_path):
    assert named_set("harbour:photos") == (SETS[0], Path("harbour:photos"))
    assert named_set("coco:photos") == (SETS[0], Path("coco:photos"))
    assert named_set(tmp_path) == (SETS[0], tmp_path)
    assert len({one.name for one in SETS}) == len(SETS)


@needs_samples
@pytest.mark.real_data
def test_the_samples_are_read_under_their_names():
    assert (
        read_set(f"imagenet-1k:{SAMPLES / 'imagenet1k-sample'}").names
        == read_folder(SAMPLES / "imagenet1k-sample").names
    )
    chest = read_set(f"chest-x-ray:{SAMPLES / 'medical' / 'chest-x-ray'}")
    assert (len(chest), set(chest.names)) == (120, {"no findings", "pneumonia", "covid 19"})
