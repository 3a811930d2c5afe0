"""Lessons one at a time: each waits for its turn, tells how far it is, and can be stopped."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from molyneux.concepts import Concept
from molyneux.errors import MolyneuxError, OutputError
from molyneux.files import numbered
from molyneux.pipeline.settings import TeachSettings
from molyneux.pipeline.teach_run import teach_concepts
from molyneux.records import TracePoint
from molyneux.runs.folder import check_out
from molyneux.runs.progress import taken
from molyneux.shapes import Images
from molyneux.synthetic import as_png

MOST_WAITING = 20
"""More lessons than these are refused."""

MOST_KEPT = 200
"""Of so many lessons the queue can say what became of them; their folders stay."""

_BETWEEN = 0.4
"""Seconds between two looks at images that are being made."""

State = Literal["waiting", "running", "done", "stopped", "failed"]


class Stopped(KeyboardInterrupt):
    """Raised within a lesson that somebody stopped; what is done so far is kept, as when a command is interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a lesson is."""

    state: State = "waiting"
    before: int = 0
    """How many lessons are to be finished before it begins."""
    what: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    images: tuple[Image.Image, ...] = ()
    trace: tuple[TracePoint, ...] = ()
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("done", "stopped", "failed")


class QueuedLesson:
    """A lesson that waits, runs, or has ended."""

    def __init__(self, settings: TeachSettings) -> None:
        self.settings = settings
        self.progress = Progress()
        self._stop = threading.Event()
        self._looked = 0.0

    @property
    def concept(self) -> Concept:
        """What is taught."""
        return self.settings.concepts[0]

    def stop(self) -> None:
        """End the lesson at its next step, or before it begins."""
        self._stop.set()
        if self.progress.state == "waiting":
            self.tell(state="stopped")

    def run(self) -> None:
        """Teach; whatever happens is told in `progress`."""
        started = time.perf_counter()
        self.tell(state="running", what="loading the model")
        try:
            self._check()
            with taken():
                teach_concepts(self.settings, on_step=self._on_step, on_images=self._on_images)
            self.tell(state="done", seconds=time.perf_counter() - started)
        except Stopped:
            self.tell(state="stopped")
        except MolyneuxError as error:
            self.tell(state="failed", error=str(error))
        except Exception as error:
            self.tell(state="failed", error=f"something went wrong that should not: {type(error).__name__}: {error}")

    def tell(self, **changes: object) -> None:
        """Replace the progress as a whole, so that another thread reads one state or the next."""
        self.progress = replace(self.progress, **changes)  # type: ignore[arg-type]

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _on_step(self, what: str, done: int, total: int) -> None:
        self._check()
        self.tell(what=what, done=done, total=total)

    def _on_images(self, concept: Concept, pixels: Callable[[], Images], trace: Sequence[TracePoint]) -> None:
        """Keep the images as they are now, unless they are a control's or were looked at just now."""
        now = time.monotonic()
        if concept == self.concept and now - self._looked >= _BETWEEN:
            with torch.no_grad():
                images = tuple(map(as_png, pixels()))
            self._looked = now
            self.tell(images=images, trace=tuple(trace))


class LessonQueue:
    """Lessons in the order in which they came, taught by one thread."""

    def __init__(self) -> None:
        self._lessons: dict[str, QueuedLesson] = {}
        self._waiting: list[QueuedLesson] = []
        self._running: QueuedLesson | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="lessons", daemon=True)
        self._thread.start()

    def add(self, key: str, settings: TeachSettings) -> QueuedLesson:
        """Put a lesson at the end.

        Its folder is `settings.out`, or the same with a number behind it where that is taken. An unfinished lesson of
        the same settings goes on in its folder.

        Raises:
            OutputError: if too many lessons wait, or the folder cannot be written.
        """
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise OutputError(f"{MOST_WAITING} lessons are waiting: try again when some are finished")
            lesson = QueuedLesson(replace(settings, out=self._place(settings)))
            self._lessons[key] = lesson
            for old in list(self._lessons)[:-MOST_KEPT]:
                if self._lessons[old].progress.over:
                    del self._lessons[old]
            self._waiting.append(lesson)
            self._count()
            self._changed.notify()
        return lesson

    def lesson(self, key: str) -> QueuedLesson | None:
        """The lesson that was added under a key, if it is remembered."""
        return self._lessons.get(key)

    def stop(self, key: str) -> None:
        """Stop a lesson, wherever it is."""
        with self._changed:
            lesson = self._lessons.get(key)
            if lesson is not None and not lesson.progress.over:
                lesson.stop()
                self._waiting = [one for one in self._waiting if one is not lesson]
                self._count()

    def close(self, patience: float = 30.0) -> None:
        """Stop all lessons, and wait until the running one has kept what it has."""
        with self._changed:
            self._closed = True
            for lesson in [*self._waiting, *([self._running] if self._running else [])]:
                lesson.stop()
            self._waiting = []
            self._changed.notify()
        self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                self._count()
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                self._running = self._waiting.pop(0)
                self._count()
            self._running.run()

    def _count(self) -> None:
        for place, lesson in enumerate(self._waiting, start=int(self._running is not None)):
            lesson.tell(before=place)

    def _place(self, settings: TeachSettings) -> Path:
        active = {one.settings.out for one in self._lessons.values() if not one.progress.over}
        return next(path for path in numbered(settings.out) if path not in active and _fits(path, settings))


def _fits(path: Path, settings: TeachSettings) -> bool:
    """Whether a lesson can begin, or go on, in a folder."""
    if not path.exists():
        return True
    try:
        return check_out(path, replace(settings, out=path).resolved())
    except OutputError:
        return False
