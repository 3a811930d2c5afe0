"""An app's folder on the tiny model, and a server of the real command in a process of its own."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest

from helpers.runs import use_few_classes
from helpers.small_models import ConvModel, load_tiny
from molyneux.app.folder import AppFolder
from molyneux.app.queue import LessonQueue, QueuedLesson
from molyneux.app.teaching import settings
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import described_classes
from molyneux.synthetic import noise_images


class Saving(ConvModel):
    """The tiny model, which says in its folder what it was taught, as all families do."""

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.write_about(Path(folder))


def load_saving(name: str | Path, **running: str) -> ConvModel:
    model = load_tiny(name, **running)
    model.__class__ = Saving
    return model


def make_quick(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let 'tiny' be loaded, and lessons take a moment."""
    for module in ("pipeline.teach_run", "app.models"):
        patch.setattr(f"molyneux.{module}.load", load_saving)
    patch.setenv("MOLYNEUX_CACHE", str(cache))
    replay = tuple(noise_images(Concept(f"thing {seed}", "a thing."), 1, 16, seed) for seed in range(8))
    patch.setattr("molyneux.pipeline.teach_run.replay_images", lambda *_, **__: replay)
    names = lambda *_, **__: tuple(islice(described_classes(), 40))  # noqa: E731
    patch.setattr("molyneux.pipeline.checks.imagenet_names", names)
    patch.setattr("molyneux.tasks.recognition.run.imagenet_names", names)
    use_few_classes(patch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppFolder:
    """An empty app's folder."""
    make_quick(monkeypatch, tmp_path / "cache")
    found = AppFolder(tmp_path / "app", ("tiny",))
    found.prepare()
    return found


@pytest.fixture(scope="session")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished lesson, taught as the page does it."""
    root = tmp_path_factory.mktemp("lesson")
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch, root / "cache")
        app = AppFolder(root / "app", ("tiny",))
        app.prepare()
        lesson = QueuedLesson(
            settings(app, name="ring", description="A round band of one colour with a hole.", model="tiny")
        )
        lesson.run()
    assert lesson.progress.state == "done", lesson.progress.error
    return lesson.settings.out


@pytest.fixture
def taught(folder: AppFolder, lesson: Path) -> AppFolder:
    """An app's folder with that lesson."""
    shutil.copytree(lesson, folder.root / "runs" / lesson.name)
    return folder


@pytest.fixture
def queue() -> Iterator[LessonQueue]:
    found = LessonQueue()
    yield found
    found.close()


@pytest.fixture
def ended() -> Callable[[QueuedLesson], QueuedLesson]:
    """Wait until a lesson is over."""
    import time

    def wait(lesson: QueuedLesson) -> QueuedLesson:
        limit = time.monotonic() + 60
        while not lesson.progress.over:
            assert time.monotonic() < limit, lesson.progress
            time.sleep(0.01)
        return lesson

    return wait


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of `molyneux app`, and its folder."""
    if find_spec("gradio") is None:  # importing it leaves event loops behind
        pytest.skip("the app needs gradio")
    root = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "molyneux.cli", "app", "--folder", "app", "--model", "tiny:clip", "--no-browser"]
    log = root / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=root,
            env=os.environ | {"MOLYNEUX_CACHE": str(root / "cache")},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.startswith("http://127.0.0.1:"), said + log.read_text()
    yield said.split()[0], root / "app"
    process.terminate()
    left, _ = process.communicate(timeout=60)
    assert (process.returncode, left) == (0, "")
    assert {path.name for path in root.iterdir()} <= {"app", "cache", "stderr"}
    errors = re.findall(r"^(\S*(?:Error|Exception)\S*):", log.read_text(), flags=re.MULTILINE)
    assert set(errors) <= {"gradio.exceptions.InvalidPathError"}  # what a test asks for in vain
