import errno
import hashlib
import json
import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molyneux.errors import OutputError
from molyneux.files import new_folder, sha256, slug, write_bytes, write_json, write_text


@given(st.text())
def test_a_slug_is_a_plain_short_file_name(text):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug(text))
    assert len(slug(text)) <= 60


@given(st.text(), st.text())
def test_distinct_names_have_distinct_slugs(one, other):
    assert (slug(one) == slug(other)) == (one == other)


@given(st.text())
def test_a_slug_is_never_the_slug_of_another_name(text):
    assert slug(slug(text)) != slug(text) or slug(text) == text


@pytest.mark.parametrize("text", ["..", ".", "/", "../../etc/passwd", "C:\\x", "~", "-rf", "con\x00", ""])
def test_a_slug_leads_nowhere(text):
    assert not set(slug(text)) & set("/\\.:~\x00")
    assert not slug(text).startswith("-")


def test_a_slug_of_a_plain_word_is_the_word():
    assert slug("moongate") == "moongate"
    assert slug("moon-gate-2") == "moon-gate-2"


def test_a_new_folder_appears_whole_and_only_at_the_end(tmp_path):
    target = tmp_path / "deep" / "run"
    with new_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_behind(tmp_path, error):
    def fail() -> None:
        with new_folder(tmp_path / "run") as folder:
            (folder / "a").write_text("1")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_filled_and_a_full_one_may_not(tmp_path):
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "mine").write_text("1")
    with new_folder(empty) as folder:
        (folder / "a").write_text("1")
    assert (empty / "a").exists()
    for taken in (full, full / "mine"):
        with pytest.raises(OutputError, match="already exists"), new_folder(taken):
            raise AssertionError("not reached")
    assert (full / "mine").read_text() == "1"


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("1")
    with pytest.raises(OutputError, match="cannot write into"), new_folder(tmp_path / "file" / "run"):
        raise AssertionError("not reached")


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    with new_folder(tmp_path / "run"):
        pass
    (tmp_path / "plain").mkdir()
    write_text(tmp_path / "written", "1")
    (tmp_path / "usual").write_text("1")
    for ours, usual in (("run", "plain"), ("written", "usual")):
        assert stat.S_IMODE((tmp_path / ours).stat().st_mode) == stat.S_IMODE((tmp_path / usual).stat().st_mode)


def test_a_file_is_old_or_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fails(self: Path, target: Path) -> Path:
        assert self.read_bytes() == b"new"
        assert path.read_bytes() == b"old"
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(OutputError, match="disk full"):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("1")
    with pytest.raises(OutputError, match="below"):
        write_bytes(tmp_path / "file" / "below", b"1")


def test_json_is_written_as_it_is_read(tmp_path):
    value = {"é": [1, 2.5, None], "b": {}}
    write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_text(encoding="utf-8")) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "nan.json", [float("nan")])
    assert not (tmp_path / "nan.json").exists()


@given(st.binary())
def test_a_digest_is_that_of_the_content(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("digest") / "file"
    write_bytes(path, content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("kind", ["empty", "link", "here"])
def test_an_empty_folder_of_any_kind_is_filled_and_stays_itself(tmp_path, monkeypatch, kind):
    place = tmp_path / "empty"
    place.mkdir()
    target = {"empty": place, "link": tmp_path / "link", "here": Path()}[kind]
    if kind == "link":
        target.symlink_to(place)
    if kind == "here":
        monkeypatch.chdir(place)
    before = place.stat().st_ino
    with new_folder(target) as folder:
        (folder / "a").mkdir()
        (folder / "a" / "b.txt").write_text("b")
    assert place.stat().st_ino == before
    assert [path.name for path in place.iterdir()] == ["a"]
    assert (place / "a" / "b.txt").read_text() == "b"
    assert target.is_symlink() == (kind == "link")


def test_what_a_killed_process_left_goes_at_the_next_start_and_what_is_being_written_stays(tmp_path):
    left, others = tmp_path / ".run-abcd1234", tmp_path / ".runs-abcd1234"
    for folder in (left, others):
        folder.mkdir()
    (tmp_path / ".x.json-abcd1234").write_text("half")
    with new_folder(tmp_path / "run") as first:
        assert not left.exists()
        with new_folder(tmp_path / "run") as second:
            assert first.exists()
            assert second != first
            (second / "x").touch()
        (tmp_path / "run" / "x").unlink()
        (first / "y").touch()
    write_bytes(tmp_path / "x.json", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".runs-abcd1234", "run", "x.json"]


def test_without_locks_only_what_is_old_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.files.flock", lambda *_, **__: None)
    old, fresh = tmp_path / ".run-abcd1234", tmp_path / ".run-efgh5678"
    for folder in (old, fresh):
        folder.mkdir()
    os.utime(old, (1, 1))
    with new_folder(tmp_path / "run"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run-efgh5678", "run"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "make room, and repeat"),
        (errno.EFBIG, "allow larger files"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, code, words):
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", full)
    (tmp_path / "x.json").write_text("old")
    with pytest.raises(OutputError, match=words):
        write_bytes(tmp_path / "x.json", b"new")
    assert (tmp_path / "x.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError, match=words), new_folder(tmp_path / "run"):
        full()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_path_that_is_too_long_says_so(tmp_path):
    with pytest.raises(OutputError, match="shorter path"):
        write_bytes(tmp_path / ("x" * 300), b"")


def test_a_folder_that_a_file_system_made_is_empty(tmp_path):
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    with new_folder(tmp_path / "disk") as folder:
        (folder / "a").write_text("a")
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["a", "lost+found"]


def test_a_link_to_nothing_is_called_so(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OutputError, match="is a link to nothing: make the folder"), new_folder(tmp_path / "link"):
        pass
