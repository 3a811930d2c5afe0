"""Thousands of photos and hundreds of concepts: does memory stay flat, and is progress shown all along?

    PYTHONPATH=src python tests/abuse/soak.py [--model mini] [--photos 5000] [--concepts 300]

Each command runs twice, with a quarter of the photos or concepts and with all, in a process of its own whose progress
goes to a pseudo-terminal. Prints seconds, peak memory and the longest time without a sign of progress. Exit code 1 if a
command fails, if four times as much takes more than a tenth more memory, or if it is silent for longer than SILENCE.
"""

import argparse
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from molyneux.datasets.imagenet import described_classes
from molyneux.datasets.toy import SHAPES, draw_shapes

SILENCE = 10.0
"""Seconds; loading a model and its libraries takes about five of them."""
SIZE = 160
LONG = ("--long-text", "truncate")


class Ended(NamedTuple):
    """What a command took."""

    code: int
    seconds: float
    peak: float
    silent: float
    said: str


def main() -> int:
    """Run all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--concepts", type=int, default=300)
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["MOLYNEUX_CACHE"] = str(root / "cache")
        sizes = {"photos": (asked.photos // 4, asked.photos), "concepts": (asked.concepts // 4, asked.concepts)}
        for count in sizes["photos"]:
            write_photos(root / f"photos{count}", count)
        for count in sizes["concepts"]:
            write_concepts(root / f"concepts{count}.json", count)
        photos, flat, many = "photos{}", "photos{}/flat", f"run{asked.concepts}"
        commands = {
            "teach": ("concepts", ["teach", "--concepts", "concepts{}.json", "--model", asked.model, "--out", "run{}"]),
            "recognise": ("photos", ["recognise", flat, "--model", many, "--base", asked.model]),
            "evaluate": ("photos", ["evaluate", "--model", many, "--base", asked.model, "--known", photos + "/known"]),
        }
        print("| command | | seconds | peak MiB | longest silence, s |\n|---|---|---|---|---|")
        first = commands["teach"][1]
        run([*first[:-1], "warm", *LONG], root, sizes["concepts"][0])
        for name, (what, command) in commands.items():
            found = []
            for count in sizes[what]:
                ended = run([*command, *LONG], root, count)
                found.append(ended)
                row = f"| {name} | {count:,} {what} | {ended.seconds:.0f} | {ended.peak:,.0f} | {ended.silent:.1f} |"
                print(row, flush=True)
                if ended.code:
                    print(ended.said[-1500:])
            failed = any(one.code for one in found)
            grew = found[1].peak > 1.1 * found[0].peak
            silent = max(one.silent for one in found) > SILENCE
            for bad, said in ((failed, "failed"), (grew, "memory grew"), (silent, "was silent")):
                if bad:
                    print(f"{name}: {said}")
            wrong += failed or grew or silent
    return int(wrong > 0)


def write_photos(root: Path, count: int) -> None:
    """`flat/NNNN.jpg`, and the same files as `known/SHAPE/NNNN.jpg`."""
    (root / "flat").mkdir(parents=True)
    each = -(-count // len(SHAPES))
    left = count
    for kind in SHAPES:
        (root / "known" / kind).mkdir(parents=True)
        for index, image in enumerate(draw_shapes(kind, min(each, left), SIZE, seed=1)):
            path = root / "known" / kind / f"{kind}{index:05}.jpg"
            image.save(path)
            (root / "flat" / path.name).hardlink_to(path)
        left -= min(each, left)


def write_concepts(path: Path, count: int) -> None:
    """New names for ImageNet's descriptions."""
    looks = list(described_classes().values())[:count]
    path.write_text(json.dumps({f"vorpal{index:03}": one for index, one in enumerate(looks)}), encoding="utf-8")


def run(command: list[str], root: Path, count: int) -> Ended:
    """Run one command, with `count` where it has {}, and watch it."""
    arguments = [part.format(count) for part in command]
    terminal, end = pty.openpty()
    started = time.monotonic()
    with (root / "printed").open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "molyneux.cli", *arguments], cwd=root, stdout=printed, stderr=end
        )
    os.close(end)
    peak = silent = 0.0
    last, said = started, b""
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                said = (said + os.read(terminal, 65536))[-4000:]
            except OSError:  # closed with the process
                break
            silent, last = max(silent, time.monotonic() - last), time.monotonic()
    code = process.wait()
    os.close(terminal)
    seconds = time.monotonic() - started
    silent = max(silent, time.monotonic() - last)
    return Ended(code, seconds, peak, silent, said.decode("utf-8", "replace") + (root / "printed").read_text())


def peak_mib(process: int) -> float:
    """The most memory that it held so far."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    sys.exit(main())
