"""Help: examples first, the settings of every day, and all of them where all are asked for."""

import re
import shlex

import pytest

from helpers.command import Command
from molyneux.backends.families import FAMILIES
from molyneux.cli.help import EXAMPLES
from molyneux.cli.main import app
from molyneux.cli.show import print_scores
from molyneux.datasets.sets import SETS
from molyneux.recipes.schema import recipe_names


@pytest.fixture
def molyneux(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return Command(capsys)


VERBS = {"", *(name for name in app if not name.startswith("-"))}
LINES = [(verb, line) for verb, lines in EXAMPLES.items() if verb in VERBS for line in lines]


@pytest.mark.parametrize(("verb", "line"), LINES)
def test_every_example_is_of_its_verb_and_parses(verb, line):
    words = shlex.split(line)
    assert words[0] == "molyneux"
    function, _, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    assert words[1] == verb or not verb
    assert function.__name__ in words


def test_every_verb_has_an_example():
    assert set(EXAMPLES) >= VERBS


def test_help_begins_with_examples_and_ends_with_what_it_left_out(molyneux):
    short, whole = molyneux("teach", "--help").out, molyneux("teach", "--help-all").out
    assert short.startswith("Examples:\n  molyneux teach okapi --description")
    assert "--out PATH" in short
    assert "--device" in short
    assert "--inversion.steps" not in short
    told = re.search(r"(\d+) more options with --help-all: .*teaching \(\d+\)", short)
    assert (
        int(told[1]) == len(re.findall(r"--[a-z.-]+", whole)) - len(re.findall(r"--[a-z.-]+", short))
        or int(told[1]) > 50
    )
    assert "--inversion.steps" in whole
    assert "more options" not in whole
    assert "more options" not in molyneux("cite", "--help").out
    assert len(short.splitlines()) < len(whole.splitlines()) / 3


def test_the_command_itself_has_examples_and_all_verbs(molyneux):
    text = molyneux("--help").out
    assert text.startswith("Examples:\n  molyneux demo\n")
    for verb in VERBS:
        assert verb in text


@pytest.mark.parametrize("what", ["models", "datasets", "recipes"])
def test_lists_never_cut_what_one_must_type(molyneux, monkeypatch, what):
    typed = {
        "models": [family.loader for family in FAMILIES],
        "datasets": [text for one in SETS for text in (one.name, one.usage)],
        "recipes": recipe_names(),
    }[what]
    piped = molyneux("list", what).out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    shown = molyneux("list", what).out
    assert max(len(line) for line in piped.splitlines()) > 80 >= max(len(line) for line in shown.splitlines())
    assert "…" not in shown + piped
    for name in typed:
        assert name in piped
        # what has several words may go on in the next line, but no word is broken
        assert all(word in shown.split() for word in name.split()), name


def scores(names):
    def result(recall):
        pair = {"before": 0.0, "after": recall}
        return {"target_recall": pair, "false_positive_rate": pair, "median_rank": pair, "photos": 2}

    counts = {"known_names": 1000, "novel_names": len(names)}
    protocol = {
        "prompts": ["a photo of a {}."], "templates": "one", "naming": "by name", "class_names": "openai",
        "score": "cosine", "preprocessing": "resized", "counts": counts,
    }  # fmt: skip
    return {
        "concepts": {name: result(0.5) for name in names},
        "controls": {"noise": {name: result(place / 10) for place, name in enumerate(names)}},
        "known_accuracy": {"before": 0.6, "after": 0.6},
        "known_accuracy_joint": {"before": None, "after": None},
        "protocol": protocol,
    }


def test_controls_stand_below_their_concept_and_of_many_their_mean(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_scores(scores(["ring", "cross"]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["ring", "control:", "cross", "control:"]
    assert "0.0 → 10.0 %" in lines[4]
    print_scores(scores(list("abcdefg")))
    assert "mean of control: noise" in capsys.readouterr().out


def test_the_protocol_is_one_short_line_or_all_of_it(capsys):
    print_scores(scores(["ring"]))
    short = capsys.readouterr().out.splitlines()[-1]
    assert short == "protocol: 1000 known and 1 new names in 'a photo of a {}.' (-v: all of it)"
    print_scores(scores(["ring"]), verbose=True)
    assert "score: cosine; photos: resized" in capsys.readouterr().out
