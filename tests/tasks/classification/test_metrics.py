"""Laws and closed forms of the metrics, and slow loops that compute them again."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molyneux.errors import DataError
from molyneux.tasks.classification.metrics import (
    bootstrap_interval,
    captured,
    false_positive_rate,
    median_rank,
    ranks,
    target_recall,
    top1_accuracy,
)

steady = settings(deadline=None, max_examples=60)

# Few distinct values, so that ties are common.
cells = st.integers(0, 3).map(float)
matrices = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(st.lists(cells, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
)


@st.composite
def labelled(draw):
    rows = draw(matrices)
    labels = draw(st.lists(st.integers(0, len(rows[0]) - 1), min_size=len(rows), max_size=len(rows)))
    return rows, labels


@steady
@given(labelled())
def test_ranks_agree_with_sorting_by_hand(case):
    rows, labels = case
    slow = []
    for row, label in zip(rows, labels, strict=True):
        order = sorted(range(len(row)), key=lambda column: -row[column])  # stable: ties keep their order
        slow.append(order.index(label))
    assert ranks(torch.tensor(rows), torch.tensor(labels)).tolist() == slow


@steady
@given(labelled())
def test_a_photo_is_right_exactly_when_its_rank_is_nought(case):
    scores, labels = torch.tensor(case[0]), torch.tensor(case[1])
    first = (ranks(scores, labels) == 0).double().mean().item()
    assert top1_accuracy(scores, labels) == pytest.approx(first)


@steady
@given(labelled(), st.randoms(use_true_random=False))
def test_the_order_of_photos_does_not_matter(case, random):
    scores, labels = torch.tensor(case[0]), torch.tensor(case[1])
    order = list(range(len(scores)))
    random.shuffle(order)
    assert top1_accuracy(scores[order], labels[order]) == pytest.approx(top1_accuracy(scores, labels))
    assert ranks(scores[order], labels[order]).tolist() == ranks(scores, labels)[order].tolist()


@steady
@given(labelled())
def test_recall_is_top_one_with_the_target_as_last_column(case):
    known = torch.tensor(case[0])
    target = torch.tensor(case[1]).float()
    whole = torch.cat([known, target[:, None]], dim=1)
    last = torch.full((len(known),), known.shape[1])
    assert target_recall(known, target) == pytest.approx(top1_accuracy(whole, last))
    assert false_positive_rate(known, target) == target_recall(known, target)
    assert captured(known, target).tolist() == [max(row) < t for row, t in zip(case[0], case[1], strict=True)]


@steady
@given(st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_the_median_is_the_textbook_one(values):
    assert median_rank(torch.tensor(values)) == statistics.median(values)


def test_ties_go_to_the_first_column():
    scores = torch.ones(1, 3)
    assert [top1_accuracy(scores, torch.tensor([label])) for label in range(3)] == [1, 0, 0]
    assert target_recall(scores, torch.ones(1)) == 0


def test_an_interval_repeats_with_its_seed_and_holds_the_mean():
    values = torch.tensor([0, 1, 1, 0, 1, 1, 1, 0, 1, 1])
    low, high = bootstrap_interval(values, seed=3)
    assert (low, high) == bootstrap_interval(values, seed=3)
    assert 0 <= low < 0.7 < high <= 1
    narrow = bootstrap_interval(values, seed=3, level=0.5)
    assert low <= narrow[0] < narrow[1] <= high


def test_an_interval_has_the_width_that_the_normal_law_gives():
    values = (torch.arange(400) % 2).double()
    low, high = bootstrap_interval(values, seed=0, resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 400**0.5, rel=0.1)


def test_nothing_to_measure_is_refused():
    empty, labels = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    for broken in (
        lambda: top1_accuracy(empty, labels),
        lambda: ranks(empty, labels),
        lambda: target_recall(empty, torch.zeros(0)),
        lambda: false_positive_rate(torch.zeros(2, 0), torch.zeros(2)),
        lambda: median_rank(labels),
        lambda: bootstrap_interval(torch.zeros(0), seed=0),
        lambda: bootstrap_interval(torch.ones(2), seed=0, level=95.0),
    ):
        with pytest.raises(DataError):
            broken()


def test_accuracy_recall_and_false_positives_agree_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = torch.rand(60, 7, generator=generator)
        labels = torch.randint(7, (60,), generator=generator)
        guesses = scores.argmax(dim=1)
        assert top1_accuracy(scores, labels) == pytest.approx(sklearn.accuracy_score(labels, guesses))
        # the last column is the novel name; as a question of two classes its recall is that of the novel photos
        is_novel, said_novel = labels == 6, guesses == 6
        known, target = scores[:, :6], scores[:, 6]
        recall = sklearn.recall_score(is_novel, said_novel)
        assert target_recall(known[is_novel], target[is_novel]) == pytest.approx(recall)
        specificity = sklearn.recall_score(~is_novel, ~said_novel)
        assert false_positive_rate(known[~is_novel], target[~is_novel]) == pytest.approx(1 - specificity)
