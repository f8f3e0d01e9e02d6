"""The weight of the image block that a label column speaks for, and how sure that is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fpve.classify import DEFAULT_K, DEFAULT_TEMPERATURE, Voting
from fpve.errors import QueryError
from fpve.evaluate.bootstrap import PERCENTILES, Interval, resamples
from fpve.evaluate.pairs import Comparison
from fpve.evaluate.trial import SAMPLE, Trial
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, Mode
from fpve.neighbours import Mask, Rows
from fpve.records import FittedWeight
from fpve.search import Searcher

# Accuracy changes by less than its interval between two of these.
GRID = tuple(number / 20 for number in range(21))


class BestWeight(NamedTuple):
    """The best of the weights on a grid.

    Attributes:
        weight: the one of highest accuracy, and of equal ones the nearest to the default.
        low, high: between which 95 % of resamples choose theirs.
        accuracy: interval of the accuracy at `weight`, on the rows that chose it.
        out_of_bag: accuracy of rows at weights chosen without them, over all resamples that each is not in: the
            leave-one-out bootstrap of Efron and Tibshirani 1997 (Improvements on Cross-Validation).
    """

    weight: float
    low: float
    high: float
    accuracy: Interval
    out_of_bag: float


def fit_weight(
    searcher: Searcher,
    *,
    label: str,
    mode: Mode | None = None,
    centred: bool | None = None,
    k: int = DEFAULT_K,
    temperature: float = DEFAULT_TEMPERATURE,
    where: str | None = None,
    sample: int | None = SAMPLE,
) -> FittedWeight:
    """Choose the weight A in {0, 0.05, …, 1} of the best grouped leave-one-out k-NN accuracy on a label column.

    Images without a prefix vote, but are not predicted: a query without one has weight 1 whatever is chosen.

    The accuracy at the chosen weight is optimistic, for it was chosen on these rows. So `accuracy` is out of bag: each
    resample chooses a weight, and the rows that are not in it are predicted at that. Its interval is that of the
    accuracy at the chosen weight, moved by the same.

    Args:
        searcher: over the images.
        label: the column of classes.
        mode: another fusion mode than the store's.
        centred: whether blocks are centred; by default as the store does.
        k: how many neighbours vote.
        temperature: tau of their weights exp(score / tau).
        where: an SQL condition on all images that take part.
        sample: predict so many images at most, drawn with a fixed seed; all vote. None predicts all.

    Raises:
        QueryError: no image has a prefix, no such label column, fewer than two labelled rows or classes, or a wrong k
            or temperature.
    """
    searcher = searcher.variant(mode=mode, centred=centred, predicted=False)
    voting = Voting(k, temperature=temperature)
    trial = Trial(searcher, label=label, where=where, sample=sample, prefixed=True)
    if not trial.has_prefixes:
        raise QueryError(
            f"{searcher.snapshot.root}: no image with a value of {label!r} has a prefix, so there is no weight to "
            'choose; give the collections a prefix such as "{caption}", or leave image_weight at a number'
        )
    fusion = searcher.fusion
    comparisons = [Comparison(fusion.mode, weight, fusion.centre is not None) for weight in GRID]
    judged = trial.judge(comparisons, voting, naive=False, calibrate=False)
    right = np.stack([one.grouped.bare.right(trial.truth) for one in judged])
    best = best_weight(right, trial.clusters)
    accuracies = right.mean(axis=1)
    optimism = float(accuracies[GRID.index(best.weight)]) - best.out_of_bag
    return FittedWeight(
        image_weight=best.weight,
        low=best.low,
        high=best.high,
        accuracy=best.out_of_bag,
        accuracy_low=best.accuracy.low - optimism,
        accuracy_high=best.accuracy.high - optimism,
        rows=len(trial.queries),
        label=label,
        curve=tuple((weight, float(one)) for weight, one in zip(GRID, accuracies, strict=True)),
        warnings=trial.warnings,
    )


def best_weight(right: Mask, clusters: Rows) -> BestWeight:
    """Choose a weight by which of n rows are predicted right at each, (weights, n); clusters (n,) are resampled."""
    # Of equals `argmax` takes the first: so the nearest to the default first, and of these the larger, for new
    # pictures often come without a prefix.
    order = sorted(range(len(GRID)), key=lambda at: (round(abs(GRID[at] - DEFAULT_IMAGE_WEIGHT), 6), -GRID[at]))
    weights = np.array(GRID)[order]
    hits = right[order].astype(np.float64)
    chosen = int(hits.sum(axis=1).argmax())
    picked, inside = [], []
    outside_hits, outside = np.zeros(hits.shape[1]), np.zeros(hits.shape[1])
    for times in resamples(clusters):
        each = hits @ times
        at = int(each.argmax())
        picked.append(weights[at])
        inside.append(each[chosen] / times.sum())
        left = times == 0
        outside_hits[left] += hits[at, left]
        outside += left
    # Weights of the grid, not between two of them.
    low, high = (float(one) for one in np.percentile(picked, PERCENTILES, method="nearest"))
    # One cluster alone is in every resample.
    known = outside > 0
    shares = outside_hits[known] / outside[known] if known.any() else hits[chosen]
    return BestWeight(float(weights[chosen]), low, high, Interval.of(np.array(inside)), float(shares.mean()))
