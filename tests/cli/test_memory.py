"""Freed memory is kept for the next tensor."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from molyneux.cli.main import main
if {ours}:
    try:
        main()
    except SystemExit:
        pass
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(12_000_000)  # 48 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own setting")
def test_the_command_line_asks_the_system_for_a_tensors_memory_once():
    def faults(ours: bool) -> int:
        # the environment may ask for the same
        ended = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(ours=ours), "completion", "bash"],
            env={"PATH": "", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(ended.stdout.split()[-1])

    assert faults(ours=True) < 0.1 * faults(ours=False)
