"""What the package imports is what `pyproject.toml` says that it needs."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from molyneux.cli.main import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE = PROJECT["dependencies"]
EXTRAS = {name: needed for name, needed in PROJECT["optional-dependencies"].items() if name != "dev"}


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", each)[0]) for each in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> Iterator[tuple[str, bool]]:
    """Each library that is imported, and whether that happens as soon as the module is."""
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], node in tree.body) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0], node in tree.body


def test_every_import_is_declared() -> None:
    packages = packages_distributions()
    extras = names([each for needed in EXTRAS.values() for each in needed])
    found = {(name, early) for name, early in imported() if name not in (*sys.stdlib_module_names, "molyneux")}
    assert ("torch", True) in found
    for name, early in sorted(found):
        declared = names(BASE) if early else names(BASE) | extras
        assert {normal(package) for package in packages[name]} & declared, f"{name} is imported and not declared"


@pytest.mark.skipif("app" not in app, reason="there is no app")
def test_the_command_of_the_dockerfile_parses_and_its_extras_are_there() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    command = json.loads(re.findall(r"^CMD (.*)$", text, flags=re.MULTILINE)[0])
    assert command[0] == "molyneux"
    app.parse_args(command[1:], exit_on_error=False, print_error=False)
    assert set(re.findall(r"/build\[([\w,]+)\]", text)[0].split(",")) <= EXTRAS.keys()


def test_nothing_is_pinned() -> None:
    pinned = [each for needed in (BASE, *EXTRAS.values()) for each in needed if "==" in each]
    assert not pinned
