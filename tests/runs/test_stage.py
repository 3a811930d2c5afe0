import json
from pathlib import Path

import pytest

from molyneux.errors import DataError, OutputError
from molyneux.files import new_folder, write_text
from molyneux.runs.folder import open_run
from molyneux.runs.stage import Stage, StageFolder


class Work:
    """Two stages, of which the second reads what the first left, and how often each was made."""

    def __init__(self, root: Path, **inputs: object) -> None:
        self.root, self.inputs, self.made = root, inputs, []

    def stages(self) -> list[Stage]:
        return [
            Stage(name="draw/ring", inputs=self.inputs, files=("ring",), make=self.draw),
            Stage(name="count", inputs={}, files=("count.json", "absent.json"), make=self.count),
        ]

    def draw(self) -> None:
        self.made.append("draw")
        with new_folder(self.root / "ring") as target:
            (target / "0.txt").write_text("o")
            (target / "1.txt").write_text("oo")

    def count(self) -> None:
        self.made.append("count")
        write_text(self.root / "count.json", str(len(list((self.root / "ring").iterdir()))))


def test_what_is_finished_is_not_made_again(tmp_path):
    work = Work(tmp_path, seed=0)
    StageFolder(tmp_path).run(work.stages())
    StageFolder(tmp_path).run(work.stages())
    assert work.made == ["draw", "count"]
    assert (tmp_path / "count.json").read_text() == "2"


def test_other_inputs_make_that_stage_again_and_no_other(tmp_path):
    StageFolder(tmp_path).run(Work(tmp_path, seed=0).stages())
    told, other = [], Work(tmp_path, seed=1)
    StageFolder(tmp_path, lambda *step: told.append(step)).run(other.stages())
    assert other.made == ["draw"]
    assert told == []


@pytest.mark.parametrize("how", ["changed", "removed", "added"])
def test_a_damaged_file_is_made_again_and_this_is_said(tmp_path, how):
    first = Work(tmp_path)
    StageFolder(tmp_path).run(first.stages())
    path = tmp_path / "ring" / "1.txt"
    if how == "changed":
        path.write_text("o0")
    elif how == "removed":
        path.unlink()
    else:
        (tmp_path / "ring" / "2.txt").write_text("o")
    told, again = [], Work(tmp_path)
    StageFolder(tmp_path, lambda *step: told.append(step)).run(again.stages())
    assert again.made == ["draw"]
    assert sorted(path.name for path in (tmp_path / "ring").iterdir()) == ["0.txt", "1.txt"]
    assert path.read_text() == "oo"
    place = "2.txt" if how == "added" else "1.txt"
    assert told == [(f"draw/ring is made again: ring/{place} is not as it was left", 1, 1)]


def test_a_stage_that_was_cut_starts_again(tmp_path):
    def cut() -> None:
        write_text(tmp_path / "a.txt", "a")
        raise KeyboardInterrupt

    def whole() -> None:
        assert not (tmp_path / "a.txt").exists()
        write_text(tmp_path / "a.txt", "a")
        write_text(tmp_path / "b.txt", "b")

    def stage(make) -> Stage:
        return Stage(name="write", inputs={}, files=("a.txt", "b.txt"), make=make)

    with pytest.raises(KeyboardInterrupt):
        StageFolder(tmp_path).run([stage(cut)])
    assert not StageFolder(tmp_path).is_finished(stage(whole))
    StageFolder(tmp_path).run([stage(whole)])
    assert StageFolder(tmp_path).is_finished(stage(cut))


def test_a_stage_goes_on_from_the_files_that_it_continues_unless_they_were_finished_and_damaged(tmp_path):
    seen = []

    def write() -> None:
        seen.append((tmp_path / "a.txt").exists())
        write_text(tmp_path / "a.txt", "a")
        if len(seen) == 1:
            raise KeyboardInterrupt

    stage = Stage(name="write", inputs={}, files=("a.txt",), make=write, continued=("a.txt",))
    with pytest.raises(KeyboardInterrupt):
        StageFolder(tmp_path).run([stage])
    StageFolder(tmp_path).run([stage])
    (tmp_path / "a.txt").write_text("b")
    StageFolder(tmp_path).run([stage])
    assert seen == [False, True, False]


