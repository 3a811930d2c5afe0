"""Lists of names, ImageNet's first."""

import csv

import pytest

from helpers.sample_folder import SAMPLES, needs_samples
from molyneux.datasets.imagenet import imagenet_names, imagenet_wnids, name_of_wnid
from molyneux.datasets.names import read_names
from molyneux.errors import DataError


def test_imagenet_has_a_thousand_classes_of_which_two_pairs_share_a_name():
    names = imagenet_names()
    assert len(names) == len(imagenet_wnids()) == 1000
    assert sorted(name for name in set(names) if names.count(name) > 1) == ["missile", "sunglasses"]
    assert all(name == name.strip() and name for name in names)


def test_ids_and_names_stand_in_the_same_order():
    assert [name_of_wnid(wnid) for wnid in imagenet_wnids()] == list(imagenet_names())
    assert name_of_wnid("n15075141") == "toilet paper"
    assert name_of_wnid("tench") is None


def test_a_file_gives_its_lines_without_space_and_empty_ones(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffokapi\r\n\r\n  red   panda \nÅre\n".encode())
    assert read_names(str(path)) == ("okapi", "red panda", "Åre")
    assert read_names("imagenet-1k") == imagenet_names()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no names"),
        (b"\n \n", "holds no names"),
        (b"okapi\ntench\nOkapi\n", "'Okapi' stands on line 1 and on line 3"),
        (b"\xff\xfe\x00", "cannot read the names"),
        (b"okapi\n" + 501 * b"x", "line 2 of .* has 501 characters: expected a name of at most 500"),
    ],
)
def test_a_file_that_is_no_list_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_names(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_with_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"No such file.*'imagenet-1k' or a text file"):
        read_names(str(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="it is a folder"):
        read_names(str(tmp_path))


@pytest.mark.real_data
@needs_samples
def test_the_table_agrees_with_an_independent_one():
    with (SAMPLES / "imagenet_classes.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["wnid"] for row in rows] == list(imagenet_wnids())
    assert [row["name"] for row in rows] == list(imagenet_names())
