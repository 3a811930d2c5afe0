"""Write docs/paper.md from docs/paper.tsv, the table of what the paper describes.

    python scripts/write_paper_page.py

A row of the table: part, what, where in the paper, code (PATH or PATH::NAME, in src/molyneux unless it begins with
another folder), tests (PATH or PATH::NAME in tests/), status, note. `tests/test_paper_page.py` holds the page to the
table, and the table to the code and the tests that it names.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE, PAGE = ROOT / "docs" / "paper.tsv", ROOT / "docs" / "paper.md"
HEAD = ROOT / "docs" / "paper-head.txt"
STATUSES = {
    "done": "does what the paper describes, and a test shows it",
    "different": "something else is done, for the reason that is given",
    "partly": "a part is not done, or cannot be, for the reason that is given",
    "absent": "not done, for the reason that is given",
}
OUTSIDE = ("docs", "bench", "scripts")


@dataclass(frozen=True)
class Thing:
    """One thing that the paper describes."""

    part: str
    what: str
    where: str
    code: str
    tests: str
    status: str
    note: str = ""
    check: str = ""

    @property
    def code_places(self) -> list[tuple[Path, str]]:
        """Files and the names in them."""
        inside = ROOT / "src" / "molyneux"
        return [_place(one, ROOT if one.split("/")[0] in OUTSIDE else inside) for one in self.code.split()]

    @property
    def test_places(self) -> list[tuple[Path, str]]:
        return [_place(one, ROOT / "tests") for one in self.tests.split()]


def _place(text: str, root: Path) -> tuple[Path, str]:
    path, _, name = text.partition("::")
    return root / path, name


def things() -> list[Thing]:
    """All rows of the table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Thing(**{k: v or "" for k, v in row.items()}) for row in csv.DictReader(file, delimiter="\t")]


def page() -> str:
    """The page."""
    found = things()
    count = Counter(one.status for one in found)
    lines = [HEAD.read_text(encoding="utf-8").rstrip(), "", "## The list", ""]
    lines += [f"{len(found)} things. The status of a row is one of these:", ""]
    lines += [f"- **{status}** ({count[status]}): {meaning}." for status, meaning in STATUSES.items()]
    for part in dict.fromkeys(one.part for one in found):
        lines += ["", f"### {part}", "", "| what | in the paper | code | tests | status |", "|---|---|---|---|---|"]
        lines += [_line(one) for one in found if one.part == part]
    return "\n".join(lines) + "\n"


def _line(one: Thing) -> str:
    code, tests = (_cell(places) for places in (one.code_places, one.test_places))
    status = f"{one.status}. {one.note}" if one.note else one.status
    return f"| {one.what} | {one.where} | {code} | {tests} | {status} |"


def _cell(places: list[tuple[Path, str]]) -> str:
    return "<br>".join(_link(path, name) for path, name in places)


def _link(path: Path, name: str) -> str:
    inside = path.relative_to(ROOT).as_posix()
    target = path.relative_to(ROOT / "docs").as_posix() if inside.startswith("docs/") else f"../{inside}"
    shown = name.removeprefix("test_").replace("_", " ") if path.name.startswith("test_") and name else ""
    return f"[{shown or f'`{name or path.name}`'}]({target})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
