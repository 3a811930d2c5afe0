"""Bad inputs for every verb, and what became of each.

    PYTHONPATH=src:tests/lib python tests/abuse/report.py [PATTERN]

PATTERN picks the cases whose names match it. Each case is a command; it should be refused in one line, with exit code
2 and nothing left behind, or be accepted for a reason that `helpers.abuse.HARMLESS` gives. Exit code 1 if one was not.
"""

import re
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from helpers.abuse import cases, check_good, reason, scene, tried, use_small, use_stand_ins

MEMORY = 4 * 2**30
"""Bytes; what reads an endless file ends here, not the machine."""


def main() -> int:
    """Try all, and print the counts and what was not right."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    counts: Counter[str] = Counter()
    slowest = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder).resolve()
        use_small(patch, root)
        use_stand_ins(patch)
        scene(root)
        check_good(root)
        for case in cases():
            if not re.search(part, case.name):
                continue
            found = tried(case, root)
            counts["tried"] += 1
            kind = found.kind
            if kind == "accepted":
                kind = "accepted, rightly" if reason(case.name) else "accepted, no reason known"
            counts[kind] += 1
            slowest.append((found.seconds, case.name))
            if kind not in ("refused", "accepted, rightly"):
                print(f"{kind}: {case.name}\n    {found.said.strip()[-1500:]!r}", flush=True)
    faults = ("accepted, no reason known", "traceback", "hang", "leftover", "unclear")
    kinds = ("tried", "refused", "accepted, rightly", *faults)
    print("; ".join(f"{kind}: {counts[kind]}" for kind in kinds))
    print("slowest:", ", ".join(f"{name} ({seconds:.1f} s)" for seconds, name in sorted(slowest)[-5:]))
    return int(counts["tried"] != counts["refused"] + counts["accepted, rightly"])


if __name__ == "__main__":
    sys.exit(main())
