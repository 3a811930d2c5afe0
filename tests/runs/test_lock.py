"""Two processes never work on one run."""

import subprocess
import sys

import pytest

from molyneux.errors import OutputError
from molyneux.runs.folder import open_run

HOLD = """
import sys
from pathlib import Path
from molyneux.runs.folder import open_run
folder = open_run(Path(sys.argv[1]), {"a": 1}, {})
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path):
    path = [part for part in sys.path if part]
    code = f"import sys; sys.path[:0] = {path!r}\n{HOLD}"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process is working"):
            open_run(tmp_path / "run", {"a": 1}, {})
        holder.stdin.close()
    open_run(tmp_path / "run", {"a": 1}, {}).finish()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "digests.json"]


def test_one_process_may_open_its_run_again(tmp_path):
    first = open_run(tmp_path / "run", {"a": 1}, {})
    second = open_run(tmp_path / "run", {"a": 1}, {})
    assert first.root == second.root
