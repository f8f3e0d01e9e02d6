"""Classification by the votes of the nearest labelled images (k-NN)."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

import numpy as np

from fpve.classify.calibration import MIN_ROWS, Calibration, HeldOut, fit, sampled
from fpve.classify.held_out import neighbours_of_others
from fpve.classify.labels import LabelSets, read_label_sets
from fpve.classify.voting import Voting, distances, vote
from fpve.errors import QueryError
from fpve.fusion import Blocks, Floats
from fpve.groups import Groups, groups_of
from fpve.neighbours import Exact, Neighbours, Rows
from fpve.search import Searcher

# Neighbours nearer than this are measured anew, by their vectors: of what a score lacks to 1, float32 leaves too few
# digits to divide by. At this distance they are five.
_NEAR = 0.05


class Kind(NamedTuple):
    """What queries have that are calibrated together: scores mean something else without a block.

    Attributes:
        image, prefix: whether they have the block.
        weight: the weight A of their image block.
    """

    image: bool
    prefix: bool
    weight: float


class Classified(NamedTuple):
    """What m queries are classified as.

    Attributes:
        probabilities: (m, classes).
        novelty: (m,) share of the store's labelled images that are nearer to their k-th neighbour; NaN where that is
            not known.
        neighbours: the images that voted.
    """

    probabilities: Exact
    novelty: Exact
    neighbours: Neighbours


class KnnClassifier:
    """Classifies by the labelled images of a snapshot. Safe to use from many threads.

    Attributes:
        labels: the classes.
        voting: how neighbours vote, before it is calibrated.
        allowed: (rows,) which images may vote.
    """

    def __init__(
        self,
        searcher: Searcher,
        *,
        label: str,
        voting: Voting | None = None,
        calibrate: bool = True,
        image_weight: float | None = None,
        where: str | None = None,
        calibrations: Mapping[Kind, Calibration | None] | None = None,
    ) -> None:
        """Read labels.

        Args:
            searcher: over the images.
            label: the metadata column of classes.
            voting: how neighbours vote.
            calibrate: whether temperature and prior are fitted to held-out images; only of `softmax` votes.
            image_weight: the weight A of all queries; by default what fits each.
            where: an SQL condition on the images that vote.
            calibrations: what was fitted earlier, and stands, by the kind of queries; of others it is fitted.

        Raises:
            QueryError: no such label column, no labelled image, or a wrong weight or condition.
        """
        self.voting = voting or Voting()
        self._searcher = searcher.variant(predicted=False)
        self._label = label
        self._calibrate = calibrate and self.voting.weights == "softmax"
        self._image_weight = image_weight
        self.labels: LabelSets = read_label_sets(searcher, label)
        allowed = self.labels.labelled if where is None else self.labels.labelled & searcher.matching(where)
        if not allowed.any():
            raise QueryError(f"no image with a value of {label!r} meets the condition {where!r}")
        # What can't be written to is remembered by the searcher, with what may be found by it.
        self.allowed = allowed.copy()
        self.allowed.flags.writeable = False
        self._reach = None if self.allowed.all() else self.allowed
        # More than there are don't vote, and room is made for k.
        self._k = min(self.voting.k, int(np.count_nonzero(self.allowed)))
        self.prior = self.labels.prior(self.allowed)
        self._lock = Lock()
        self._calibrations: dict[Kind, Calibration | None] = dict(calibrations or {})

    def classify(self, blocks: Blocks, *, exclude: Rows | None = None) -> Classified:
        """Classify m queries.

        Args:
            blocks: raw blocks (m, image_dim) and (m, prefix_dim); a zero row is a missing block.
            exclude: (m,) an image row that must not vote for a query, such as itself.

        Raises:
            QueryError: a weight that is none.
        """
        weights = self._searcher.weights(blocks, self._image_weight)
        found = self._searcher.nearest(blocks, image_weight=weights, k=self._k, allowed=self._reach, exclude=exclude)
        compared = (np.any(blocks.image, axis=1) & (weights > 0)) | (np.any(blocks.prefix, axis=1) & (weights < 1))
        if not compared.all():
            # What is compared with nothing is like nothing: who is first by name has no vote for it.
            found = found.where(compared[found.query])
        if self.voting.weights == "distance" and self._searcher.fusion.mode == "balanced":
            found = self._measured(blocks, weights, found)
        count = len(weights)
        probabilities, novelty = np.zeros((count, len(self.labels.names))), np.full(count, np.nan)
        last = np.full(count, np.inf)
        np.minimum.at(last, found.query, found.score)
        for kind, mine in _kinds(blocks, weights):
            calibration = self.calibration(kind)
            if calibration is None:
                voting, prior = self.voting, None
            else:
                voting, prior = calibration.fitted.applied(self.voting), calibration.prior
                known = mine[np.isfinite(last[mine])]
                novelty[known] = calibration.novelty(distances(last[known]))
            chosen = np.zeros(count, bool)
            chosen[mine] = True
            place = np.cumsum(chosen) - 1
            part = found if len(mine) == count else found.where(chosen[found.query])
            probabilities[mine] = vote(part._replace(query=place[part.query]), self.labels, len(mine), voting, prior)
        probabilities[~np.isfinite(last)] = 0
        return Classified(probabilities, novelty, found)

    def _measured(self, blocks: Blocks, weights: Floats, found: Neighbours) -> Neighbours:
        """The neighbours with exact scores where these are so near to 1 that their distances are not."""
        near = np.flatnonzero(distances(found.score) < _NEAR)
        if not len(near):
            return found
        query, fusion = found.query[near], self._searcher.fusion
        asked = fusion.directions(blocks.image[query], blocks.prefix[query])
        theirs = fusion.directions(*self._searcher.blocks_of(found.row[near]))
        image, prefix = (
            np.square(one.astype(np.float64) - other).sum(axis=1) for one, other in zip(asked, theirs, strict=True)
        )
        weight = weights[query].astype(np.float64)
        score = found.score.astype(np.float64)
        score[near] = 1 - (weight * image + (1 - weight) * prefix) / 2
        return found._replace(score=score)

    @property
    def calibrations(self) -> dict[Kind, Calibration | None]:
        """What was fitted for queries so far, by their kind; None where too few images are labelled."""
        with self._lock:
            return dict(self._calibrations)

    def calibration(self, kind: Kind) -> Calibration | None:
        """What was fitted for queries of a kind; None where nothing is, or too few images are labelled."""
        if not self._calibrate:
            return None
        with self._lock:
            if kind not in self._calibrations:
                self._calibrations[kind] = self._fitted(kind)
            return self._calibrations[kind]

    def _fitted(self, kind: Kind) -> Calibration | None:
        searcher, labels = self._searcher, self.labels
        rows = np.flatnonzero(self.allowed)
        image_norm, prefix_norm = searcher.norms_of(rows)
        if kind.image:
            rows, prefix_norm = rows[image_norm > 0], prefix_norm[image_norm > 0]
        if kind.prefix:
            rows = rows[prefix_norm > 0]
        if len(rows) < MIN_ROWS:
            return None
        groups, _ = groups_of(searcher, self._label, labels.codes, np.flatnonzero(self.allowed))
        rows = sampled(rows, labels, self._k, are_grouped=kind.prefix and self._are_grouped(rows, groups))
        raw = searcher.blocks_of(rows)
        blocks = Blocks(raw.image * kind.image, raw.prefix * kind.prefix)
        panel = neighbours_of_others(
            searcher, rows, blocks, groups=groups, image_weight=kind.weight, k=self._k, allowed=self._reach
        )
        found = fit(HeldOut.of_sets(panel, labels, rows, self.prior))
        known = panel.row >= 0
        last = np.where(known, panel.score, np.inf).min(axis=1)[known.any(axis=1)]
        return Calibration(found, len(rows), np.sort(distances(last)), self.prior)

    def _are_grouped(self, rows: Rows, groups: Groups) -> bool:
        """Whether more than half of images (n,) share their prefix with more of those that vote than are asked for."""
        prefix = groups.prefix[rows]
        shared = np.bincount(groups.prefix[self.allowed & (groups.prefix >= 0)], minlength=prefix.max(initial=0) + 1)
        return bool(np.mean(np.where(prefix >= 0, shared[prefix], 0) > self.voting.k) > 0.5)


def _kinds(blocks: Blocks, weights: Floats) -> list[tuple[Kind, Rows]]:
    """The kinds of queries, and the numbers of those of each."""
    image, prefix = np.any(blocks.image, axis=1), np.any(blocks.prefix, axis=1)
    keys = np.stack([image, prefix, weights.astype(np.float64)])
    names, place = np.unique(keys, axis=1, return_inverse=True)
    place = place.reshape(-1)
    return [
        (Kind(bool(has_image), bool(has_prefix), float(weight)), np.flatnonzero(place == number))
        for number, (has_image, has_prefix, weight) in enumerate(names.T)
    ]
