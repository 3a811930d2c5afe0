"""docs/paper.md is what its table makes of it, and the table names what there is; docs/related.md says its sources."""

import ast
import sys
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "write_paper_page.py"


def load():
    spec = util.spec_from_file_location("write_paper_page", SCRIPT)
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MAKER = load()
THINGS = MAKER.things()


def names(path: Path) -> set[str]:
    """What a Python file defines at its top and in its classes."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


def lacking(places) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}::{name}"
        for path, name in places
        if not path.is_file() or (name and name not in names(path))
    ]


def test_the_page_is_what_the_table_makes_of_it():
    assert MAKER.PAGE.read_text(encoding="utf-8") == MAKER.page(), "run scripts/write_paper_page.py"


def test_the_code_and_the_tests_that_the_table_names_are_there():
    assert lacking(place for one in THINGS for place in one.code_places) == []
    assert lacking(place for one in THINGS for place in one.test_places) == []


@pytest.mark.parametrize("thing", THINGS, ids=lambda one: f"{one.where}: {one.what}")
def test_nothing_is_absent_partly_or_different_without_its_reason(thing):
    assert thing.status in MAKER.STATUSES
    assert thing.what
    assert thing.where
    if thing.status == "done":
        assert thing.code_places
        assert thing.test_places or thing.note
    else:
        assert len(thing.note.split()) > 3


def test_every_equation_and_every_table_of_the_paper_is_listed_once_at_least():
    where = " ".join(one.where for one in THINGS)
    assert [n for n in (1, 2, 3, 5, 6, 7) if f"Eq. {n}" not in where] == []
    tables = " ".join(one.where for one in THINGS if "Table" in one.where).replace(",", "").split()
    assert set(range(1, 26)) <= {int(number) for number in tables if number.isdigit()}


def test_a_name_that_is_not_there_is_found_out(tmp_path):
    here = Path(__file__)
    assert lacking([(here, "nothing_of_this_name"), (here.with_name("none.py"), "")]) != []
    assert lacking([(here, "test_a_name_that_is_not_there_is_found_out"), (SCRIPT, "Thing.code_places")]) == []


def test_every_row_of_the_rivals_says_where_its_number_comes_from():
    text = (ROOT / "docs" / "related.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.split("<!-- rivals -->")[1].split("\n\n")[0].splitlines()[3:]]
    assert {"ICIS", "ProText", "CuPL", "LaFTer", "SuS-X", "GIFT", "K-LITE", "LLaMP", "SynthCLIP"} <= {
        row[0].split()[0] for row in rows
    }
    for row in rows:
        assert len(row) == 6
        _, needs, _, number, source, code = (cell.strip() for cell in row)
        assert needs
        assert source
        assert any(sign.isdigit() for sign in number) or number == "none read"
        assert any(licence in code for licence in ("MIT", "Apache-2.0", "no licence file"))
