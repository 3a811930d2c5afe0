"""Progress on stderr: bars for a person at a terminal, a few plain lines otherwise, nothing when quiet."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from molyneux.runs.options import Progress
from molyneux.runs.progress import bars, taken

_WORTH_SAYING, _LONG = 10.0, 60.0
"""Seconds: said with a line, and worth a line."""


@contextmanager
def progress(quiet: bool) -> Iterator[Progress | None]:
    """Yield what the pipeline is to call with (what, done, total); None when quiet."""
    with taken():
        if quiet:
            yield None
        elif sys.stderr.isatty():
            with bars() as on_step:
                yield on_step
        else:
            yield plain_lines(lambda line: print(line, file=sys.stderr, flush=True))


def plain_lines(write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Progress:
    """Write a line for the first step and each new quarter of each thing.

    A long wait is told, too: with these lines, and as soon as the second step shows it.
    """
    written: dict[str, int] = {}
    first: dict[str, tuple[int, float]] = {}
    second: set[str] = set()

    def on_step(what: str, done: int, total: int) -> None:
        # before the first step a model may be loaded, or an earlier run have done a part
        begun, since = first.setdefault(what, (done, clock()))
        left = (clock() - since) / (done - begun) * (total - done) if done > begun else 0.0
        quarter = 4 * done // max(total, 1)
        long = done > begun and what not in second and left >= _LONG
        second.update([what] if done > begun else [])
        if quarter != written.get(what, 0) or what not in written or long:
            written[what] = quarter
            write(f"{what}: {done} of {total}" + (f", about {waiting(left)} left" if left >= _WORTH_SAYING else ""))

    return on_step


def waiting(seconds: float) -> str:
    """A time to wait, as one says it.

    >>> waiting(42.0), waiting(400.0)
    ('50 s', '7 min')
    """
    return f"{10 * math.ceil(seconds / 10)} s" if seconds < 90 else f"{math.ceil(seconds / 60)} min"
