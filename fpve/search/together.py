"""Segments whose indexes this process has open, as one: vectors by their position among all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from fpve.fusion import Floats
from fpve.index import SegmentIndex
from fpve.neighbours import Rows
from fpve.search.sought import Best, Part, Sought


class Together:
    """Some segments' indexes. Safe to use from many threads."""

    def __init__(self, indexes: Sequence[SegmentIndex], dim: int) -> None:
        self._indexes = indexes
        self._dim = dim
        self._offsets: Rows = np.cumsum([0, *map(len, indexes)])

    def found(self, sought: Sought, parts: Sequence[Part]) -> Best:
        """The best of all parts, which are some of these segments."""
        return sought.found(self._indexes, parts)

    def at(self, positions: Rows) -> Floats:
        """The vectors (n, dim) at positions (n,)."""
        if len(self._indexes) == 1:
            return self._indexes[0].vectors(positions)
        out = np.empty((len(positions), self._dim), np.float32)
        for number, mine in self._by_segment(positions):
            out[mine] = self._indexes[number].vectors(positions[mine] - self._offsets[number])
        return out

    def products(self, queries: Floats, positions: Rows) -> Floats:
        """Inner products (m, n) of queries (m, dim) with the vectors at positions (m, n); for -1 it is anything."""
        # Not where some are elsewhere: to the last bit it is to be what it were if these segments were in one place.
        if len(self._indexes) == 1 and positions.min(initial=0) >= 0:
            return self._indexes[0].products(queries, positions)
        products = np.empty(positions.shape, np.float32)
        for number, mine in self._by_segment(positions.ravel()):
            if number >= 0:
                query, column = np.divmod(mine, positions.shape[1])
                # Of the queries that have any here; of thousands of segments these are few.
                asked, row = np.unique(query, return_inverse=True)
                local = np.full((len(asked), positions.shape[1]), -1)
                local[row, column] = positions[query, column] - self._offsets[number]
                products[query, column] = self._indexes[number].products(queries[asked], local)[row, column]
        return products

    def _by_segment(self, positions: Rows) -> Iterator[tuple[int, Rows]]:
        """The segments of positions (n,), -1 for none, each with the places of its own among them."""
        segment = np.searchsorted(self._offsets, positions, side="right") - 1
        order = np.argsort(segment, kind="stable")
        numbers, starts = np.unique(segment[order], return_index=True)
        for number, (start, end) in zip(numbers.tolist(), pairwise([*starts.tolist(), len(order)]), strict=True):
            yield number, order[start:end]
