"""Progress in Python: bars for a person at a terminal or in a notebook, silence for a program."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from molyneux.runs.options import Progress

_TAKEN: ContextVar[bool] = ContextVar("_TAKEN", default=False)
"""Whether somebody shows progress already, or wants none."""


@contextmanager
def shown(on_step: Progress | None = None) -> Iterator[Progress | None]:
    """Yield `on_step` or, without one, bars where a person watches; None where nobody does."""
    if on_step is not None or _TAKEN.get() or not is_watched():
        yield on_step
        return
    with taken(), bars() as told:
        yield told


@contextmanager
def counting(what: str, on_step: Callable[[int, int], None] | None) -> Iterator[Callable[[int, int], None] | None]:
    """`shown` for one thing, of which the caller is told how much is done, and how much there is."""
    if on_step is not None:
        yield on_step
        return
    with shown() as told:
        yield None if told is None else partial(told, what)


@contextmanager
def taken() -> Iterator[None]:
    """Within the block nothing shows bars by itself."""
    token = _TAKEN.set(True)
    try:
        yield
    finally:
        _TAKEN.reset(token)


@contextmanager
def bars() -> Iterator[Progress]:
    """Bars on stderr, or below the cell of a notebook: one for each thing that is worked on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console() if _in_notebook() else Console(stderr=True)
    with Bars(*columns, console=console) as shown_bars:
        tasks: dict[str, TaskID] = {}

        def on_step(what: str, done: int, total: int) -> None:
            if what not in tasks or shown_bars.tasks[tasks[what]].finished:
                tasks[what] = shown_bars.add_task(what, total=total)
            shown_bars.update(tasks[what], completed=done, total=total)

        yield on_step


def is_watched() -> bool:
    """Whether a person sees what is written: a terminal, or a notebook."""
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return type(found).__name__ == "ZMQInteractiveShell"
