import json

import pytest

from helpers.command import Command, check_refused
from molyneux.recipes.schema import Recipe, recipe_names


@pytest.fixture
def molyneux(capsys):
    return Command(capsys)


def test_a_recipe_in_miniature_prints_its_table(molyneux, tmp_path):
    wanted = ("paper/figure-9", "--miniature", "--only", "concept=moongate", "--quiet")
    ended = molyneux("run", *wanted, "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert "| concept | inverted images | photos | noise |" in ended.out
    assert "mean nothing" in ended.out
    ended = molyneux("run", *wanted, "--out", tmp_path / "other", "--json")
    assert json.loads(ended.out)["recipe"] == "paper/figure-9"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("paper/table-99",), "no recipe 'paper/table-99'"),
        (("paper/table-2",), "needs rare-concepts and imagenet-1k: add --data rare-concepts=FOLDER"),
        (("paper/table-8", "--data", "nowhere"), "nowhere"),
        (("paper/table-8", "--data", "a", "b"), "--data b is one too many: paper/table-8 needs flickr30k"),
        (("paper/table-8", "--data", "flickr8k=a"), "no use for the data set 'flickr8k'"),
        (("paper/table-8", "--only", "model"), "expected AXIS=POINT"),
        (("paper/table-8", "--only", "model=x"), "nothing at model=x"),
        (("paper/table-8", "--set", "inversion"), "expected SETTING=VALUE"),
        (("paper/table-8", "--set", "inversion.steps=x"), "inversion.steps is 'x'"),
        (("paper/table-8", "--set", "seed=[", "--miniature"), "is no value"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(molyneux, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    check_refused(molyneux("run", *arguments), words)
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_listed_with_what_they_need_and_what_they_ran_on(molyneux):
    listed = json.loads(molyneux("list", "recipes", "--json").out)
    assert list(listed) == list(recipe_names())
    first = listed["paper/table-2"]
    assert first["needs"]["data"] == ["rare-concepts", "imagenet-1k"]
    assert "needs weights (open_clip:ViT-L-14-quickgelu/openai)" in first["status"]
    table = molyneux("list", "recipes").out.splitlines()
    assert len([line for line in table if line.startswith("paper/")]) == len(recipe_names()) + sum(
        len(one["runs"]) for one in listed.values()
    )


def test_tasks_are_listed_with_their_recipes(molyneux):
    listed = json.loads(molyneux("list", "tasks", "--json").out)
    assert "paper/table-8" in listed["retrieval"]["recipes"]
    assert all(task["what"] and task["recipes"] for task in listed.values())
    assert "captioning" in molyneux("list", "tasks").out


def test_a_recipe_is_shown_as_it_is_written_down(molyneux):
    shown = molyneux("show", "paper/table-2")
    assert "command: molyneux run paper/table-2" in shown.out
    assert "known" in shown.out
    content = json.loads(molyneux("show", "paper/table-2", "--json").out)
    assert content["digest"] == Recipe.read("paper/table-2").digest
    check_refused(molyneux("show", "nosuch"), "no recipe 'nosuch'")


def test_the_papers_concepts_are_shown(molyneux):
    assert "moongate: A circular stone archway" in molyneux("show", "rare-concepts-p1").out
    assert json.loads(molyneux("show", "coco-80", "--json").out)["cat"][0].startswith("A small, furry animal")
