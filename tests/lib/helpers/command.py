"""Run the command line within the process, on the tiny model and drawn photos."""

from dataclasses import dataclass

import pytest

QUICK = (
    "--inversion.images=2",
    "--inversion.steps=6",
    "--inversion.trace-every=3",
    "--teaching.steps=4",
    "--teaching.replay-batch=0",
)
"""Flags for a run of milliseconds."""

RING = (
    "ring",
    "--description",
    "A round band of one colour with a hole.",
    "--model",
    "tiny",
    "--quiet",
    *QUICK,
)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """Calls `molyneux` with arguments."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Ended:
        from molyneux.cli.main import run

        code = run([str(argument) for argument in arguments])
        printed = self.capture.readouterr()
        return Ended(code, printed.out, printed.err)


def check_refused(ended: Ended, *words: str) -> None:
    """The command said no in one clear line, and exited with 2."""
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("molyneux: error: ")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err
