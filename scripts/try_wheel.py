"""Try an installed Molyneux without its repository: the command, the demo's photos, and the whole demo.

    python -I try_wheel.py

Run from an empty folder. Prints where the package lies, what the photos were called, and what the demo took.
"""

import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

COMMAND = Path(sys.executable).parent / "molyneux"


def run(*arguments: str) -> str:
    """What the command prints."""
    return subprocess.run([COMMAND, *arguments], check=True, capture_output=True, text=True, env=clean()).stdout


def clean() -> dict[str, str]:
    """The environment without another Python's paths, with a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"MOLYNEUX_CACHE": str(Path("cache").resolve())}


def main() -> None:
    import molyneux

    place = Path(molyneux.__file__).parent
    assert place.is_relative_to(sys.prefix), f"{place} is not in {sys.prefix}"
    print(f"molyneux {molyneux.__version__} in {place}")
    assert run("--version").strip() == molyneux.__version__
    assert "paper/table-2" in run("list", "recipes")
    with resources.as_file(resources.files("molyneux") / "photos") as photos:
        assert len(list(photos.rglob("*.jpg"))) == 5
        found = run("recognise", str(photos), "--names", "cat", "coffee", "rocket", "astronaut", "--quiet")
    assert "cat.jpg" in found
    print(found)
    started = time.perf_counter()
    told = run("demo", "--quiet")
    print(told)
    report = Path("runs/demo/report.html")
    assert report.is_file()
    assert "pagoda: place 2" in told or "pagoda: place 1" in told
    print(f"demo: {time.perf_counter() - started:.0f} seconds, report of {report.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
