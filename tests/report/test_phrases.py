"""The verdict says what the numbers support, and no more."""

import pytest

from molyneux.records import ConceptResult, ImagesRecord, RankPair, SharePair
from molyneux.report.folder import NO_RESULT, Taught
from molyneux.report.phrases import (
    SPACE,
    comparison,
    controls_together,
    could_be_chance,
    counted,
    percent,
    price,
    recognition,
    taught_on,
    together,
    verdict,
)

WORDS = "Taught from its description alone"


def found(before: int | None, after: int, photos: int = 30, **more: object) -> ConceptResult:
    earlier = {} if before is None else {"before": before / photos}
    recall = SharePair(after=after / photos, **earlier)
    return NO_RESULT.model_copy(update={"target_recall": recall, "photos": photos, **more})


def rated(before: float, after: float) -> dict[str, SharePair]:
    return {"false_positive_rate": SharePair(before=before, after=after)}


def lacking(reason: str) -> SharePair:
    return SharePair(after=None, reason=f"not computed: {reason}")


def taught(name: str, outcome: ConceptResult, images: ImagesRecord | None = None, **controls: ConceptResult) -> Taught:
    return Taught(
        name=name,
        descriptions=("Something.",),
        images=images,
        files=(),
        result=outcome,
        text_only=None,
        controls=controls,
        photos=(),
        mistaken=(),
    )


def test_the_whole_verdict_of_a_good_run_in_one_piece() -> None:
    outcome = found(0, 13, **rated(0.0, 0.002))
    said = verdict(outcome, SharePair(before=0.712, after=0.710), 1000, {"noise": found(0, 1)}, teaching=WORDS)
    assert " ".join(said).replace(SPACE, " ") == (
        "Taught from its description alone, the model now recognises it in 13 of 30 real photos (before: 0). "
        "Price: known accuracy 71.2 % → 71.0 %; 2 of 1,000 other photos are now mistaken for it (before: 0). "
        "The same teaching on noise: 1 of 30."
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0, 13, "the model now recognises it in 13 of 30 real photos (before: 0)."),
        (0, 3, "the model now recognises it in 3 of 30 real photos (before: 0). "
         "So small a change, 3 of 30, could be chance."),
        (5, 5, "the model recognises it in 5 of 30 real photos, as many as before."),
        (5, 3, "the model recognises it in 3 of 30 real photos, fewer than before (5)."),
        (5, 0, "the model recognises it in none of 30 real photos, fewer than before (5)."),
        (0, 0, "the model recognises it in none of 30 real photos; nor did it before."),
        (None, 4, "the model recognises it in 4 of 30 real photos (before teaching: not measured)."),
        (0, 30, "the model now recognises it in 30 of 30 real photos (before: 0)."),
    ],
)  # fmt: skip
def test_recognition_is_said_as_counted(before: int | None, after: int, expected: str) -> None:
    assert recognition(found(before, after), WORDS) == f"{WORDS}, {expected}"


def test_a_failure_may_still_tell_that_the_name_rose() -> None:
    said = recognition(found(0, 0, median_rank=RankPair(before=412.0, after=36.5)), WORDS)
    assert said.endswith("Its name did rise on them, from median rank 413 to 37.5.")
    assert "rise" not in recognition(found(0, 0, median_rank=RankPair(before=36.0, after=36.0)), WORDS)


def test_drawings_are_never_called_photos() -> None:
    outcome = found(0, 13, **rated(0.0, 0.002))
    said = verdict(outcome, SharePair(before=0.7, after=0.7), None, {}, teaching=WORDS, drawn=True)
    assert said[0] == f"{WORDS}, the model now recognises it in 13 of 30 drawings (before: 0)."
    assert recognition(found(0, 1, 1), WORDS, drawn=True).startswith(
        f"{WORDS}, the model now recognises it in 1 of 1 drawing "
    )
    assert recognition(NO_RESULT, WORDS, drawn=True).startswith("Recognition in drawings was not computed: ")


def test_what_was_not_measured_is_not_computed_and_never_zero() -> None:
    nothing = NO_RESULT.model_copy(update={"target_recall": lacking("no novel photos")})
    said = verdict(nothing, lacking("no known photos"), None, {}, teaching=WORDS)
    assert said == (
        "Recognition in real photos was not computed: no novel photos.",
        "Price: known accuracy not computed: no known photos.",
    )


