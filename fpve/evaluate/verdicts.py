"""From votes to predictions: with a temperature and a prior that were fitted to other images than those they judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fpve.classify import Labels, LabelSets, Voting, vote
from fpve.classify.calibration import MIN_ROWS, HeldOut, fit
from fpve.evaluate.bootstrap import SEED
from fpve.neighbours import Exact, Mask, Panel, Rows
from fpve.splits import folds

# Temperature and prior are fitted to four fifths of the images, and judge the other.
_FOLDS = 5
# Images whose probabilities are held at once: of a thousand classes 33 MB.
_AT_ONCE = 4_096


class Verdict(NamedTuple):
    """What q images were classified as.

    Attributes:
        predicted: (q,) class number; -1 for one that nobody voted for.
        confidence: (q,) probability of that class.
        probability: (q,) that of the true class.
    """

    predicted: Rows
    confidence: Exact
    probability: Exact

    @classmethod
    def of(cls, probabilities: Exact, truth: Rows) -> Verdict:
        """By probabilities (q, classes); a row of zeros is one of which nothing is known."""
        rows = np.arange(len(truth))
        best = probabilities.argmax(axis=1)
        confidence = probabilities[rows, best]
        return cls(np.where(confidence > 0, best, -1), confidence, probabilities[rows, truth])

    def right(self, truth: Rows) -> Mask:
        """Which are right (q,)."""
        right: Mask = self.predicted == truth
        return right


class Judged(NamedTuple):
    """Votes with and without what was fitted.

    Attributes:
        calibrated: by what was fitted to images of other clusters; or the bare votes where nothing is to be fitted.
        bare: by the bare votes.
        voting: what fits all of the images, of several kinds of these the most frequent.
        fits: by the kind of images, what fits those outside each fold; nothing where nothing is fitted.
    """

    calibrated: Verdict
    bare: Verdict
    voting: Voting
    fits: dict[int, tuple[Voting, ...]]


@dataclass(frozen=True, slots=True)
class Subject:
    """Images that are judged.

    Attributes:
        truth: (q,) class numbers.
        clusters: (q,) numbers of what is tied together.
        kinds: (q,) numbers of what is calibrated apart: scores of queries without a prefix mean something else.
    """

    truth: Rows
    clusters: Rows
    kinds: Rows


def judge(
    panel: Panel,
    labels: Labels,
    votes: Mask,
    subject: Subject,
    voting: Voting,
    *,
    calibrate: bool = True,
    like: Judged | None = None,
) -> Judged:
    """Classify images by those who vote for them.

    Args:
        panel: who votes for each of q images, by their numbers in `labels`.
        labels: the classes of n images; all have one.
        votes: (n,) which of these vote.
        subject: the q images.
        voting: how they vote.
        calibrate: whether votes are calibrated, where the voting can be, to enough images.
        like: the same images judged by others: what fits those is taken.
    """
    prior = LabelSets.of(labels).prior(votes)
    truth = subject.truth
    bare = _verdict(panel, labels, truth, voting, None)
    found = Verdict(bare.predicted.copy(), bare.confidence.copy(), bare.probability.copy())
    fits: dict[int, tuple[Voting, ...]] = {}
    most, every = 0, voting
    for kind in np.unique(subject.kinds).tolist() if calibrate and voting.weights == "softmax" else ():
        mine = np.flatnonzero(subject.kinds == kind)
        if len(mine) < MIN_ROWS or len(np.unique(subject.clusters[mine])) < _FOLDS:
            continue
        parts = list(folds(subject.clusters[mine], _FOLDS, np.random.default_rng(SEED)))
        if like is not None and kind in like.fits:
            fits[kind], whole = like.fits[kind], like.voting
        else:
            held = HeldOut.of(panel.at(mine), labels.codes, truth[mine], prior)
            fits[kind] = tuple(fit(held.at(inside)).applied(voting) for inside, _ in parts)
            whole = fit(held).applied(voting)
        for (_, outside), one in zip(parts, fits[kind], strict=True):
            rows = mine[outside]
            part = _verdict(panel.at(rows), labels, truth[rows], one, prior)
            for column, value in zip(found, part, strict=True):
                column[rows] = value
        if len(mine) > most:
            most, every = len(mine), whole
    # What has no voter is not known, whatever the prior says.
    found.predicted[bare.predicted < 0] = -1
    return Judged(found, bare, every, fits)


def _verdict(panel: Panel, labels: Labels, truth: Rows, voting: Voting, prior: Exact | None) -> Verdict:
    sets = LabelSets.of(labels)
    parts = []
    for start in range(0, len(truth), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        mine = panel.at(part)
        parts.append(Verdict.of(vote(mine.flat(), sets, len(mine.row), voting, prior), truth[part]))
    return Verdict(*(np.concatenate(column) for column in zip(*parts, strict=True)))
