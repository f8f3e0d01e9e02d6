"""The nearest images of queries: what a search finds, before it is told by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats

Rows = NDArray[np.int64]
Exact = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Neighbours(NamedTuple):
    """The nearest images of m queries, as t rows sorted by query, then best first.

    Attributes:
        query: (t,) number of the query.
        row: (t,) number of the image row, in the order of image_id.
        score, image_score, prefix_score: (t,) float32, of scores also float64; a block's cosine is NaN where either
            side lacks the block. In a centred store they are cosines of centred blocks.
    """

    query: Rows
    row: Rows
    score: NDArray[np.floating]
    image_score: Floats
    prefix_score: Floats

    @classmethod
    def joined(cls, parts: Sequence[Neighbours]) -> Neighbours:
        """The rows of several, of at least one; of each query those of the first come first."""
        found = cls._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
        return found.taken(np.argsort(found.query, kind="stable"))

    def where(self, keep: Mask) -> Neighbours:
        """The rows for which `keep` (t,) holds."""
        return Neighbours._make(column[keep] for column in self)

    def taken(self, order: Rows) -> Neighbours:
        """The rows of these numbers, in their order."""
        return Neighbours._make(column[order] for column in self)

    def first(self, k: int) -> Neighbours:
        """The first k rows of each query."""
        if len(self.query) and self.query[0] == self.query[-1]:
            return Neighbours._make(column[:k] for column in self)
        return self.where(ranks(self.query) < k)

    def panel(self, queries: int, k: int) -> Panel:
        """The same as a panel, of at most k images for each query."""
        row, score = np.full((queries, k), -1), np.full((queries, k), -np.inf)
        starts = np.searchsorted(self.query, np.arange(queries))
        place = np.arange(len(self.query)) - starts[self.query]
        row[self.query, place], score[self.query, place] = self.row, self.score
        return Panel(row, score)


class Panel(NamedTuple):
    """The k nearest images of q queries, best first, a line each; where there are fewer, -1 of score -inf.

    Attributes:
        row: (q, k) number of the image.
        score: (q, k) float64.
    """

    row: Rows
    score: Exact

    def at(self, queries: Rows | slice) -> Panel:
        """The lines of some queries."""
        return Panel(self.row[queries], self.score[queries])

    def flat(self) -> Neighbours:
        """The same as neighbours, whose blocks' cosines are not known."""
        query, place = np.nonzero(self.row >= 0)
        unknown = np.full(len(query), np.nan, np.float32)
        return Neighbours(query, self.row[query, place], self.score[query, place], unknown, unknown)


def ranks(groups: Rows) -> Rows:
    """Place (n,) of each row in its group, from 0, where rows of one group (n,) stand together."""
    if not len(groups) or groups[0] == groups[-1]:
        return np.arange(len(groups))
    starts = np.concatenate([[0], np.flatnonzero(groups[1:] != groups[:-1]) + 1])
    lengths = np.diff(starts, append=len(groups))
    within: Rows = np.arange(len(groups)) - np.repeat(starts, lengths)
    return within
