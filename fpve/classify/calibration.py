"""Probabilities that mean something: what votes are calibrated by, fitted to held-out images.

The temperature of votes, the score at which the prior votes, and the sharpness of what comes of it are chosen to give
held-out images' true classes the highest likelihood, when each image is classified by the others, without those of its
own group. Shares of votes alone are often 0 for the true class, and too sure or too unsure for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fpve.classify.labels import LabelSets
from fpve.classify.voting import Voting
from fpve.neighbours import Exact, Mask, Panel, Rows

# Three numbers that are fitted to fewer images say more of these than of others.
MIN_ROWS = 50
# More change them less than their grid is fine; which ones is drawn with a fixed seed.
_MOST = 5_000
_SEED = 0
# Images that are classified to fit them, which tells each of them to some per cent. Where each image shares its prefix
# with so many that the nearest are all tied to it, others have to be searched for far down: so fewer do.
_SAMPLE, _SAMPLE_OF_GROUPS = 1_000, 250
# Cells of images and classes that they are fitted to by lists of classes, of k scores each.
_CELLS = 200_000
# Where the search begins: temperatures from one that lets the nearest neighbour decide to one that hardly tells scores
# apart, and scores of the prior from one below all neighbours' to the best of these.
_TEMPERATURES = np.geomspace(0.004, 1.0, 21)
_SCORES, _BELOW = 33, 0.1
# And what it does not leave: more is a fit to few images. Less sharp than it is nothing is made: the prior does that,
# and where both did, confidence was further from accuracy on images that took no part.
_RANGE, _SHARPNESS = (0.002, 2.0), (1.0, 4.0)
# It begins at the best of these as it is, and with wider votes that are made sharper, for these are two valleys.
_WIDER, _SHARPER = 1.6, 1.7
# Steps of the search, each of which looks at all images once or twice; it comes to rest before.
_STEPS = 200


class HeldOut(NamedTuple):
    """Images that were classified by others; or, of lists of classes, each of these with each class.

    Attributes:
        scores: (n, k) of their neighbours, -inf where there are fewer.
        slots: (n, k) number of each neighbour's class among those of the image's neighbours.
        hit: (n,) the slot of the true class, or -1 if no neighbour has it.
        truth: (n,) prior of the true class.
        shares: (n, k) prior of the class of each slot, 0 where there is no such slot.
        prior: (classes,) all of it; empty if the slots have all classes.
    """

    scores: Exact
    slots: Rows
    hit: Rows
    truth: Exact
    shares: Exact
    prior: Exact

    @classmethod
    def of(cls, panel: Panel, codes: Rows, truth: Rows, prior: Exact) -> HeldOut:
        """Images of one class each, `truth` (n,), by the class numbers `codes` (all,) of those of their panel."""
        code = np.where(panel.row >= 0, codes[np.maximum(panel.row, 0)], -1)
        order = np.argsort(code, axis=1, kind="stable")
        ranked = np.take_along_axis(code, order, axis=1)
        number = np.cumsum(np.diff(ranked, axis=1, prepend=ranked[:, :1]) != 0, axis=1)
        slots, shares = np.empty_like(code), np.zeros(code.shape)
        np.put_along_axis(slots, order, number, axis=1)
        np.put_along_axis(shares, slots, np.where(code >= 0, prior[np.maximum(code, 0)], 0.0), axis=1)
        same = code == truth[:, None]
        first = np.take_along_axis(slots, same.argmax(axis=1)[:, None], axis=1)[:, 0]
        return cls(panel.score, slots, np.where(same.any(axis=1), first, -1), prior[truth], shares, prior)

    @classmethod
    def of_sets(cls, panel: Panel, labels: LabelSets, rows: Rows, prior: Exact) -> HeldOut:
        """Images `rows` (n,) of one or many classes each, as `labels` has them for these and those of their panel."""
        if not labels.is_multiple:
            return cls.of(panel, labels.codes, labels.members[labels.starts[rows]], prior)
        found, scores = panel
        has, theirs = labels.matrix(rows), labels.matrix(np.maximum(found, 0).reshape(-1)).reshape(*found.shape, -1)
        # Each image with each class: neighbours that agree with it on that are in slot 0, the others in slot 1.
        slots = (theirs != has[:, None, :]).transpose(0, 2, 1).reshape(-1, found.shape[1]).astype(np.int64)
        truth = np.where(has, prior, 1 - prior).reshape(-1)
        shares = np.stack([truth, 1 - truth], axis=1)
        hit = np.zeros(len(truth), np.int64)
        return cls(np.repeat(scores, has.shape[1], axis=0), slots, hit, truth, shares, np.zeros(0))

    def at(self, rows: Rows | Mask) -> HeldOut:
        """Some of the images."""
        of_each = {name: getattr(self, name)[rows] for name in self._fields if name != "prior"}
        return self._replace(**of_each)

    def loss(self, temperature: float, prior_score: float, sharpness: float) -> float:
        """The log loss: mean of -log P(true class)."""
        best = np.maximum(self.scores.max(axis=1, initial=-np.inf), prior_score)
        weights = np.exp((self.scores - best[:, None]) / temperature)
        own = np.exp((prior_score - best) / temperature)
        total = weights.sum(axis=1) + own
        count, width = self.shares.shape
        cell = np.arange(count)[:, None] * width + self.slots
        votes = np.bincount(cell.reshape(-1), weights.reshape(-1), minlength=count * width).reshape(count, width)
        probability = (votes + own[:, None] * self.shares) / total[:, None]
        rows = np.arange(count)
        true = np.where(self.hit >= 0, probability[rows, self.hit], own * self.truth / total)
        rest = np.sum(self.prior**sharpness) - np.sum(self.shares**sharpness, axis=1)
        # Classes that no neighbour has, all at once.
        others = (own / total) ** sharpness * np.maximum(rest, 0) if len(self.prior) else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = sharpness * np.log(true) - np.log((probability**sharpness).sum(axis=1) + others)
        loss = -float(logs.mean())
        return loss if np.isfinite(loss) else np.inf


class Fitted(NamedTuple):
    """What gives held-out images the lowest log loss.

    Attributes:
        temperature: of softmax votes.
        prior_score: at which score the prior votes like one more neighbour.
        sharpness: to which power probabilities are raised.
        log_loss: mean of -log P(true class) over these images.
    """

    temperature: float
    prior_score: float
    sharpness: float
    log_loss: float

    def applied(self, voting: Voting) -> Voting:
        """The voting with what was fitted."""
        return replace(voting, temperature=self.temperature, prior_score=self.prior_score, sharpness=self.sharpness)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and to what.

    Attributes:
        fitted: by what votes are calibrated.
        rows: how many held-out images it was fitted to.
        distances: (n,) the distance of each of these to its last neighbour, ascending.
        prior: (classes,) the classes' shares of the images that voted.
    """

    fitted: Fitted
    rows: int
    distances: Exact
    prior: Exact

    def novelty(self, distance: Exact) -> Exact:
        """Which share of the held-out images is nearer to its last neighbour than queries (m,) are to theirs.

        The distance to the k-th neighbour is the score of Sun et al. 2022 (Out-of-Distribution Detection with Deep
        Nearest Neighbors).
        """
        return np.searchsorted(self.distances, distance) / max(1, len(self.distances))


