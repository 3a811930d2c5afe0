"""What progress says of the time that is left."""

from molyneux.cli.progress import plain_lines


def lines(calls):
    clock = [0.0]
    said = []
    on_step = plain_lines(said.append, lambda: clock[0])
    for at, *call in calls:
        clock[0] = at
        on_step(*call)
    return said


def test_the_second_step_says_how_long_the_rest_takes():
    # the first step waits for the model
    calls = [(5.0, "read", 1, 1), *((200.0 + 6 * one, "make", one, 100) for one in range(1, 101))]
    assert lines(calls) == [
        "read: 1 of 1",
        "make: 1 of 100",
        "make: 2 of 100, about 10 min left",
        "make: 25 of 100, about 8 min left",
        "make: 50 of 100, about 5 min left",
        "make: 75 of 100, about 3 min left",
        "make: 100 of 100",
    ]


def test_what_an_earlier_run_did_is_not_counted_as_fast():
    found = lines([(1.0, "make", 50, 100), (61.0, "make", 60, 100), (121.0, "make", 70, 100), (181.0, "make", 80, 100)])
    assert found == ["make: 50 of 100", "make: 60 of 100, about 4 min left", "make: 80 of 100, about 2 min left"]


def test_a_short_wait_is_not_worth_a_word():
    assert lines([(1.0, "make", 1, 8), (2.0, "make", 2, 8)]) == ["make: 1 of 8", "make: 2 of 8"]
