"""Figures of predictions, against loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, log_loss

from fpve.evaluate import figures

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(4, size=400)
PROBABILITIES = RANDOM.dirichlet(np.ones(4), 400) * 0.6 + 0.4 * np.eye(4)[TRUTH]
PREDICTED = PROBABILITIES.argmax(axis=1)
CONFIDENCE = PROBABILITIES.max(axis=1)


def test_figures_are_those_of_scikit_learn() -> None:
    """Balanced accuracy, macro F1 and the confusion matrix."""
    found = figures.figures_of(("a", "b", "c", "d"), TRUTH, PREDICTED)
    assert found.accuracy == pytest.approx(np.mean(TRUTH == PREDICTED))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(TRUTH, PREDICTED))
    assert found.macro_f1 == pytest.approx(f1_score(TRUTH, PREDICTED, average="macro"))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(TRUTH, PREDICTED))


def test_log_loss_is_that_of_scikit_learn() -> None:
    """It is the mean of -log of the true classes' probabilities, and None where one is 0."""
    true = PROBABILITIES[np.arange(400), TRUTH]
    assert figures.log_loss(true) == pytest.approx(log_loss(TRUTH, PROBABILITIES))
    assert figures.log_loss(np.array([0.5, 0.0])) is None


def test_risk_falls_with_coverage() -> None:
    """Each point has the accuracy of the most confident share, and the confidence that draws the line."""
    right = TRUTH == PREDICTED
    points = figures.risk_coverage(CONFIDENCE, right)
    assert [one.coverage for one in points] == list(figures.COVERAGES)
    for one in points:
        assert one.accuracy == pytest.approx(right[one.confidence <= CONFIDENCE].mean())
        assert np.mean(one.confidence <= CONFIDENCE) == pytest.approx(one.coverage)
