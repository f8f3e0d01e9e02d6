"""Probabilities that mean something: the temperature of votes, and the say of the prior, fitted to held-out images.

Both are chosen to give held-out images' true classes the highest likelihood, when each image is classified by the
others, without those of its own group. Shares of votes alone are often 0 for the true class, and too sure or too unsure
for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fpve.classify.labels import LabelSets
from fpve.classify.voting import Voting
from fpve.neighbours import Exact, Mask, Panel, Rows

# Two numbers that are fitted to fewer images say more of these than of others.
MIN_ROWS = 50
# More change them less than their grid is fine; which ones is drawn with a fixed seed.
_MOST = 5_000
_SEED = 0
# Images that are classified to fit them: their errors are then a third of what these images' own sampling is.
_SAMPLE = 1_000
# Cells of images and classes that they are fitted to by lists of classes, of k scores each.
_CELLS = 200_000
# Temperatures from one that lets the nearest neighbour decide to one that hardly tells scores apart.
_TEMPERATURES = np.geomspace(0.004, 1.0, 21)
# Scores of the prior, from one below all neighbours' to the best of these.
_SCORES, _BELOW = 33, 0.1
# Rounds in which the grid is made finer around the best place, and its points to each side.
_ROUNDS, _SIDE = 4, 4


class HeldOut(NamedTuple):
    """Images that were classified by others; or, of lists of classes, each of these with each class.

    Attributes:
        scores: (n, k) of their neighbours, -inf where there are fewer.
        hits: (n, k) which of these have the true class; or agree with the image on whether it has the class.
        prior: (n,) share of the images that vote that do.
    """

    scores: Exact
    hits: Mask
    prior: Exact

    @classmethod
    def of(cls, panel: Panel, codes: Rows, truth: Rows, prior: Exact) -> HeldOut:
        """Images of one class each, `truth` (n,), by the class numbers `codes` (all,) of those of their panel."""
        hits = (panel.row >= 0) & (codes[np.maximum(panel.row, 0)] == truth[:, None])
        return cls(panel.score, hits, prior[truth])

    @classmethod
    def of_sets(cls, panel: Panel, labels: LabelSets, rows: Rows, prior: Exact) -> HeldOut:
        """Images `rows` (n,) of one or many classes each, as `labels` has them for these and those of their panel."""
        if not labels.is_multiple:
            return cls.of(panel, labels.codes, labels.members[labels.starts[rows]], prior)
        found, scores = panel
        has, theirs = labels.matrix(rows), labels.matrix(np.maximum(found, 0).reshape(-1)).reshape(*found.shape, -1)
        # Each image with each class: whether neighbours agree with it on that.
        agree = (theirs == has[:, None, :]) & (found >= 0)[:, :, None]
        classes = has.shape[1]
        return cls(
            np.repeat(scores, classes, axis=0),
            agree.transpose(0, 2, 1).reshape(-1, found.shape[1]),
            np.where(has, prior, 1 - prior).reshape(-1),
        )

    def at(self, rows: Rows | Mask) -> HeldOut:
        """Some of the images."""
        return HeldOut._make(one[rows] for one in self)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and to what.

    Attributes:
        temperature: of softmax votes.
        prior_score: at which score the prior votes like one more neighbour.
        rows: how many held-out images it was fitted to.
        log_loss: mean of -log P(true class) over these, with what was fitted.
        distances: (n,) the distance of each of these to its last neighbour, ascending.
        prior: (classes,) the classes' shares of the images that voted.
    """

    temperature: float
    prior_score: float
    rows: int
    log_loss: float
    distances: Exact
    prior: Exact

    def applied(self, voting: Voting) -> Voting:
        """The voting with what was fitted."""
        return replace(voting, temperature=self.temperature, prior_score=self.prior_score)

    def novelty(self, distance: Exact) -> Exact:
        """Which share of the held-out images is nearer to its last neighbour than queries (m,) are to theirs.

        The distance to the k-th neighbour is the score of Sun et al. 2022 (Out-of-Distribution Detection with Deep
        Nearest Neighbors).
        """
        return np.searchsorted(self.distances, distance) / max(1, len(self.distances))


def sampled(rows: Rows, labels: LabelSets, k: int) -> Rows:
    """Those of images (n,) that votes of k neighbours are fitted to: all, or some of too many, always the same."""
    most = _SAMPLE
    if labels.is_multiple:
        most = min(most, max(MIN_ROWS, _CELLS // (len(labels.names) * k)))
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(_SEED).choice(rows, most, replace=False))


def fit(held: HeldOut) -> tuple[float, float, float]:
    """The temperature and the prior's score of the lowest log loss, and that loss.

    Args:
        held: at least one image.
    """
    if len(held.prior) > _MOST:
        held = held.at(np.random.default_rng(_SEED).choice(len(held.prior), _MOST, replace=False))
    known = held.scores[np.isfinite(held.scores)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    temperatures: Exact = _TEMPERATURES
    scores: Exact = np.linspace(low - _BELOW, high, _SCORES)
    best = (np.inf, 0.0, 0.0)
    for _ in range(1 + _ROUNDS):
        for temperature in temperatures.tolist():
            losses = _losses(held, temperature, scores)
            at = int(np.argmin(losses))
            best = min(best, (float(losses[at]), temperature, float(scores[at])))
        # A step of before to both sides of the best place, in smaller ones.
        ratio = float(temperatures[1] / temperatures[0]) ** (1 / _SIDE)
        step = float(scores[1] - scores[0]) / _SIDE
        temperatures = best[1] * ratio ** np.arange(-_SIDE, _SIDE + 1, dtype=np.float64)
        scores = best[2] + step * np.arange(-_SIDE, _SIDE + 1, dtype=np.float64)
    loss, temperature, score = best
    return temperature, score, loss


def _losses(held: HeldOut, temperature: float, scores: Exact) -> Exact:
    """Log losses (s,) at a temperature, for each of the prior's scores (s,), ascending."""
    best = np.maximum(held.scores.max(axis=1, initial=-np.inf), scores[-1])
    weights = np.exp((held.scores - best[:, None]) / temperature)
    right, total = (weights * held.hits).sum(axis=1), weights.sum(axis=1)
    own = np.exp((scores[:, None] - best) / temperature)
    with np.errstate(divide="ignore", invalid="ignore"):
        losses: Exact = -np.log((right + own * held.prior) / (total + own)).mean(axis=1)
    losses[~np.isfinite(losses)] = np.inf
    return losses
