"""Lessons one at a time: none at once with another, none lost, each stopped where it is."""

import threading
import time
from dataclasses import replace

import pytest

from helpers.runs import settings_for
from molyneux.app import queue as module
from molyneux.app.queue import MOST_WAITING, LessonQueue
from molyneux.concepts import Concept
from molyneux.errors import DataError, OutputError
from molyneux.inversion.config import InversionConfig
from molyneux.records import TracePoint


@pytest.fixture
def teaching(monkeypatch):
    """What each lesson does instead of teaching: wait to be let go, and count how many do at once."""

    class Teaching:
        def __init__(self):
            self.going, self.order, self.fails = threading.Event(), [], None
            self.now = self.most = 0

        def __call__(self, settings, on_step, on_images):
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(settings.concepts[0].name)
            try:
                settings.out.mkdir(parents=True)
                while not self.going.wait(0.005):
                    on_step("waiting", 1, 2)
                if self.fails:
                    raise self.fails
            finally:
                self.now -= 1

    found = Teaching()
    monkeypatch.setattr(module, "teach_concepts", found)
    return found


def named(tmp_path, name="ring"):
    return replace(settings_for(tmp_path / name, None), concepts=(Concept(name, "A round band."),))


def until(true):
    limit = time.monotonic() + 10
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_lessons_run_one_at_a_time_in_the_order_in_which_they_came(queue, teaching, tmp_path, ended):
    lessons = [queue.add(str(place), named(tmp_path, f"thing {place}")) for place in range(6)]
    until(lambda: lessons[0].progress.state == "running" and lessons[0].progress.what == "waiting")
    assert [one.progress.before for one in lessons[1:]] == [1, 2, 3, 4, 5]
    teaching.going.set()
    assert {ended(one).progress.state for one in lessons} == {"done"}
    assert teaching.most == 1
    assert teaching.order == [f"thing {place}" for place in range(6)]


def test_lessons_of_one_name_have_folders_of_their_own(queue, teaching, tmp_path, ended):
    lessons = [queue.add(str(place), named(tmp_path)) for place in range(3)]
    teaching.going.set()
    assert {ended(one).progress.state for one in lessons} == {"done"}
    assert [one.settings.out.name for one in lessons] == ["ring", "ring-2", "ring-3"]


def test_a_lesson_is_stopped_while_it_runs_and_before_it_begins(queue, teaching, tmp_path, ended):
    first, second, third = (queue.add(key, named(tmp_path, key)) for key in ("one", "two", "three"))
    until(lambda: first.progress.what == "waiting")
    queue.stop("two")
    assert second.progress.state == "stopped"
    assert third.progress.before == 1
    queue.stop("one")
    assert ended(first).progress.state == "stopped"
    teaching.going.set()
    assert ended(third).progress.state == "done"
    assert teaching.order == ["one", "three"]
    queue.stop("three")
    queue.stop("no such lesson")
    assert third.progress.state == "done"


@pytest.mark.parametrize(
    ("error", "said"),
    [(DataError("no photo at x"), "no photo at x"), (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0")],
)
def test_an_error_is_told_and_the_next_lesson_runs(queue, teaching, tmp_path, ended, error, said):
    teaching.fails = error
    teaching.going.set()
    failed = ended(queue.add("a", named(tmp_path)))
    assert failed.progress.state == "failed"
    assert said in failed.progress.error
    teaching.fails = None
    assert ended(queue.add("b", named(tmp_path, "cross"))).progress.state == "done"


def test_too_many_lessons_are_refused(queue, teaching, tmp_path):
    first = queue.add("first", named(tmp_path, "first"))
    until(lambda: first.progress.what == "waiting")
    for place in range(MOST_WAITING):
        queue.add(str(place), named(tmp_path, f"thing {place}"))
    with pytest.raises(OutputError, match="20 lessons are waiting"):
        queue.add("more", named(tmp_path, "more"))


def test_a_closed_queue_stops_all_lessons(teaching, tmp_path):
    queue = LessonQueue()
    lessons = [queue.add(key, named(tmp_path, key)) for key in ("one", "two")]
    until(lambda: lessons[0].progress.what == "waiting")
    queue.close()
    assert [one.progress.state for one in lessons] == ["stopped", "stopped"]


def test_images_are_seen_while_they_form_and_a_stopped_lesson_goes_on_from_there(
    queue, folder, tmp_path, ended, monkeypatch
):
    monkeypatch.setattr(module, "_BETWEEN", 0.0)
    asked = settings_for(
        folder.root / "runs" / "ring",
        None,
        inversion=InversionConfig(images=2, steps=60, trace_every=5),
        images_from="inversion",
    )
    seen = []
    tell = module.QueuedLesson.tell

    def telling(lesson, **changes):
        tell(lesson, **changes)
        if "images" in changes:
            seen.append(lesson.progress)
            if len(seen) == 40:
                lesson.stop()

    monkeypatch.setattr(module.QueuedLesson, "tell", telling)
    stopped = ended(queue.add("a", asked))
    assert stopped.progress.state == "stopped"
    assert len({one.images[0].tobytes() for one in seen}) == 40
    assert all(isinstance(point, TracePoint) for point in stopped.progress.trace)
    assert [point.step for point in stopped.progress.trace][:3] == [1, 5, 10]
    again = ended(queue.add("b", asked))
    assert (again.progress.state, again.settings.out) == ("done", stopped.settings.out)
    assert len(seen) == 40 + 20
    assert folder.lessons()[0].value == "runs/ring"
