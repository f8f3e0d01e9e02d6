"""Fitting an alignment: settings by cross-validation, and what it is worth on rows that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fpve.alignment.model import (
    MAX_LANDMARKS,
    Alignment,
    Doubles,
    Parts,
    Rows,
    Settings,
    check_rows,
    fit_with,
    kernel,
    neighbours_average,
    plain_ridge,
    solve,
)
from fpve.alignment.recall import Question, distinct
from fpve.errors import AlignmentError
from fpve.fusion import Floats, unit
from fpve.splits import Numbers, components, folds, half, near_duplicates, spread

# With fewer, half of them and a fifth of that half are too few to choose or measure anything by.
MIN_PREFIXES = 20
# Rows that measure, and among which settings are chosen: some seconds each, and all pairs can be compared.
_SAMPLE = 4_096
_CHOICE = 2_048
_FOLDS = 5
# Few rows are divided twice, for what is best in one division of them is often so by luck.
_ROUNDS = 2

# Of cosines of centred features, so that they are about as large with one encoder as with another. The first are the
# defaults, which a tie leaves standing.
_GAMMAS = (2.0, 1.0, 4.0)
_RIDGES = (0.1, 0.5)
_TEMPERATURES = (0.1, 0.05, 0.2)
_NEIGHBOUR_SHARES = (0.5, 0.0, 0.25, 0.75, 1.0)
_MEAN_SHARES = (1.0, 0.5)
_PENALTIES = (1.0, 0.1, 0.3, 3.0, 10.0)


@dataclass(frozen=True, slots=True)
class Fitted:
    """An alignment, and what it is worth.

    Recall at k is the share of distinct held-out prefixes for which a row with this prefix is among the first k of the
    predictions for all held-out rows. Half of the rows are held out (of a sample, if there are more than 4,096), by
    whole groups; the map that is measured was fitted to the other half, settings and all. `alignment` is fitted to all.

    Attributes:
        alignment: the map.
        recall: by k of 1, 5 and 10.
        ridge: that of plain ridge regression fitted to the same half, its penalty chosen among five in the same way.
        chance: that of random ranks.
        rows: how many rows it was fitted to.
        prefixes: how many distinct prefixes they have.
        held_out: how many rows were held out to measure.
    """

    alignment: Alignment
    recall: Mapping[int, float]
    ridge: Mapping[int, float]
    chance: Mapping[int, float]
    rows: int
    prefixes: int
    held_out: int


def fit_alignment(
    image: Floats,
    prefix: Floats,
    groups: Numbers,
    *,
    seed: int = 0,
    centre: Floats | None = None,
    max_landmarks: int = MAX_LANDMARKS,
) -> Fitted:
    """Learn from captioned rows, and measure on held-out ones.

    Args:
        image: (n, image_dim) features, raw or unit.
        prefix: (n, prefix_dim) embeddings, raw or unit.
        groups: (n,) equal for rows that must not be on both sides of a split: copies, and rows of one prefix. Near
            duplicates are found here, among the rows that choose and measure.
        seed: decides which rows are held out, and which are landmarks.
        centre: (prefix_dim,) what is taken from unit embeddings before they are compared, where that is done.
        max_landmarks: how many captioned rows are kept to compare pictures with.

    Raises:
        AlignmentError: too few distinct prefixes, or too few groups.
        ValueError: shapes don't fit, or a row is zero or not finite.
    """
    _check(image, prefix, groups, centre)
    random = np.random.default_rng(seed)
    rows = Rows(image, prefix, groups)
    prefixes = len(distinct(prefix)[0])
    sample = rows.taken(spread(groups, _SAMPLE, random))
    sample = sample._replace(groups=components([sample.groups], near_duplicates(sample.image)))
    _check_enough(prefixes, len(np.unique(sample.groups)), len(sample.groups))
    held = half(sample.groups, random)
    learnt, other = sample.taken(np.flatnonzero(~held)), sample.taken(np.flatnonzero(held))
    found = measure(learnt, other, centre, random, max_landmarks)
    alignment = fit_with(rows, choose(sample, centre, random), random, max_landmarks)
    return Fitted(
        alignment=replace(alignment, norm=found.norm),
        recall=found.recall,
        ridge=found.ridge,
        chance=found.chance,
        rows=len(rows.image),
        prefixes=prefixes,
        held_out=len(other.image),
    )


class Measured(NamedTuple):
    """Recalls by k, as in `Fitted`, and the length of predicted blocks beside real ones."""

    recall: dict[int, float]
    ridge: dict[int, float]
    chance: dict[int, float]
    norm: float


def measure(
    learnt: Rows, other: Rows, centre: Floats | None, random: np.random.Generator, max_landmarks: int = MAX_LANDMARKS
) -> Measured:
    """Fit to some rows, settings and all, and see what that is worth on others."""
    question = Question.of(other.prefix, centre)
    predicted = fit_with(learnt, choose(learnt, centre, random), random, max_landmarks).predict(other.image)
    ridge = plain_ridge(learnt.image, learnt.prefix, choose_penalty(learnt, centre, random))
    return Measured(
        recall=question.recall(predicted),
        ridge=question.recall(ridge(other.image)),
        chance=question.chance(),
        norm=question.norm_of(predicted, other.groups),
    )


def choose(rows: Rows, centre: Floats | None, random: np.random.Generator) -> Settings:
    """The settings of a small grid with which texts of grouped folds find their rows best.

    Those of the regression and of the neighbours are chosen for each alone, then how the two are joined. The defaults
    stand where the best are not better by more than a standard error, for luck does not last.
    """
    trials = _folds(rows, centre, random)
    regressions = {
        (gamma, ridge): [fold.regression(gamma, ridge) for fold in trials] for gamma in _GAMMAS for ridge in _RIDGES
    }
    averages = {
        temperature: [neighbours_average(fold.outer, fold.targets, temperature) for fold in trials]
        for temperature in _TEMPERATURES
    }

    def merits(settings: Settings) -> Doubles:
        found = zip(trials, regressions[settings.gamma, settings.ridge], averages[settings.temperature], strict=True)
        every = [fold.question.merits(Parts(*parts).joined(fold.mean, settings)) for fold, *parts in found]
        return np.concatenate(every)

    def merit(settings: Settings) -> float:
        return float(merits(settings).mean())

    start = Settings()
    alone = [replace(start, gamma=gamma, ridge=ridge, neighbour_share=0.0) for gamma, ridge in regressions]
    best = max(alone, key=merit)
    alone = [replace(best, temperature=temperature, neighbour_share=1.0) for temperature in averages]
    best = max(alone, key=merit)
    joined = [replace(best, neighbour_share=one, mean_share=mean) for one in _NEIGHBOUR_SHARES for mean in _MEAN_SHARES]
    best = max(joined, key=merit)
    gain = merits(best) - merits(start)
    # A text that was looked for in several rounds is still one.
    texts = len(gain) * _FOLDS / len(trials)
    return best if gain.mean() > gain.std() / math.sqrt(texts) else start


def choose_penalty(rows: Rows, centre: Floats | None, random: np.random.Generator) -> float:
    """The penalty of plain ridge regression with which texts of grouped folds find their rows best."""
    merits = np.mean([fold.merits_of_ridges() for fold in _folds(rows, centre, random)], axis=0)
    return _PENALTIES[int(np.argmax(merits))]


class _Fold(NamedTuple):
    """One fold: cosines of centred features inside it (n, n) and of the others with these (m, n)."""

    learnt: Rows
    other: Rows
    mean: Floats
    targets: Floats
    inner: Floats
    outer: Floats
    question: Question

    @classmethod
    def of(cls, learnt: Rows, other: Rows, centre: Floats | None) -> _Fold:
        image_mean, mean = learnt.image.mean(axis=0), learnt.prefix.mean(axis=0)
        inner, outer = unit(learnt.image - image_mean), unit(other.image - image_mean)
        question = Question.of(other.prefix, centre)
        return cls(learnt, other, mean, learnt.prefix - mean, inner @ inner.T, outer @ inner.T, question)

    def regression(self, gamma: float, ridge: float) -> Floats:
        return self._regression(kernel(self.inner, gamma), kernel(self.outer, gamma), ridge)

    def merits_of_ridges(self) -> list[float]:
        """Of plain ridge regression with each penalty."""
        image_mean = self.learnt.image.mean(axis=0)
        learnt, other = self.learnt.image - image_mean, self.other.image - image_mean
        inner, outer = learnt @ learnt.T, other @ learnt.T
        every = [unit(self._regression(inner, outer, penalty) + self.mean) for penalty in _PENALTIES]
        return [float(self.question.merits(predicted).mean()) for predicted in every]

    def _regression(self, inner: Floats, outer: Floats, penalty: float) -> Floats:
        # Solved for the few rows outside, not for all numbers of an embedding: half the time.
        return solve(inner, outer.T, penalty).T.astype(np.float32) @ self.targets


def _folds(rows: Rows, centre: Floats | None, random: np.random.Generator) -> list[_Fold]:
    rows = rows.taken(spread(rows.groups, _CHOICE, random))
    rounds = min(_ROUNDS, max(1, _CHOICE // len(rows.groups)))
    return [
        _Fold.of(rows.taken(inside), rows.taken(outside), centre)
        for _ in range(rounds)
        for inside, outside in folds(rows.groups, _FOLDS, random)
    ]


def _check(image: Floats, prefix: Floats, groups: Numbers, centre: Floats | None) -> None:
    check_rows(image, "image features", image.shape[-1])
    check_rows(prefix, "prefix embeddings", prefix.shape[-1])
    if not len(image) == len(prefix) == len(groups):
        raise ValueError(f"expected equal numbers of rows, found {len(image)}, {len(prefix)} and {len(groups)}")
    if centre is not None and centre.shape != prefix.shape[1:]:
        raise ValueError(f"expected a centre of shape {prefix.shape[1:]}, found {centre.shape}")


def _check_enough(prefixes: int, groups: int, rows: int) -> None:
    if min(prefixes, groups) < MIN_PREFIXES:
        raise AlignmentError(
            f"expected at least {MIN_PREFIXES} pictures with prefixes of their own to learn from, found {prefixes:,} "
            f"distinct prefixes, and {groups:,} groups of {rows:,} pictures that share none and are no copies: give "
            "more pictures a prefix, or prefixes that tell them apart"
        )
