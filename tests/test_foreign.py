"""The door for foreign files: what is no plain file of a plain size is refused at once, in one line."""

import os
import time

import pytest

from molyneux.concepts import LONGEST_DESCRIPTION, Concept, read_concepts
from molyneux.datasets.captioned import read_captioned
from molyneux.datasets.names import read_names
from molyneux.datasets.segmented import read_marked
from molyneux.errors import ConceptError, DataError, MolyneuxError
from molyneux.foreign import read_bytes, read_json, read_text, read_yaml
from molyneux.tasks.classification.prompt_pools import read_pools
from molyneux.tasks.classification.prompts import read_templates

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

WRONG = {
    "deep.json": "[" * 100_000,
    "deep-object.json": '{"a":' * 100_000,
    "deep.yaml": "[" * 20_000,
    "deep-block.yaml": "\n".join(" " * place + "a:" for place in range(1200)),
    "bomb.yaml": BOMB,
    "itself.yaml": "ring: &a [*a]\n",
    "merged.yaml": "a: &a {b: c}\nd: &d {<<: [*a, *a]}\nring: {<<: [*d, 1]}\n",
    "int.json": '{"ring": ' + "9" * 5000 + "}",
    "int.yaml": "ring: " + "9" * 5000 + "\n",
    "infinite.json": '{"ring": 1e999}',
    "nan.json": '{"ring": NaN}',
    "half.json": '{"ring": "a \\ud800 band"}',
    "half.yaml": 'ring: "a \\ud800 band"\n',
    "latin.yaml": b"ring: caf\xe9\n",
    "wide.yaml": "ring: A band.\n".encode("utf-16"),
    "empty.json": "",
    "tag.yaml": "ring: !!python/object/apply:os.system [true]\n",
    "date.yaml": "ring: 2026-99-99\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_concept_file_beyond_all_measure_is_one_line_at_once(tmp_path, name):
    content = WRONG[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    started = time.perf_counter()
    with pytest.raises(ConceptError) as caught:
        read_concepts(tmp_path / name)
    assert time.perf_counter() - started < 5
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


READERS = {
    "concepts": read_concepts,
    "names": lambda path: read_names(str(path)),
    "templates": lambda path: read_templates(str(path)),
    "pools": read_pools,
    "text": lambda path: read_text(path, "the file"),
    "json": lambda path: read_json(path, "the file"),
    "yaml": lambda path: read_yaml(path, "the file"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder", "nothing", "loop"])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path, reader, kind):
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.symlink_to("/dev/zero" if kind == "zero" else path)
    with pytest.raises(MolyneuxError, match="file"):
        READERS[reader](path)


def test_lists_that_are_pipes_or_nested_too_deeply_are_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations.json").write_text("[" * 100_000)
    for read in (read_captioned, read_marked):
        with pytest.raises(DataError, match="nested too deeply"):
            read(tmp_path)
    (tmp_path / "annotations.json").unlink()
    os.mkfifo(tmp_path / "captions.csv")
    with pytest.raises(DataError):
        read_captioned(tmp_path)


def test_a_file_above_the_limit_is_refused_without_being_read_whole(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(DataError, match="too large: expected at most 10,000,000 bytes"):
        read_bytes(path, "the file")


def test_a_key_that_is_there_twice_is_refused_wherever_it_is(tmp_path):
    for name, content, read in (
        ("a.json", '{"b": [{"seed": 1, "seed": 2}]}', read_json),
        ("a.yaml", "b:\n- seed: 1\n  seed: 2\n", read_yaml),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="the key 'seed' occurs twice"):
            read(tmp_path / name, "the file")
    (tmp_path / "b.yaml").write_text("a: &a {seed: 1, steps: 2}\nb: {<<: *a, seed: 3}\n")
    assert read_yaml(tmp_path / "b.yaml", "the file")["b"] == {"seed": 3, "steps": 2}


def test_aliases_that_repeat_little_are_read(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("ring: &band [A band., A hole.]\nhoop: *band\n")
    assert [len(concept.descriptions) for concept in read_concepts(tmp_path / "a.yaml")] == [2, 2]
    monkeypatch.setattr("molyneux.foreign.MOST_NODES", 2_000)
    (tmp_path / "b.yaml").write_text("ring: [" + "x," * 2_001 + "x]")
    with pytest.raises(ConceptError, match="more than 2,000 values"):
        read_concepts(tmp_path / "b.yaml")


def test_a_description_beyond_all_measure_or_with_half_a_character_is_refused():
    with pytest.raises(ConceptError, match="has 50,000,000 characters"):
        Concept("ring", "x" * 50_000_000)
    with pytest.raises(ConceptError, match="half a character"):
        Concept("ring", "a \ud800 band")
    assert Concept("ring", "x" * LONGEST_DESCRIPTION).descriptions
    assert Concept("cafe\u0301", "A place.").name == "caf\u00e9"