def sampled(rows: Rows, labels: LabelSets, k: int, *, are_grouped: bool = False) -> Rows:
    """Those of images (n,) that votes of k neighbours are fitted to: all, or some of too many, always the same.

    Args:
        rows: the images.
        labels: their classes.
        k: how many vote.
        are_grouped: whether most are tied to more images than vote.
    """
    most = _SAMPLE_OF_GROUPS if are_grouped else _SAMPLE
    if labels.is_multiple:
        most = min(most, max(MIN_ROWS, _CELLS // (len(labels.names) * k)))
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(_SEED).choice(rows, most, replace=False))


def fit(held: HeldOut) -> Fitted:
    """Fit temperature, prior and sharpness to at least one held-out image: on a grid, and from there by Nelder-Mead."""
    # Which takes as long to import as all of a search, and few commands fit anything.
    from scipy.optimize import minimize

    if len(held.truth) > _MOST:
        held = held.at(np.random.default_rng(_SEED).choice(len(held.truth), _MOST, replace=False))
    known = held.scores[np.isfinite(held.scores)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    scores: Exact = np.linspace(low - _BELOW, high, _SCORES)
    best = (np.inf, 0.0, 0.0)
    for temperature in _TEMPERATURES.tolist():
        losses = _unsharpened(held, temperature, scores)
        at = int(np.argmin(losses))
        best = min(best, (float(losses[at]), temperature, float(scores[at])))

    def loss(place: Exact) -> float:
        temperature, sharpness = np.exp(place[0]), np.exp(place[2])
        if not _RANGE[0] <= temperature <= _RANGE[1] or sharpness > _SHARPNESS[1]:
            return np.inf
        # What is less is taken for as sharp as it is, so that the search does not get stuck at the edge.
        return held.loss(float(temperature), float(place[1]), max(float(sharpness), _SHARPNESS[0]))

    found = Fitted(best[1], best[2], 1.0, best[0])
    for wider, sharper in ((1.0, 1.0), (_WIDER, _SHARPER)):
        start = np.array([np.log(best[1] * wider), best[2], np.log(sharper)])
        # From one temperature to the next, and one score to the next; by default steps go by the size of numbers.
        steps = np.diag([np.log(_TEMPERATURES[1] / _TEMPERATURES[0]), scores[1] - scores[0], np.log(sharper) or 0.2])
        simplex = np.vstack([start, start + steps])
        options = {"initial_simplex": simplex, "maxiter": _STEPS, "xatol": 1e-3, "fatol": 1e-5}
        result = minimize(loss, start, method="Nelder-Mead", options=options)
        if result.fun < found.log_loss:
            place = result.x
            sharpness = max(float(np.exp(place[2])), _SHARPNESS[0])
            found = Fitted(float(np.exp(place[0])), float(place[1]), sharpness, float(result.fun))
    return found


def _unsharpened(held: HeldOut, temperature: float, scores: Exact) -> Exact:
    """Log losses (s,) at a temperature, for each of the prior's scores (s,), ascending, as probabilities are."""
    best = np.maximum(held.scores.max(axis=1, initial=-np.inf), scores[-1])
    weights = np.exp((held.scores - best[:, None]) / temperature)
    right, total = (weights * (held.slots == held.hit[:, None])).sum(axis=1), weights.sum(axis=1)
    own = np.exp((scores[:, None] - best) / temperature)
    with np.errstate(divide="ignore", invalid="ignore"):
        losses: Exact = -np.log((right + own * held.truth) / (total + own)).mean(axis=1)
    losses[~np.isfinite(losses)] = np.inf
    return losses
