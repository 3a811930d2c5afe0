"""A sample of what `tests/abuse/kills.py` and `tests/abuse/flips.py` do."""

import random
from pathlib import Path

import pytest

from helpers.kills import DESCRIBED, JOBS, OUT, TIMED, Job, flipped, killed, points, whole, workplace

pytestmark = pytest.mark.slow

BRIEF = Job("invert", ("invert", *DESCRIBED, "--model", "tiny", "--quiet", "--inversion.images=1",
    "--inversion.steps=30", *OUT))  # fmt: skip
SAMPLE = (BRIEF, *(job for job in JOBS if job.name == "describe"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("kills").resolve() / "scene") as root:
        yield root


@pytest.mark.parametrize("job", SAMPLE, ids=lambda job: job.name)
def test_a_killed_command_ends_as_one_that_was_not(place: Path, job):
    found = whole(job, place)
    outcomes = [killed(job, place, found, when) for when in points(found, 2, seed=len(job.name))]
    assert {str(one.points): one.differs or one.said for one in outcomes if one.kind != "equal"} == {}


def test_a_flipped_bit_is_made_good_or_refused(place: Path):
    found, chance = whole(BRIEF, place), random.Random(1)
    outcomes = [flipped(BRIEF, place, found, chance) for _ in range(2)]
    good = ("equal", "refused", "nothing kept")
    assert {where: one.differs or one.said for one, where in outcomes if one.kind not in good} == {}
    assert any(one.kind in ("equal", "refused") for one, _ in outcomes)


def test_each_file_that_holds_times_is_named_with_the_reason():
    assert sorted(TIMED) == ["digests.json", "environment.json", "images.json", "report.html"]
    assert all(reason for _, reason in TIMED.values())
