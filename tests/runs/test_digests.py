"""A flipped bit in what a run or a saved model keeps is refused, or changes nothing."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import QUICK, REPLAY, RING, settings_for, use_few_classes, write_photos
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.cli.flags import configured_concepts
from molyneux.digests import check_digests, write_digests
from molyneux.errors import DataError, ModelError, MolyneuxError
from molyneux.packs import load_pack, read_packs
from molyneux.pipeline.teach_run import teach_concepts
from molyneux.records import CONFIG, DIGESTS
from molyneux.report.html import write_report
from molyneux.teaching.config import TeachingConfig

PAGES = (".html", ".md")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("digests")
    photos = write_photos(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLYNEUX_CACHE", str(root / "cache"))
        use_few_classes(patch, 6)
        return teach_concepts(
            settings_for(
                root / "run",
                photos,
                model="tiny:clip",
                images_from="inversion",
                inversion=QUICK,
                teaching=TeachingConfig(),
                replay=REPLAY,
                show=photos / "novel",
                controls=False,
            )
        )


def flipped(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def model_of(run: Path) -> Any:
    model = load(run)
    return weights_digest(model.native), model.lineage, model.embed_texts(["a ring", "striped legs"]).tolist()


def packs_of(run: Path) -> Any:
    return [pack.content() for pack in read_packs(run)]


def report_of(run: Path) -> Any:
    return write_report(run).read_bytes().replace(str(run).encode(), b"")


def config_of(run: Path) -> Any:
    return configured_concepts(None, (), None, run / CONFIG)


DOORS: dict[str, Callable[[Path], Any]] = {
    "load": model_of,
    "packs": packs_of,
    "report": report_of,
    "config": config_of,
}


def test_every_file_of_a_run_is_listed_once(run):
    lists = {path.parent: check_digests(path.parent) for path in run.rglob(DIGESTS)}
    assert set(lists) == {run, run / "model"}
    listed = [folder / name for folder, files in lists.items() for name in files]
    there = [path for path in run.rglob("*") if path.is_file() and path.suffix not in PAGES and path.name != DIGESTS]
    assert sorted(listed) == sorted(there)


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_of_a_run_is_refused_or_changes_nothing(run, tmp_path):
    whole = {name: door(run) for name, door in DOORS.items()}
    chance, copy = random.Random(0), shutil.copytree(run, tmp_path / "copy")
    wrong, refused = [], {}
    for path in sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file()):
        content = (copy / path).read_bytes()
        place = chance.randrange(len(content))
        flipped(copy / path, place, chance.randrange(8))
        for name in ("load", "packs") if path.parts[0] == "model" else ("packs", "report", "config"):
            try:
                if DOORS[name](copy) != whole[name]:
                    wrong.append((name, str(path), place))
            except MolyneuxError as error:
                refused[name, path.as_posix()] = str(error)
        (copy / path).write_bytes(content)
    assert wrong == []
    assert {("load", f"model/{name}") for name in check_digests(run / "model")} <= refused.keys()
    assert {("report", name) for name in check_digests(run)} <= refused.keys()
    assert {("packs", "scores.json"), ("config", "config.yaml")} <= refused.keys()
    assert [error for error in refused.values() if "\n" in error] == []


def test_a_flipped_bit_in_a_pack_is_refused_or_changes_nothing(run, tmp_path):
    pack = next(one for one in read_packs(run) if one.name == RING.name)
    chance, content = random.Random(1), pack.content()
    path, refused = tmp_path / "ring.safetensors", []
    for _ in range(60):
        path.write_bytes(content)
        flipped(path, chance.randrange(len(content)), chance.randrange(8))
        try:
            found = load_pack(path)
        except DataError as error:
            refused.append(str(error))
        else:
            assert found.content() == content
    assert len(refused) > 50
    assert [error for error in refused if "\n" in error] == []


def test_what_was_changed_is_named_with_what_to_do_and_is_loaded_once_that_is_done(run, tmp_path):
    model = shutil.copytree(run / "model", tmp_path / "model")
    names = (model / "concepts.json").read_text()
    (model / "concepts.json").write_text(names.replace("round band", "broad band"))
    with pytest.raises(ModelError, match=r"concepts\.json is not what was saved .*teach, convert or fetch .*remove"):
        load(model)
    (model / DIGESTS).unlink()
    assert load(model).concepts[0].descriptions == ("A broad band of one colour with a hole.",)
    (model / DIGESTS).write_text("{}")
    with pytest.raises(ModelError, match=r"digests\.json is not what was saved"):
        load(model)


def test_a_missing_file_is_met_and_an_added_one_is_not(tmp_path):
    for name in ("a.txt", "b/c.bin", "page.html", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write_digests(tmp_path)
    (tmp_path / "later.txt").write_text("new")
    assert set(check_digests(tmp_path)) == {"a.txt", "b/c.bin"}
    assert set(check_digests(tmp_path, ("b/",))) == {"b/c.bin"}
    (tmp_path / "b" / "c.bin").unlink()
    assert set(check_digests(tmp_path, ("a",))) == {"a.txt"}
    with pytest.raises(DataError, match=r"c\.bin is missing"):
        check_digests(tmp_path)


def test_a_list_that_leads_out_of_its_folder_is_refused(tmp_path):
    (tmp_path / DIGESTS).write_text('{"version": 1, "files": {"../a.txt": "0"}}')
    (tmp_path.parent / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"a\.txt is missing"):
        check_digests(tmp_path)
