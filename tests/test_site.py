"""The site: every page is in the navigation, and it builds without a warning."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BUILDER = Path(sys.executable).parent / "zensical"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def entries(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [entry for part in parts for entry in entries(part)]


def test_the_navigation_has_each_page_once():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} | {"index.md", "contributing.md", "changelog.md"}
    shown = entries(SITE["nav"])
    assert sorted(shown) == sorted(pages)


def test_the_reference_has_every_public_name():
    import molyneux

    told = set(re.findall(r"^::: molyneux\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), flags=re.MULTILINE))
    assert told - {"errors"} == set(molyneux.__all__) - {"__version__"}


def copied(root: Path) -> Path:
    for name in ("docs", "src/molyneux"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    (root / "scripts").mkdir()
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "mkdocs.yml",
        "scripts/docs_pages.py",
        "scripts/docs_doctests.py",
    ):
        shutil.copy(ROOT / name, root / name)
    return root


def build(root: Path) -> subprocess.CompletedProcess[str]:
    subprocess.run([sys.executable, "scripts/docs_pages.py"], cwd=root, check=True)
    command = [str(BUILDER), "build", "--clean", "--strict", "-f", "mkdocs.yml"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(
    not BUILDER.is_file() or importlib.util.find_spec("mkdocstrings") is None, reason="needs molyneux[docs]"
)
def test_the_site_builds_without_a_warning_and_a_broken_link_is_one(tmp_path):
    root = copied(tmp_path)
    ended = build(root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "No issues found" in ended.stdout + ended.stderr
    site = root / "build" / "site"
    assert len(list(site.glob("*.html"))) >= len(entries(SITE["nav"]))
    api = (site / "api.html").read_text(encoding="utf-8")
    assert "A new model that has learned the concepts of" in api
    assert "TeachingConfig" in api
    assert "<blockquote>" not in api
    with (root / "docs" / "limits.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](nowhere.md)\n")
    assert build(root).returncode != 0
