import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Generator

from molyneux.errors import DataError
from molyneux.tasks.classification.open_set import (
    auroc,
    calibration_error,
    false_positives_at,
    forgetting,
    harmonic_mean,
    margins,
)

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(lambda some: torch.tensor(some).float())


@given(scores, scores)
def test_the_area_is_scikit_learns_ties_and_all(shown, others):
    truth = [1] * len(shown) + [0] * len(others)
    assert auroc(shown, others) == pytest.approx(roc_auc_score(truth, torch.cat([shown, others]).numpy()))
    assert auroc(shown, others) == pytest.approx(1 - auroc(others, shown))


@given(scores, scores)
def test_false_positives_are_read_off_scikit_learns_curve(shown, others):
    truth = [1] * len(shown) + [0] * len(others)
    false, true, _ = roc_curve(truth, torch.cat([shown, others]).numpy(), drop_intermediate=False)
    expected = min(f for f, t in zip(false, true, strict=True) if t >= 0.95 - 1e-9)
    assert false_positives_at(shown, others) == pytest.approx(expected)


def test_calibration_error_is_that_of_a_slow_loop():
    generator = Generator().manual_seed(0)
    probabilities = (3 * torch.randn(500, 4, generator=generator)).softmax(dim=1)
    labels = torch.randint(4, (500,), generator=generator)
    expected = 0.0
    for low in range(15):
        own = [
            (float(row.max()), int(row.argmax()) == int(label))
            for row, label in zip(probabilities, labels, strict=True)
            if low / 15 < float(row.max()) <= (low + 1) / 15
        ]
        if own:
            gap = sum(right for _, right in own) / len(own) - sum(sure for sure, _ in own) / len(own)
            expected += len(own) / 500 * abs(gap)
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-6)


def test_probabilities_that_are_true_have_no_error():
    probabilities = torch.tensor([[0.75, 0.25]]).repeat(4, 1)
    assert calibration_error(probabilities, torch.tensor([0, 0, 0, 1])) == 0.0


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_the_harmonic_mean_lies_between_and_below_the_mean(novel, known):
    found = harmonic_mean(novel, known)
    assert min(novel, known) - 1e-12 <= found <= math.sqrt(novel * known) + 1e-12


def test_forgetting_takes_the_best_that_there_was():
    assert forgetting([[0.8], [0.9, 0.5], [0.6, 0.7, 0.4]]) == pytest.approx(((0.9 - 0.6) + (0.5 - 0.7)) / 2)
    for rows in ([[0.8]], [[0.8], [0.9]], []):
        with pytest.raises(DataError, match="two lessons or more"):
            forgetting(rows)


def test_nothing_is_measured_on_nothing():
    none, some = torch.empty(0), torch.ones(2)
    for pair in ((none, some), (some, none)):
        with pytest.raises(DataError, match="expected some of both"):
            auroc(*pair)
        with pytest.raises(DataError, match="expected some of both"):
            false_positives_at(*pair)
    with pytest.raises(DataError, match="expected more than 0"):
        false_positives_at(some, some, recall=1.5)
    with pytest.raises(DataError, match="expected some of both"):
        calibration_error(torch.empty(0, 3), torch.empty(0, dtype=torch.long))
    with pytest.raises(DataError, match="no known class"):
        margins(torch.empty(2, 0), some)
