"""Flip a bit of a file that a killed run or a cache keeps, and repeat the command: is its result another one?

    PYTHONPATH=src:tests/lib python tests/abuse/flips.py [--each N] [PATTERN]

PATTERN picks the commands whose names match it, N is how often each is tried (4). Exit code 1 if a result differs.
"""

import argparse
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from helpers.kills import JOBS, flipped, whole, workplace

NAMES = re.compile("^(teach|invert|localise|caption|run|retrieve with|evaluate)")
"""Commands that keep files to go on from."""


def main() -> int:
    """Flip and repeat, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, workplace(Path(folder).resolve() / "scene") as root:
        for job in JOBS:
            if not (NAMES.search(job.name) and re.search(asked.pattern, job.name)):
                continue
            found, chance = whole(job, root), random.Random(asked.seed + JOBS.index(job))
            for _ in range(asked.each):
                outcome, where = flipped(job, root, found, chance)
                kinds[outcome.kind] += 1
                if outcome.kind not in ("equal", "refused", "nothing kept"):
                    print(f"{outcome.kind}: {job.name}: {outcome.points[0]}, then a bit of {where}")
                    print(f"    {outcome.differs[:8]} {outcome.said.strip()[-1500:]}", flush=True)
            print(f"{job.name}: {dict(kinds)}", flush=True)
    print("; ".join(f"{kind}: {count}" for kind, count in kinds.items()))
    return int(not kinds or kinds.total() != kinds["equal"] + kinds["refused"] + kinds["nothing kept"])


if __name__ == "__main__":
    sys.exit(main())
