"""What is sought in segments, by whoever has their indexes, and what is found: as one, whatever found it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats
from fpve.index import Allowed, SegmentIndex
from fpve.neighbours import Rows
from fpve.records import Way


class Part(NamedTuple):
    """A segment in which something may be found.

    Attributes:
        number: of the segment, among those that whoever searches it has.
        first: position of its first vector among all.
        vectors: how many of its vectors may be found.
        allowed: which these are; None if all.
    """

    number: int
    first: int
    vectors: int
    allowed: Allowed | None


class Done(NamedTuple):
    """How one segment was searched, as `fpve.index.Found` says it, and how many vectors it had to find."""

    way: Way
    note: str
    width: int | None
    otherwise: int
    vectors: int


class Best(NamedTuple):
    """The best of some segments.

    Attributes:
        positions: (m, n) of vectors among all, -1 where there are fewer; in the order of the segments.
        scores: (m, n) by which they were found.
        done: how each segment was searched.
    """

    positions: Rows
    scores: Floats
    done: tuple[Done, ...]


@dataclass(frozen=True, slots=True)
class Sought:
    """Queries, and how many vectors are to be found for each.

    Attributes:
        queries: (m, dim).
        fetch: how many to find in all.
        k: of how many it matters that they are the best, with queries of one weight; None scores every vector.
        weight: the weight of the image block; None where no index was tested with such queries.
    """

    queries: Floats
    fetch: int
    k: int | None = None
    weight: float | None = None

    def found(self, indexes: Sequence[SegmentIndex], parts: Iterable[Part]) -> Best:
        """The best of all parts, whose numbers are those of the indexes."""
        found, firsts, done = [], [], []
        for part in parts:
            index, fetch = indexes[part.number], min(self.fetch, part.vectors)
            if self.k is None:
                found.append(index.search(self.queries, fetch, part.allowed))
            else:
                one = index.approximate(self.queries, self.k, fetch, weight=self.weight, allowed=part.allowed)
                found.append(one.nearest)
                done.append(Done(one.way, one.note, one.width, one.otherwise, part.vectors))
            firsts.append(part.first)
        if not found:
            return self.nothing()
        rows = _together([nearest.rows for nearest in found])
        scores = _together([nearest.scores for nearest in found])
        first = np.repeat(firsts, [nearest.rows.shape[1] for nearest in found])
        best = Best(np.where(rows < 0, -1, rows + first), scores, tuple(done))
        # Of one segment it is all that it gives, which can be more.
        return best if len(found) == 1 else self._cut(best)

    def nothing(self) -> Best:
        """What is found where nothing may be."""
        none = np.full((len(self.queries), 1), -1, np.int64)
        return Best(none, np.full(none.shape, -np.inf, np.float32), ())

    def joined(self, found: Sequence[Best]) -> Best:
        """The best of what was found in several places, given in the order of their segments.

        It is what would be found if all of these were in one place.
        """
        if len(found) < 2:
            return found[0] if found else self.nothing()
        positions, scores = _together([one.positions for one in found]), _together([one.scores for one in found])
        return self._cut(Best(positions, scores, tuple(done for one in found for done in one.done)))

    def _cut(self, found: Best) -> Best:
        """The best so many of what was found; of equal ones those that come first, so that places don't matter."""
        if found.positions.shape[1] <= self.fetch:
            return found
        worth = np.where(found.positions < 0, np.inf, -found.scores)
        best = np.argpartition(worth, self.fetch - 1, axis=1)[:, : self.fetch]
        worst = np.take_along_axis(worth, best, axis=1).max(axis=1)
        tied = np.isfinite(worst) & (np.count_nonzero(worth <= worst[:, None], axis=1) > self.fetch)
        if tied.any():
            best[tied] = np.argsort(worth[tied], axis=1, kind="stable")[:, : self.fetch]
        best.sort(axis=1)
        positions, scores = found.positions, found.scores
        return Best(np.take_along_axis(positions, best, axis=1), np.take_along_axis(scores, best, axis=1), found.done)


def _together(columns: list[NDArray[Any]]) -> NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
