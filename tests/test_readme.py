"""What README and docs show can be typed and found: calls fit, commands parse, links lead somewhere, numbers agree."""

import ast
import inspect
import json
import re
import shlex
from pathlib import Path

import pytest

import molyneux
from molyneux.cli.main import app
from molyneux.recipes.schema import recipe_names

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
TEXT = TEXTS["README.md"]

LONGEST = 900
"""Words of the README, tables and links included."""

DEFINED = ("Target recall", "Known accuracy lost", "False positives", "controls")
"""What the README explains before its first number."""


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str) -> list[str]:
    """Lines of fenced blocks, and inline code that says more than a verb."""
    lines = [line for block in blocks("bash", text) for line in block.splitlines()]
    inline = re.findall(r"`(molyneux [^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [
        line for line in (*lines, *(code for code in inline if len(code.split()) > 2)) if line.startswith("molyneux ")
    ]


COMMANDS = [(name, line) for name, text in TEXTS.items() for line in commands(text)]


def anchors(page: Path) -> set[str]:
    """What GitHub calls a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len(TEXT.split()) <= LONGEST


def test_every_call_of_the_python_lines_fits_its_signature() -> None:
    calls = [node for block in blocks("python") for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    names = []
    for call in calls:
        match call.func:
            case ast.Attribute(value=ast.Name(id="molyneux"), attr=name):
                names.append(name)
                signature = inspect.signature(getattr(molyneux, name))
                signature.bind(*call.args, **{keyword.arg or "": keyword.value for keyword in call.keywords})
    assert {"Concept", "load", "teach"} <= set(names) <= set(molyneux.__all__)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_parses(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    if words[-1] in ("--help", "--help-all"):
        assert words[0] == "VERB" or words[0] in app
        return
    function, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert function.__name__ == (words[1] if words[0] == "list" else words[0])
    assert words[0] == "list" or bound.arguments


def test_readme_and_docs_show_commands() -> None:
    assert {"README.md", "docs/commands.md", "docs/tables.md", "docs/photos.md"} <= {page for page, _ in COMMANDS}


def test_the_table_of_recipes_has_every_recipe() -> None:
    shown = re.findall(r"^\| `(paper/[\w-]+)` \|", TEXTS["docs/tables.md"], flags=re.MULTILINE)
    assert sorted(shown) == sorted(recipe_names())


def test_the_table_of_commands_has_every_verb() -> None:
    shown = re.findall(r"^\| `([\w-]+)` \|", TEXTS["docs/commands.md"], flags=re.MULTILINE)
    assert sorted(shown) == sorted(name for name in app if not name.startswith("-"))


@pytest.mark.parametrize("page", ["README.md", "docs/commands.md", "docs/tables.md", "docs/photos.md"])
def test_no_two_commands_of_a_page_write_to_one_folder(page: str) -> None:
    outs = [words[words.index("--out") + 1] for words in map(shlex.split, commands(TEXTS[page])) if "--out" in words]
    assert len(outs) >= 2
    assert len(outs) == len(set(outs))


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make (\w+)", "\n".join(blocks("bash")))
    assert targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


@pytest.mark.parametrize("page", PAGES, ids=list(TEXTS))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\[[^]]*\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link} in {page.name}"
        assert not heading or heading in anchors(target), f"{link} in {page.name}"


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    reached, todo = set(), [README]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        todo += [(page.parent / link).resolve() for link in links]
    assert set(PAGES) <= reached


def test_every_file_that_the_architecture_names_is_there() -> None:
    files = re.findall(r"`([\w/]+/[\w/]+\.py)`", TEXTS["docs/architecture.md"])
    assert len(files) >= 5
    assert [file for file in files if not (ROOT / "src" / "molyneux" / file).is_file()] == []


def test_the_picture_of_rooms_is_that_of_import_linter() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r'type = "layers".*?layers = \[(.*?)\]', project, flags=re.DOTALL)
    assert layers is not None
    rooms = re.findall(r"[a-z]+", layers[1])
    drawing = blocks("", TEXTS["docs/architecture.md"])[0]
    assert rooms
    assert [room for room in rooms if not re.search(rf"\b{room}\b", drawing)] == []


def test_terms_are_defined_before_the_first_number() -> None:
    first = re.search(r"\b0\.\d+", TEXT)
    assert first is not None
    assert [term for term in DEFINED if f"**{term}**" not in TEXT[: first.start()]] == []


def test_the_readme_has_no_number_that_the_docs_have_not() -> None:
    told = TEXTS["docs/numbers.md"]
    used = re.findall(r"\b0\.\d{2,4}\b", TEXT)
    assert len(used) > 10
    assert [number for number in used if number not in told] == []


def test_the_readme_says_of_its_photos_what_the_models_answered() -> None:
    found = json.loads((ROOT / "docs" / "recognised.json").read_text(encoding="utf-8"))
    answers, name = found["answers"], found["concept"]
    ranks = {model: own["summer-palace.jpg"]["rank"] for model, own in answers.items()}
    assert ("was not among its five best" in TEXT) == (ranks["before"] > 5)
    assert ranks["description"] == {"first": 1, "second": 2}[re.findall(r"After, it comes (\w+)", TEXT)[0]]
    assert ("does not put it first" in TEXT) == (min(ranks["noise"], ranks["shuffled"]) > 1)
    found = answers["description"]
    taken = [photo for photo in found if found[photo]["rank"] == 1 and photo != "summer-palace.jpg"]
    assert [photo.removesuffix(".jpg") for photo in taken] == re.findall(
        rf"a\s+(\w+) is\s+now\s+called\s+a\s+{name}", TEXT
    )
