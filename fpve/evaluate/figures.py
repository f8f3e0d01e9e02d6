"""The figures of a classification: how often it is right, for which classes, and whether it knows when it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fpve.neighbours import Exact, Mask, Rows
from fpve.records import ClassScore, ReliabilityBin, RiskPoint

# Guo et al. 2017 (On Calibration of Modern Neural Networks), and most since.
_BINS = 15
# Shares of images that are answered.
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


class Figures(NamedTuple):
    """Accuracies, and what they are made of."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]


def figures_of(names: tuple[str, ...], truth: Rows, predicted: Rows) -> Figures:
    """The figures of predicted class numbers (q,), -1 for none, of images whose classes are `truth` (q,)."""
    present = np.unique(np.r_[truth, predicted[predicted >= 0]])
    at = np.searchsorted(present, truth)
    answered = predicted >= 0
    # A prediction of -1 counts against its class's recall, and is in no column.
    confusion = np.zeros((len(present), len(present)), np.int64)
    np.add.at(confusion, (at[answered], np.searchsorted(present, predicted[answered])), 1)
    rows = np.bincount(at, minlength=len(present))
    right = np.diag(confusion)
    recall = np.divide(right, rows, out=np.zeros(len(present)), where=rows > 0)
    columns = confusion.sum(axis=0)
    precision = np.divide(right, columns, out=np.zeros(len(present)), where=columns > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros(len(present)), where=both > 0)
    true_classes = rows > 0
    return Figures(
        accuracy=float(right.sum() / rows.sum()),
        balanced_accuracy=float(recall[true_classes].mean()),
        macro_f1=float(f1[true_classes].mean()),
        classes=tuple(
            ClassScore(names[code], float(precision[row]), float(recall[row]), float(f1[row]), int(rows[row]))
            for row, code in enumerate(present)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def reliability(confidence: Exact, right: Mask) -> tuple[ReliabilityBin, ...]:
    """How often q predictions are right, by their confidence: fifteen bins of equal width, without the empty ones."""
    number = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    rows = np.bincount(number, minlength=_BINS)
    sums = (np.bincount(number, values, minlength=_BINS) for values in (confidence, right))
    return tuple(
        ReliabilityBin(float(sure / count), float(hits / count), int(count))
        for sure, hits, count in zip(*sums, rows, strict=True)
        if count
    )


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Expected calibration error, in [0, 1]: the mean distance of confidence and accuracy over the rows of the bins.

    Each bin is counted by its rows (Guo et al. 2017).
    """
    gaps = sum(one.rows * abs(one.confidence - one.accuracy) for one in bins)
    return gaps / max(1, sum(one.rows for one in bins))


def log_loss(probability: Exact) -> float | None:
    """The mean of -log of the true classes' probabilities (q,); None if one is 0."""
    return None if np.any(probability <= 0) else float(-np.log(probability).mean())


def risk_coverage(confidence: Exact, right: Mask) -> tuple[RiskPoint, ...]:
    """Accuracy of the q predictions if only the most confident ones are given (Geifman and El-Yaniv 2017)."""
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    found = []
    for coverage in COVERAGES:
        count = max(1, round(coverage * len(order)))
        found.append(
            RiskPoint(
                coverage=count / len(order),
                accuracy=float(hits[count - 1] / count),
                confidence=float(confidence[order[count - 1]]),
            )
        )
    return tuple(found)
