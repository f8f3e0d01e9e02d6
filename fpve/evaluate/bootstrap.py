"""Intervals by resampling clusters of images: images of one cluster rise and fall together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.neighbours import Mask, Rows

# The percentile bootstrap of Efron and Tibshirani 1993 (An Introduction to the Bootstrap); 1,000 is what they take.
RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
# Any; the same one gives the same figures each time, and the same resamples to whatever is compared.
SEED = 0

Exact = NDArray[np.float64]


class Interval(NamedTuple):
    """The 95 % interval of a figure."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Exact) -> Interval:
        """The interval that holds 95 % of the values."""
        low, high = np.percentile(values, PERCENTILES)
        return cls(float(low), float(high))


class Intervals(NamedTuple):
    """Intervals of the accuracy and of the balanced accuracy."""

    accuracy: Interval
    balanced_accuracy: Interval


def resamples(clusters: Rows) -> Iterator[Exact]:
    """How often each of n images is in a resample, (n,), for each of the resamples.

    As many clusters are drawn, with replacement, as there are.
    """
    random = np.random.default_rng(SEED)
    _, clusters = np.unique(clusters, return_inverse=True)
    count = int(clusters.max(initial=-1)) + 1
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(count, size=count), minlength=count)
        yield times[clusters].astype(np.float64)


def intervals(truth: Rows, predicted: Rows, clusters: Rows) -> list[Intervals]:
    """Intervals of the figures of several predictions (s, n) of the classes `truth` (n,).

    In the balanced accuracy a class that is not in a resample keeps its recall: leaving it out would leave out the
    small ones, which are the hardest.
    """
    _, classes = np.unique(truth, return_inverse=True)
    right = (predicted == truth).astype(np.float64)
    recall = [np.bincount(classes, one) / np.bincount(classes) for one in right]
    accuracy, balanced = np.empty((RESAMPLES, len(right))), np.empty((RESAMPLES, len(right)))
    for number, times in enumerate(resamples(clusters)):
        rows = np.bincount(classes, times)
        accuracy[number] = right @ times / times.sum()
        for which, one in enumerate(right):
            hits = np.bincount(classes, times * one)
            balanced[number, which] = np.mean(np.divide(hits, rows, out=recall[which].copy(), where=rows > 0))
    return [Intervals(Interval.of(accuracy[:, which]), Interval.of(balanced[:, which])) for which in range(len(right))]


class Behind(NamedTuple):
    """By how much one accuracy is below another on the same images, and the interval of that."""

    value: float
    interval: Interval


def behind(right: Mask, best: int, clusters: Rows) -> list[Behind]:
    """By how much the accuracies of several predictions are below that of one of them.

    All are right and wrong on the same images, so that these intervals are narrower than those of the accuracies.

    Args:
        right: (s, n) which of n images each predicts right.
        best: number of the one that the others are compared with.
        clusters: (n,) what is resampled together.
    """
    gaps = right[best].astype(np.float64) - right
    spread = np.stack([gaps @ times / times.sum() for times in resamples(clusters)], axis=1)
    return [Behind(float(gap.mean()), Interval.of(one)) for gap, one in zip(gaps, spread, strict=True)]
