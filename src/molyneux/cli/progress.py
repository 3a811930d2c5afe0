"""Progress on stderr: bars for a person at a terminal, a few plain lines otherwise, nothing when quiet."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from molyneux.runs.options import Progress
from molyneux.runs.progress import bars, taken


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


def plain_lines(write: Callable[[str], None]) -> Progress:
    """Write a line for each new quarter of each thing that is worked on."""
    written: dict[str, int] = {}

    def on_step(what: str, done: int, total: int) -> None:
        quarter = 4 * done // max(total, 1)
        if quarter != written.get(what, 0) or what not in written:
            written[what] = quarter
            write(f"{what}: {done} of {total}")

    return on_step
