"""What it saves that the command line keeps freed memory: processor seconds and peak memory of `recognise`.

    python bench/kept_memory.py FOLDER [--model mini] [--times 2]

FOLDER has photos. Both ways take turns, each in a process of its own; the best of each is printed, and their ratio.
"""

import argparse
import os
import subprocess
import sys

WAYS = {
    "as the system has it": "import sys; from molyneux.cli.main import run; sys.exit(run(sys.argv[1:]))",
    "kept": "from molyneux.cli.main import main; main()",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--times", type=int, default=2)
    asked = parser.parse_args()
    command = ["recognise", asked.folder, "--model", asked.model, "--json", "--quiet"]
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(asked.times):
        for way, program in WAYS.items():
            found[way].append(spent([sys.executable, "-c", program, *command]))
    print("| freed memory | processor seconds | peak MiB |\n|---|---|---|")
    best = {way: min(rows) for way, rows in found.items()}
    for way, (seconds, peak) in best.items():
        print(f"| {way} | {seconds:.1f} | {peak:,.0f} |")
    first, kept = best.values()
    print(f"ratio of the seconds: {kept[0] / first[0]:.2f}")


def spent(command: list[str]) -> tuple[float, float]:
    """Processor seconds and peak MiB of a command."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(process.returncode)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
