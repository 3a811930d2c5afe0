"""The first notebook runs to its end; both are as they were written, without outputs, and call what there is."""

import ast
import json
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BOOKS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in EXAMPLES.glob("*.ipynb")}


def code(book: dict[str, list[dict[str, object]]]) -> list[str]:
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]  # type: ignore[arg-type]


def test_there_are_two_notebooks_without_outputs():
    assert set(BOOKS) == {"first_lesson", "clip_on_a_gpu"}
    for book in BOOKS.values():
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in book["cells"])


@pytest.mark.parametrize("name", BOOKS)
def test_what_a_notebook_calls_is_there(name):
    import molyneux

    for text in code(BOOKS[name]):
        lines = [line for line in text.splitlines() if not line.startswith("%")]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "molyneux":
                assert node.attr in {*molyneux.__all__, "teaching", "__file__"}


def test_the_notebook_that_was_never_run_says_so():
    first = "".join(BOOKS["clip_on_a_gpu"]["cells"][0]["source"])
    assert "never run" in first
    assert BOOKS["clip_on_a_gpu"]["metadata"]["accelerator"] == "GPU"


@pytest.mark.slow
def test_the_first_lesson_runs(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    book = nbformat.read(EXAMPLES / "first_lesson.ipynb", as_version=4)
    book.metadata.kernelspec.name = "python3"
    client = nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    client.execute()
    told = "".join(
        str(output.get("text", "")) for cell in book.cells if cell.cell_type == "code" for output in cell.outputs
    )
    before, after = (line.split(": ")[1].strip() for line in told.split("summer-palace")[1].splitlines()[1:3])
    assert "pagoda" not in before.split(", ")
    assert "pagoda" in after.split(", ")[:2]
