"""A sample of the bad inputs that `tests/abuse/report.py` tries, and the counts that all of them must have."""

import random
from collections import Counter
from pathlib import Path

import pytest

from helpers.abuse import cases, check_good, reason, scene, tried, use_small, use_stand_ins

SAMPLE = 220
"""Of some three thousand; the same ones each time."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("abuse").resolve()
    with pytest.MonkeyPatch.context() as patch:
        use_small(patch, root)
        use_stand_ins(patch)
        scene(root)
        yield root


def test_there_are_many_over_all_verbs():
    names = {case.name for case in cases()}
    verbs = Counter(case.arguments[0] for case in cases())
    assert len(names) > 3000
    assert {
        "teach", "invert", "evaluate", "recognise", "retrieve", "localise", "caption", "describe", "convert", "pack",
        "apply", "remove", "list", "push", "report", "run", "show", "cite",
    } == verbs.keys()  # fmt: skip


@pytest.mark.slow
def test_each_command_works_before_its_values_are_spoiled(place: Path):
    check_good(place)


@pytest.mark.slow
def test_a_sample_is_refused_in_one_line_or_accepted_for_a_reason(place: Path):
    chosen = random.Random(0).sample(list(cases()), SAMPLE)
    found = [tried(case, place) for case in chosen]
    wrong = {
        f"{one.kind}: {one.case.name}": one.said
        for one in found
        if one.kind != "refused" and not (one.kind == "accepted" and reason(one.case.name))
    }
    assert wrong == {}


def test_a_command_that_works_is_accepted(place: Path):
    good = [case for case in cases() if case.name == "x.nii: a picture" or case.name == "recognise PHOTO: a picture"]
    assert {case.name: tried(case, place).kind for case in good} == {
        "recognise PHOTO: a picture": "accepted",
        "x.nii: a picture": "refused",
    }
