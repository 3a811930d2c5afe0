"""What the README shows can be typed: its calls fit the signatures, its commands parse, its links lead somewhere."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest

import molyneux
from molyneux.cli.main import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("molyneux ")]


def test_every_call_of_the_python_lines_fits_its_signature() -> None:
    calls = [node for block in blocks("python") for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    names = []
    for call in calls:
        match call.func:
            case ast.Attribute(value=ast.Name(id="molyneux"), attr=name):
                names.append(name)
                signature = inspect.signature(getattr(molyneux, name))
                signature.bind(*call.args, **{keyword.arg or "": keyword.value for keyword in call.keywords})
    assert {"Concept", "load", "invert", "teach"} <= set(names) <= set(molyneux.__all__)


@pytest.mark.parametrize("line", commands())
def test_every_command_parses(line: str) -> None:
    function, bound, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert function.__name__ == shlex.split(line)[1]
    assert bound.arguments


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make (\w+)", "\n".join(blocks("bash")))
    assert targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_every_link_within_the_repository_leads_somewhere() -> None:
    links = re.findall(r"(?<!!)\[[^]]*\]\((?!https?:)([^)]+)\)", TEXT)
    assert links
    assert all((ROOT / link).is_file() for link in links)
