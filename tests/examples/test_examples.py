import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def run(script: Path, *arguments: object) -> str:
    command = [sys.executable, str(script), "--images", "2", "--steps", "2", *map(str, arguments)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_there_are_three_short_examples():
    assert len(EXAMPLES) == 3
    assert all(len(path.read_text().splitlines()) <= 40 for path in EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said", "kept"),
    [
        ("teach_one_concept", r"before: .* of 12 drawings.*\nafter: .* of 12 drawings", ("model", "images")),
        ("compare_with_noise", r"untaught .*\nnoise .*\nwords ", ("scores.json",)),
        ("blend_old_and_new", r"  0% new: .* moved by -?0\.000\n(.* new: .*\n){4}", ("open_clip_model.safetensors",)),
    ],
)
def test_an_example_runs_prints_and_keeps_what_it_says(tmp_path, name, said, kept):
    script = next(path for path in EXAMPLES if path.stem == name)
    assert re.search(said, run(script, tmp_path / "out"))
    assert all((tmp_path / "out" / file).exists() for file in kept)
