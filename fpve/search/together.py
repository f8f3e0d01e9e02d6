"""Segments whose indexes this process has open, as one: vectors by their position among all of them."""

from __future__ import annotations

from collections.abc import Sequence

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
        segment = self._segment_of(positions)
        for number in np.unique(segment):
            mine = segment == number
            out[mine] = self._indexes[number].vectors(positions[mine] - self._offsets[number])
        return out

    def products(self, queries: Floats, positions: Rows) -> Floats:
        """Inner products (m, n) of queries (m, dim) with the vectors at positions (m, n); for -1 it is anything."""
        if len(self._indexes) == 1:
            return self._indexes[0].products(queries, positions)
        products = np.empty(positions.shape, np.float32)
        segment = self._segment_of(positions)
        for number in np.unique(segment):
            if number >= 0:
                mine = segment == number
                local = np.where(mine, positions - self._offsets[number], -1)
                products = np.where(mine, self._indexes[number].products(queries, local), products)
        return products

    def _segment_of(self, positions: Rows) -> Rows:
        return np.searchsorted(self._offsets, positions, side="right") - 1
