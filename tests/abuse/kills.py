"""Kill every verb that leaves files, at seeded points, and repeat it: is what it leaves the same, byte for byte?

    PYTHONPATH=src:tests/lib python tests/abuse/kills.py [--each N] [PATTERN]

PATTERN picks the commands whose names match it, N is how often each is killed (4). Exit code 1 if anything differs.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from helpers.kills import JOBS, TIMED, killed, points, whole, workplace


def main() -> int:
    """Kill and repeat all, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    kinds: Counter[str] = Counter()
    signals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, workplace(Path(folder).resolve() / "scene") as root:
        for job in JOBS:
            if not re.search(asked.pattern, job.name):
                continue
            try:
                found = whole(job, root)
            except AssertionError as error:
                kinds["the command does not work"] += 1
                print(error, flush=True)
                continue
            for when in points(found, asked.each, asked.seed + JOBS.index(job)):
                outcome = killed(job, root, found, when)
                kinds[outcome.kind] += 1
                signals.update(point.signal.name for point in when)
                if outcome.kind != "equal":
                    print(f"{outcome.kind}: {job.name}: {', then '.join(map(str, when))}")
                    print(f"    {outcome.differs[:8]} {outcome.said.strip()[-1500:]}", flush=True)
            print(f"{job.name}: {found.ended.seconds:.1f} s, {found.ended.events} changes of the disk", flush=True)
    print("left out of the comparison:", *(f"{name}: {what}" for name, (_, what) in TIMED.items()), sep="\n  ")
    print(
        f"killed: {sum(signals.values())} ({', '.join(f'{name} {count}' for name, count in sorted(signals.items()))})"
    )
    print("; ".join(f"{kind}: {count}" for kind, count in (kinds | Counter(equal=0)).items()))
    return int(kinds.total() != kinds["equal"] or not kinds)


if __name__ == "__main__":
    sys.exit(main())
