"""The app as a server: on this machine alone unless another address is asked for, and silent to everybody else."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from molyneux.app.folder import AppFolder
from molyneux.app.models import Models
from molyneux.app.page import LARGEST_FILE, Handlers, build, css, theme
from molyneux.app.queue import LessonQueue
from molyneux.app.teaching import photos
from molyneux.backends.options import Running
from molyneux.errors import ConfigError

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """Where the app keeps its things, and where it listens."""

    folder: Path
    names: tuple[str, ...] = ("mini",)
    """The untaught models that it offers."""
    host: str = HOST
    port: int | None = None
    """The first free one from 7860 on if None."""
    share: bool = False
    """Whether gradio makes a public link, through its own servers."""
    browser: bool = False
    """Whether a browser is opened."""
    running: Running = field(default_factory=Running)

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("no model is given: name at least one")
        if self.port is not None and not 0 < self.port < 2**16:
            raise ConfigError(f"the port is {self.port}: expected 1 to 65535")


@contextmanager
def served(settings: AppSettings) -> Iterator[str]:
    """Serve the app within the block; yields its address. At the end lessons are stopped, and keep what they have.

    Raises:
        ConfigError: if gradio is not installed, or the address is taken.
        ModelError: if the first model cannot be loaded.
        OutputError: if the folder cannot be written, or another process has it.
    """
    _silence()
    folder = AppFolder(settings.folder, settings.names)
    os.environ["GRADIO_TEMP_DIR"] = str(folder.uploads.absolute())
    if find_spec("gradio") is None:
        raise ConfigError("molyneux app needs gradio: pip install 'molyneux[app]'")
    _check_free(settings)
    folder.prepare()
    models = Models(folder, settings.running)
    models.get(settings.names[0])  # what is not there is told now, and the first question is not slow
    queue = LessonQueue()
    page = build(Handlers(folder, queue, models, settings.running))
    try:
        yield _launched(page, settings)
    finally:
        queue.close()
        page.close(verbose=False)


def _launched(page: Any, settings: AppSettings) -> str:
    """Start the server in a thread of its own; its address."""
    try:
        _, here, public = page.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=settings.share,
            inbrowser=settings.browser,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            max_file_size=LARGEST_FILE,
            allowed_paths=[str(photos())],
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            theme=theme(),
            css=css(),
        )
    except OSError as error:
        raise _taken(settings) from error
    return str(public or here)


def _check_free(settings: AppSettings) -> None:
    """Raise ConfigError if the address is taken, before anything is loaded."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port or 0))
    except OSError as error:
        raise _taken(settings) from error


def _taken(settings: AppSettings) -> ConfigError:
    where = f"{settings.host}, port {settings.port or '7860 to 7959'}"
    return ConfigError(f"cannot listen at {where}: choose another --port, or --host")


def wait() -> None:
    """Until the process is interrupted or asked to end."""
    ended = threading.Event()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda *_: ended.set())
    ended.wait()


def _silence() -> None:
    """Nothing is reported to anyone; gradio reads this when it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