def test_a_record_that_cannot_be_read_counts_for_nothing(tmp_path):
    work = Work(tmp_path)
    StageFolder(tmp_path).run(work.stages())
    for record in (tmp_path / ".work" / "stages").iterdir():
        record.write_text('{"inputs"')
    StageFolder(tmp_path).run(work.stages())
    assert work.made == ["draw", "count"] * 2


def test_a_value_is_computed_once(tmp_path):
    calls = []

    def compute() -> dict[str, float]:
        calls.append(1)
        return {"b": 0.1, "a": 1 / 3}

    folder = StageFolder(tmp_path)
    for _ in range(2):
        found = folder.value("measure/noise", {"seed": 0}, compute)
        assert list(found.items()) == [("b", 0.1), ("a", 1 / 3)]
    assert len(calls) == 1


def test_a_run_keeps_its_weights_its_times_and_its_notes(tmp_path):
    root = tmp_path / "run"
    told: list[str] = []
    folder = open_run(root, {"seed": 0}, {"mini": "a" * 64}, lambda what, done, total: told.append(what))
    folder.run(Work(root).stages())
    (root / "count.json").write_text("3")
    again = open_run(root, {"seed": 0}, {"mini": "a" * 64})
    assert again.timings.keys() == {"draw", "count"}
    again.run(Work(root).stages())
    assert again.notes == ["count is made again: count.json is not as it was left"]
    assert open_run(root, {"seed": 0}, {}).notes == again.notes
    with pytest.raises(OutputError, match="other weights of 'mini'"):
        open_run(root, {"seed": 0}, {"mini": "b" * 64})
    with pytest.raises(OutputError, match="other settings"):
        open_run(root, {"seed": 1}, {"mini": "a" * 64})
    again.finish()
    assert sorted(path.name for path in root.iterdir()) == ["config.yaml", "count.json", "digests.json", "ring"]
    with pytest.raises(OutputError, match="finished run"):
        open_run(root, {"seed": 0}, {"mini": "a" * 64})


def test_what_is_timed_inside_counts_there_alone(tmp_path, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("molyneux.runs.folder.time.perf_counter", lambda: float(next(clock)))
    folder = open_run(tmp_path / "run", {}, {})
    with folder.timed("outer"), folder.timed("inner"):
        pass
    assert folder.timings == {"inner": 1.0, "outer": 2.0}
    assert json.loads((tmp_path / "run" / ".unfinished").read_text())["timings"] == folder.timings


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_is_refused_before_anything_is_finished_leaves_nothing(tmp_path, there):
    root = tmp_path / "run"
    if there:
        root.mkdir()

    def refuse() -> None:
        raise DataError("a bad mask")

    folder = open_run(root, {"a": 1}, {"m": "0" * 64})
    with pytest.raises(DataError):
        folder.run([Stage(name="maps", inputs={}, files=("maps",), make=refuse)])
    assert root.is_dir() == there
    assert [*tmp_path.rglob("*")] == [root] * there


def test_a_run_that_is_refused_later_keeps_what_is_finished(tmp_path):
    root = tmp_path / "run"

    def refuse() -> None:
        raise DataError("a bad mask")

    folder = open_run(root, {"a": 1}, {"m": "0" * 64})
    first = Stage(name="first", inputs={}, files=("first",), make=lambda: write_text(root / "first", "x"))
    with pytest.raises(DataError):
        folder.run([first, Stage(name="maps", inputs={}, files=("maps",), make=refuse)])
    assert open_run(root, {"a": 2}, {"m": "0" * 64}).is_finished(first)
