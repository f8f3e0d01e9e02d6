"""How well texts find rows by predicted embeddings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fpve.alignment.model import Doubles, blocks
from fpve.fusion import Floats, unit
from fpve.splits import Mask, Numbers

# The places at which recall is told.
RECALL_AT = (1, 5, 10)
# A predicted block weighs at least so much, whatever a few held-out rows say.
_MIN_NORM = 0.5
# Rows are told apart along so many random directions, one after the other: so much further apart than rounding moves
# them, and near enough that among a million rows there are gaps. Texts of cosine 0.999999 pass for one 1 time in 10^7.
_LOOKS = 4
_SAME = 3e-5


class Question(NamedTuple):
    """Distinct prefixes of n rows, as texts that look for them among n predictions.

    Attributes:
        texts: (t, prefix_dim) unit embeddings.
        right: (t, n) which rows have which.
        real: (n, prefix_dim) the rows' own unit embeddings.
        centre: (prefix_dim,) what is taken from both sides before they are compared, or None.
    """

    texts: Floats
    right: Mask
    real: Floats
    centre: Floats | None

    @classmethod
    def of(cls, prefix: Floats, centre: Floats | None = None) -> Question:
        """The question that unit embeddings (n, prefix_dim) pose."""
        first, code = distinct(prefix)
        return cls(prefix[first], np.arange(len(first))[:, None] == code, prefix, centre)

    def places(self, predicted: Floats) -> Numbers:
        """Place (t,), from 0, of the best right row of each text among predictions (n, prefix_dim); last of its tie."""
        scores = self._scores(predicted)
        best = np.where(self.right, scores, -np.inf).max(axis=1, keepdims=True)
        places: Numbers = ((scores >= best) & ~self.right).sum(axis=1)
        return places

    def recall(self, predicted: Floats) -> dict[int, float]:
        """Share of texts of which a right row is among the first k, by k."""
        places = self.places(predicted)
        return {k: float(np.mean(places < k)) for k in RECALL_AT}

    def merits(self, predicted: Floats) -> Doubles:
        """Reciprocal rank (t,) of each text's best right row: unlike recall fine enough to choose by in small folds."""
        return 1 / (1 + self.places(predicted))

    def chance(self) -> dict[int, float]:
        """Recall of ranks drawn at random: for a text with r right rows of n, 1 - C(n - r, k) / C(n, k)."""
        count, right = self.right.shape[1], self.right.sum(axis=1)
        found = {}
        for k in RECALL_AT:
            drawn = np.arange(min(k, count))
            missed = np.clip((count - right[:, None] - drawn) / (count - drawn), 0, 1).prod(axis=1)
            found[k] = float(np.mean(1 - missed))
        return found

    def norm_of(self, predicted: Floats, groups: Numbers) -> float:
        """Length at which the first ten wrong scores of predictions are, on average, those of real embeddings.

        Predictions are nearer to one another, and to texts in general, than texts are: at length 1 they would push real
        captions out. Rows of the group (n,) that a text is of don't count.
        """
        foreign = groups[self.right.argmax(axis=1)][:, None] != groups
        k = min(max(RECALL_AT), int(foreign.sum(axis=1).min()))
        if k == 0:
            return 1.0
        real, mine = (
            float(np.sort(np.where(foreign, self._scores(one), -np.inf), axis=1)[:, -k:].mean())
            for one in (self.real, predicted)
        )
        return float(np.clip(real / mine, _MIN_NORM, 1.0)) if mine > 0 else 1.0

    def _scores(self, rows: Floats) -> Floats:
        if self.centre is None:
            return self.texts @ rows.T
        return unit(self.texts - self.centre) @ unit(rows - self.centre).T


def distinct(prefix: Floats) -> tuple[Numbers, Numbers]:
    """The first row (t,), ascending, of each distinct embedding (n, d), and which of them each of n rows (n,) has.

    Only directions count, and these to rounding: one text that was encoded twice, in batches of other texts, or that
    was recovered from fused rows, is one text.
    """
    directions = np.random.default_rng(0).standard_normal((prefix.shape[1], _LOOKS)).astype(np.float32)
    seen = np.empty((len(prefix), _LOOKS), np.float32)
    for block in blocks(*prefix.shape):
        seen[block] = unit(prefix[block]) @ directions
    code = np.zeros(len(prefix), np.int64)
    for values in seen.T:
        order = np.lexsort((values, code))
        is_new = (np.diff(code[order]) > 0) | (np.diff(values[order]) > _SAME)
        code[order] = np.cumsum(np.r_[np.zeros(min(1, len(order)), np.int64), is_new])
    _, first, code = np.unique(code, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return np.sort(first), place[code]