@pytest.mark.parametrize(
    ("before", "after", "rate", "expected"),
    [
        (0.7, 0.7, (0.001, 0.0), "unchanged at 70.0 %; none of 1,000 other photos is now mistaken for it (before: 1)."),
        (None, 0.7, (0.0, 0.001), "70.0 % (before teaching: not measured); 1 of 1,000 other photos is now mistaken"),
        (0.7, 0.6, (0.0, 0.0), "70.0 % → 60.0 %; none of 1,000 other photos is now mistaken for it (before: 0)."),
    ],
)
def test_price_in_words(before: float | None, after: float, rate: tuple[float, float], expected: str) -> None:
    known = SharePair(after=after) if before is None else SharePair(before=before, after=after)
    outcome = found(0, 0, 30, **rated(*rate))
    assert price(known, outcome, 1000).replace(SPACE, " ").startswith(f"Price: known accuracy {expected}")


def test_a_name_that_captures_more_strangers_than_its_own_photos_is_told_so() -> None:
    outcome = found(0, 13, **rated(0.0, 0.04))
    assert "40 of 1,000 other photos are now mistaken for it (before: 0), more than it recognises of its own" in (
        price(lacking("no known names"), outcome, 1000)
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (13, 1, "The same teaching on noise: 1 of 30."),
        (13, 9, "The same teaching on noise: 9 of 30, a difference that could be chance."),
        (
            13,
            13,
            "The same teaching on noise does at least as well (13 of 30): no evidence that the description",
        ),
        (
            13,
            20,
            "The same teaching on noise does at least as well (20 of 30): no evidence that the description",
        ),
        (0, 0, "The same teaching on noise: none of 30."),
    ],
)
def test_a_control_that_does_as_well_is_said_to(ours: int, theirs: int, expected: str) -> None:
    assert comparison(found(0, ours), {"noise": found(0, theirs)}).startswith(expected)


def test_asking_for_the_description_needs_no_teaching() -> None:
    said = comparison(found(0, 9), {"noise": found(0, 0), "description_prompt": found(None, 12)})
    assert "asking for the description instead of the name does at least as well (12 of 30)" in said


def test_that_no_control_was_run_is_said() -> None:
    assert comparison(found(0, 9), {}).startswith("No control was run")
    assert comparison(found(0, 9), {"description_prompt": found(0, 1)}).endswith("is not known.")
    assert comparison(found(0, 9), {}, is_control=True) == ""


def test_fewer_than_six_changed_photos_are_never_told_from_chance() -> None:
    assert all(could_be_chance(few, 0, total) for few in range(6) for total in (10, 30, 1000))
    assert not could_be_chance(6, 0, 30)
    assert could_be_chance(140, 130, 300)
    assert could_be_chance(3, 9, 30) == could_be_chance(9, 3, 30)


def test_a_count_is_given_only_where_the_share_is_one() -> None:
    assert all(counted(k / n, n) == k for n in (1, 7, 30, 1000) for k in range(n + 1))
    assert counted(0.5, 7) is None


def test_what_was_taught_on_opens_the_sentence() -> None:
    def made(source: str, depicted: str = "") -> Taught:
        about = ImagesRecord(
            version=1,
            name="okapi",
            descriptions=("Something.",),
            block=None,
            seed=0,
            source=source,
            depicted=depicted,
            source_descriptions=(),
            origin="",
            seconds=0.0,
            trace=(),
        )
        return taught("okapi", NO_RESULT, about)

    assert taught_on([made("inverted")]) == "Taught on inverted images and the description"
    assert taught_on([made("noise", "noise")]) == "Taught on noise"
    assert taught_on([made("photos")]) == "Taught on real photos"
    assert taught_on([made("inverted", "pigeon")]) == "Taught on the images of “pigeon” instead"
    assert taught_on([made("inverted", "pigeon"), made("inverted", "okapi")]) == "Taught on one another’s images"
    assert taught_on([taught("okapi", NO_RESULT)]) == "After teaching"


def test_several_concepts_add_up_their_photos_and_only_whole_controls() -> None:
    one = taught("a", found(0, 9, 10), noise=found(0, 1, 10))
    two = taught("b", found(1, 0, 20), noise=found(0, 2, 20), shuffled=found(0, 0, 20))
    whole = together([one.result, two.result])
    assert whole.photos == 30
    assert counted(whole.target_recall.after, 30) == 9
    assert counted(whole.target_recall.before, 30) == 1
    assert list(controls_together([one, two])) == ["noise"]
    assert together([one.result, NO_RESULT]).target_recall.after is None


def test_percentages_do_not_break_across_lines() -> None:
    assert percent(1 / 3) == f"33.3{SPACE}%"
