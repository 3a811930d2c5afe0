"""Gather the pages of the site in one folder: `docs/`, and README, CONTRIBUTING and CHANGELOG as pages of their own.

    python scripts/docs_pages.py

Writes build/docs. On the site `README.md` is the page `index.md`. Links between pages are made to fit; a link to a file
of the repository that is no page becomes its path, as text.
"""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "docs"
MORE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""File in the repository, and its page."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)#\s]+)(#[^)\s]+)?\)")


def page(path: Path) -> str:
    """A file's text with its links as they are on the site."""

    def link(found: re.Match[str]) -> str:
        mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        file = (path.parent / target).resolve()
        name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else target
        if name in MORE:
            return f"{mark}[{text}]({MORE[name]}{anchor})"
        if name.startswith("docs/"):
            return f"{mark}[{text}]({name.removeprefix('docs/')}{anchor})"
        return f"{text} (`{name}`)"

    return _LINK.sub(link, path.read_text(encoding="utf-8"))


def main() -> None:
    """Write all pages and pictures anew."""
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(ROOT / "docs", OUT)
    for name in MORE:
        (OUT / MORE[name]).write_text(page(ROOT / name), encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        (OUT / path.name).write_text(page(path), encoding="utf-8")


if __name__ == "__main__":
    main()
