"""What progress says of the time that is left."""

from molyneux.cli.progress import plain_lines


def lines(calls):
    times = iter([0.0, *(at for at, *_ in calls)])
    said = []
    on_step = plain_lines(said.append, lambda: next(times))
    for _, *call in calls:
        on_step(*call)
    return said


def test_the_first_step_says_how_long_the_rest_takes():
    calls = [(5, "read", 1, 1), (11, "make", 1, 100), *((5 + 6 * one, "make", one, 100) for one in range(2, 101))]
    assert lines(calls) == [
        "read: 1 of 1",
        "make: 1 of 100, about 10 min left",
        "make: 25 of 100, about 8 min left",
        "make: 50 of 100, about 5 min left",
        "make: 75 of 100, about 3 min left",
        "make: 100 of 100",
    ]


def test_what_an_earlier_run_did_is_not_counted_as_fast():
    found = lines([(1, "make", 50, 100), (31, "make", 60, 100), (91, "make", 80, 100)])
    assert found == ["make: 50 of 100", "make: 80 of 100, about 60 s left"]


def test_a_short_wait_is_not_worth_a_word():
    assert lines([(1, "make", 1, 8), (2, "make", 2, 8)]) == ["make: 1 of 8", "make: 2 of 8"]
