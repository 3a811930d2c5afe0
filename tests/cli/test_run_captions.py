import pytest

from helpers.command import Command


def test_the_folder_of_the_parser_reaches_a_recipe(capsys, tmp_path):
    molyneux = Command(capsys)
    ended = molyneux(
        "run", "paper/table-8", "--miniature", "--out", tmp_path / "run", "--corenlp-dir", tmp_path, "--quiet"
    )
    assert ended.code == 2
    assert "corenlp" in ended.err


@pytest.mark.slow
def test_a_folder_without_the_parser_is_refused_by_a_recipe_of_captions(capsys, tmp_path):
    molyneux = Command(capsys)
    ended = molyneux(
        *("run", "paper/table-6", "--miniature", "--out", tmp_path / "run", "--corenlp-dir", tmp_path, "--quiet")
    )
    assert ended.code == 2
    assert "stanford-corenlp-3.6.0.jar" in ended.err
