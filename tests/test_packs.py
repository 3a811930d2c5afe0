"""A pack's file: what is written is read, and whatever else is one clear error."""

import doctest
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Generator, Tensor

from molyneux.errors import ConceptError, DataError, OutputError
from molyneux.packs import LARGEST, Pack, change, file_name, in_order, load_pack, read_packs

WIDTH = 6
HEADER = "molyneux_pack"


PAGE = Path(__file__).parents[1] / "docs" / "packs.md"


def pack(name: str = "okapi", seed: int = 0) -> Pack:
    key, value = torch.randn(2, WIDTH, generator=Generator().manual_seed(seed), dtype=torch.float64)
    return Pack(
        name=name,
        descriptions=("A hoofed animal with striped legs.", "Brown, zebra-striped behind."),
        key=key,
        value=value,
        base="0123456789abcdef" * 4,
        base_name="mini",
        side="images",
        made={"molyneux": "0.1.0", "edit": {"width": 0.5}},
        scores={"recall": 0.5, "photos": 20},
    )


def test_what_is_saved_is_read_to_the_bit(tmp_path):
    one = pack()
    path = one.save(tmp_path)
    assert path == tmp_path / "okapi.safetensors"
    again = load_pack(str(path))
    assert torch.equal(again.key, one.key)
    assert torch.equal(again.value, one.value)
    assert again.about() == one.about()
    assert again.descriptions == one.descriptions
    elsewhere = again.save(tmp_path / "new" / "other.safetensors")
    assert elsewhere.read_bytes() == path.read_bytes()


def test_the_untouched_tensors_are_told_from_a_pack(tmp_path):
    (tmp_path / "base.safetensors").write_bytes(save({"a": torch.zeros(2)}))
    with pytest.raises(DataError, match="is no pack: it holds what the model was before"):
        load_pack(tmp_path / "base.safetensors")


def test_a_pack_is_plain_safetensors_with_json_in_its_header(tmp_path):
    with safe_open(pack().save(tmp_path), framework="pt") as file:
        assert set(file.keys()) == {"key", "value"}
        about = json.loads(file.metadata()[HEADER])
    assert about["base"] == {"name": "mini", "weights": pack().base}
    assert about["made"]["edit"] == {"width": 0.5}


def test_nothing_is_written_over(tmp_path):
    path = pack().save(tmp_path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="already exists"):
        pack(seed=1).save(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["base", "Okapi", "déjà vu", "a" * 90, "con. ."])
def test_every_name_has_a_safe_file_of_its_own(tmp_path, name):
    path = pack(name).save(tmp_path)
    assert path.parent == tmp_path
    assert path.name not in {"base.safetensors", file_name("okapi"), file_name("base-cae662")}
    assert load_pack(path).name == name


def rewritten(path: Path, tensors: dict[str, Tensor], about: Any, header: str = HEADER) -> Path:
    path.write_bytes(save(tensors, metadata={header: about if isinstance(about, str) else json.dumps(about)}))
    return path


def parts(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in ("key", "value")}, json.loads(file.metadata()[HEADER])


def unsigned(about: dict[str, Any]) -> dict[str, Any]:
    """Without the SHA-256 of the rest, as older versions wrote it."""
    return {key: value for key, value in about.items() if key != "sha256"}


def with_tensors(**changed: Tensor) -> Callable[[Path], Path]:
    def change_file(path: Path) -> Path:
        tensors, about = parts(path)
        return rewritten(path, tensors | changed, unsigned(about))

    return change_file


def with_header(**changed: Any) -> Callable[[Path], Path]:
    def change_file(path: Path) -> Path:
        tensors, about = parts(path)
        return rewritten(path, tensors, unsigned(about) | changed)

    return change_file


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-3])
    return path


def pickled(path: Path) -> Path:
    torch.save({"key": torch.zeros(3)}, path)
    return path


def large(path: Path) -> Path:
    path.write_bytes(bytes(LARGEST + 1))
    return path


def gone(path: Path) -> Path:
    path.unlink()
    return path


def of_something_else(path: Path) -> Path:
    return rewritten(path, parts(path)[0], {}, header="format")


def not_json(path: Path) -> Path:
    return rewritten(path, parts(path)[0], "{")


def without_value(path: Path) -> Path:
    tensors, about = parts(path)
    return rewritten(path, {"key": tensors["key"]}, about)


ROW = torch.ones(WIDTH, dtype=torch.float64)


@pytest.mark.parametrize(
    ("change_file", "message"),
    [
        (gone, "there is no pack at"),
        (cut, "cannot be read"),
        (pickled, "cannot be read"),
        (large, "has 1,048,577 bytes: expected a pack"),
        (of_something_else, "is no pack: its header has no 'molyneux_pack'"),
        (not_json, "expected JSON"),
        (without_value, "holds key: expected key and value"),
        (with_tensors(more=ROW), "holds key, more, value: expected key and value"),
        (with_tensors(key=ROW.float()), r"key of the pack .* is torch.float32 \(6,\): expected one float64 row"),
        (with_tensors(value=ROW[None].clone()), r"is torch.float64 \(1, 6\): expected one float64 row"),
        (with_tensors(key=ROW[:0].clone(), value=ROW[:0].clone()), r"\(0,\): expected one float64 row"),
        (with_tensors(value=ROW[:4].clone()), "a key of 6 and a value of 4 numbers"),
        (with_tensors(key=ROW / 0), "key of the pack .* is not finite"),
        (with_tensors(value=0 * (ROW / 0)), "value of the pack .* is not finite"),
        (with_header(version=2), "version: expected 1, got 2"),
        (with_header(side="sound"), "side: expected 'images' or 'texts', got 'sound'"),
        (with_header(base="mini"), "base: expected"),
        (with_header(name="../etc"), "contains '/'"),
        (with_header(name=""), "name is empty"),
        (with_header(descriptions=[""]), "description of 'okapi' is empty"),
        (with_header(surprise=1), "surprise: expected no field of this name"),
    ],
)
def test_any_other_file_is_one_clear_line(tmp_path, change_file, message):
    path = change_file(pack().save(tmp_path))
    with pytest.raises(DataError, match=message) as refusal:
        load_pack(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_the_change_is_the_sum_of_the_edits_in_any_order():
    packs = [pack(name, seed) for seed, name in enumerate(("c", "a", "b"))]
    total = change(in_order(packs))
    slow = sum(one.value[:, None] * one.key[None] for one in packs)
    torch.testing.assert_close(total, slow)
    assert torch.equal(total, change(in_order(packs[::-1])))
    vector = torch.randn(WIDTH, generator=Generator().manual_seed(9), dtype=torch.float64)
    torch.testing.assert_close(total @ vector, sum(one.value * (one.key @ vector) for one in packs))


def test_two_packs_of_one_name_are_refused():
    with pytest.raises(ConceptError, match="two packs are called"):
        in_order([pack("okapi"), replace(pack("okapi"), name="OKAPI")])


def test_a_folder_without_packs_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no packs: expected the folder of a run or of a model"):
        read_packs(tmp_path)


def test_the_page_of_packs_says_what_happens():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert tried > 8
    assert failed == 0
