"""Whatever a foreign file holds, it is read, or refused by an error of ours in one line and in bounded time."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.abuse import instances
from helpers.scan_files import write_dicom
from molyneux.concepts import read_descriptions
from molyneux.datasets.captioned import read_captions_csv, read_coco_captions, read_karpathy
from molyneux.datasets.coco_instances import read_coco
from molyneux.datasets.scans import read_scan, scan_size
from molyneux.datasets.windows import Window
from molyneux.errors import MolyneuxError
from molyneux.recipes.schema import Recipe
from molyneux.records import RunSettings, TeachResult, read_record

EXAMPLES = int(os.environ.get("EXAMPLES", "25"))

few = settings(
    max_examples=EXAMPLES, deadline=4000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""A small budget, which `EXAMPLES` enlarges: the same examples each time, none of more than four seconds."""

numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -1, 10**30, 1e30, float("nan"), float("inf"), 2**31, True])
)
texts = st.one_of(
    st.text(max_size=30), st.sampled_from(["", " ", "\ud800", "\x1b[31m", "../x", "/etc/passwd", "0.png"])
)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
boxes = st.one_of(st.lists(st.lists(numbers, max_size=9), max_size=3), plain)
counts = st.one_of(
    st.lists(st.integers(-9, 900), max_size=9),
    texts,
    st.binary(max_size=20).map(lambda one: one.decode("latin-1")),
    plain,
)
sizes = st.one_of(st.just([24, 32]), st.lists(numbers, max_size=3), plain)
runs = st.fixed_dictionaries({"size": sizes, "counts": counts})
TAGS = (
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelPaddingValue",
    "NumberOfFrames", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation",
    "PhotometricInterpretation", "VOILUTFunction", "Rows", "Columns",
)  # fmt: skip
tags = st.dictionaries(
    st.sampled_from(TAGS),
    st.one_of(
        st.integers(0, 65535),
        st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
        st.sampled_from(["", "MONOCHROME1", "RGB", "SIGMOID", "LINEAR_EXACT", "NONSENSE", "0", "-1", "1e30"]),
    ),
)


def reads_or_refuses(read: Any, *arguments: Any) -> None:
    """`read` gives a value, or raises an error of ours that is one line of bounded length."""
    try:
        read(*arguments)
    except MolyneuxError as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 4000


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


@few
@given(st.one_of(st.dictionaries(texts, plain, max_size=4), plain, st.text(max_size=200)))
def test_concept_files(tmp_path, content):
    reads_or_refuses(read_descriptions, write(tmp_path / "c.json", content))
    text = content if isinstance(content, str) else yaml.dump(content)
    reads_or_refuses(read_descriptions, write(tmp_path / "c.yaml", text))


@few
@given(st.lists(st.lists(st.one_of(texts, st.sampled_from(['"', 'a"b', "a,b", "0.png"])), max_size=4), max_size=4))
def test_tables_of_captions(tmp_path, rows):
    text = "\n".join(["image,caption", *(",".join(row) for row in rows)])
    reads_or_refuses(read_captions_csv, write(tmp_path / "captions.csv", text), tmp_path)


@few
@given(plain, st.lists(st.fixed_dictionaries({}, optional={
    "id": plain, "file_name": plain, "filename": plain, "image_id": plain, "caption": plain, "split": plain,
    "sentences": st.one_of(plain, st.lists(st.fixed_dictionaries({}, optional={"raw": plain}), max_size=2)),
}), max_size=3))  # fmt: skip
def test_lists_of_captions(tmp_path, other, entries):
    for content in ({"images": entries, "annotations": entries}, {"images": other, "annotations": entries}, other):
        path = write(tmp_path / "list.json", content)
        reads_or_refuses(read_coco_captions, path, tmp_path)
        reads_or_refuses(read_karpathy, path, tmp_path)


@pytest.fixture
def coco(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 24)).save(tmp_path / "images" / "0.png")
    return tmp_path


def marks(root: Path) -> None:
    for item in read_coco(root).items:
        if item.truth is not None:
            assert item.truth().shape == (24, 32)


@few
@given(st.one_of(boxes, runs))
def test_shapes_of_coco(coco, shape):
    content = instances(annotations=[{"image_id": 0, "category_id": 1, "segmentation": shape}])
    write(coco / "annotations.json", content)
    reads_or_refuses(marks, coco)


@few
@given(st.dictionaries(st.sampled_from(["images", "categories", "annotations"]), plain, min_size=1))
def test_files_of_coco(coco, changed):
    write(coco / "annotations.json", instances(**changed))
    reads_or_refuses(marks, coco)


@few
@given(tags)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_tags_of_dicom(tmp_path, tags):
    try:
        path = write_dicom(tmp_path / "x.dcm", np.arange(64, dtype=np.int32).reshape(8, 8), **tags)
    except Exception:  # pydicom writes no such tag, so no file has it
        return
    reads_or_refuses(scan_size, path)
    reads_or_refuses(read_scan, path, Window())


@few
@given(st.one_of(plain, st.fixed_dictionaries({"version": st.just(1)}, optional={
    "model": plain, "seed": plain, "concepts": plain, "inversion": plain, "teaching": plain, "evaluation": plain,
})))  # fmt: skip
def test_configurations_and_records(tmp_path, content):
    reads_or_refuses(read_record, RunSettings, write(tmp_path / "config.yaml", yaml.dump(content)))
    reads_or_refuses(read_record, TeachResult, write(tmp_path / "scores.json", content))
    reads_or_refuses(Recipe.read, str(write(tmp_path / "r.yaml", yaml.dump(content))))
