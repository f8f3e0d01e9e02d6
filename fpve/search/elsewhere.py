"""Segments that other processes have open, as one: each has some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fpve.fusion import Floats, Fusion
from fpve.mapper import Mapper
from fpve.neighbours import Rows
from fpve.search.opening import open_together
from fpve.search.sought import Best, Part, Sought
from fpve.search.together import Together
from fpve.store.elsewhere import SnapshotRef
from fpve.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Opening:
    """Some segments of a snapshot, and in what way they are searched: what another process opens them by."""

    ref: SnapshotRef
    fusion: Fusion
    predicted: bool

    def opened(self) -> Together:
        """Their indexes.

        Raises:
            StoreCorrupt: the rows, or the predictions, are missing or damaged.
        """
        return open_together(self.ref.open(), self.fusion, predicted=self.predicted)


@dataclass(frozen=True, slots=True)
class _Find:
    """Asks for the best of parts."""

    sought: Sought

    def __call__(self, segments: Together, parts: Sequence[Part]) -> Best:
        return segments.found(self.sought, parts)


@dataclass(frozen=True, slots=True)
class _Multiply:
    """Asks for products of queries (m, dim) with the vectors at positions (m, n)."""

    queries: Floats

    def __call__(self, segments: Together, positions: Rows) -> Floats:
        return segments.products(self.queries, positions)


class Elsewhere:
    """All segments of a snapshot, in runs that other processes have open. Safe to use from many threads."""

    def __init__(self, mapper: Mapper, snapshot: Snapshot, fusion: Fusion, *, predicted: bool) -> None:
        segments = snapshot.manifest.segments
        self._dim = fusion.dim
        rows = [one.rows for one in segments]
        self._runs = _runs(rows, mapper.size)
        offsets = np.cumsum([0, *rows]).tolist()
        self._spans = [(offsets[first], offsets[end]) for first, end in self._runs]
        self._held = mapper.hold(
            Opening.opened,
            [Opening(SnapshotRef.of(snapshot, segments[a:b]), fusion, predicted) for a, b in self._runs],
        )
        # What was looked through last: whoever asks again with the same is not sent it again.
        self._last: tuple[Sequence[Part], list[list[Part] | None]] = ((), [None for _ in self._runs])

    def found(self, sought: Sought, parts: Sequence[Part]) -> Best:
        """The best of all parts, which are some of these segments.

        Raises:
            StoreCorrupt: a segment's rows are missing or damaged, and so is its index.
        """
        known, divided = self._last
        if known is not parts:
            mine = [
                [one._replace(number=one.number - a) for one in parts if a <= one.number < b] for a, b in self._runs
            ]
            divided = [one or None for one in mine]
            self._last = parts, divided
        return sought.joined(list(self._held.each(_Find(sought), divided)))

    def at(self, positions: Rows) -> Floats:
        """The vectors (n, dim) at positions (n,)."""
        each = [np.flatnonzero((first <= positions) & (positions < end)) for first, end in self._spans]
        local = [
            positions[one] - first if len(one) else None for one, (first, _) in zip(each, self._spans, strict=True)
        ]
        out = np.empty((len(positions), self._dim), np.float32)
        asked = [one for one in each if len(one)]
        for one, vectors in zip(asked, self._held.each(Together.at, local), strict=True):
            out[one] = vectors
        return out

    def products(self, queries: Floats, positions: Rows) -> Floats:
        """Inner products (m, n) of queries (m, dim) with the vectors at positions (m, n)."""
        each = [(first <= positions) & (positions < end) for first, end in self._spans]
        local = [
            np.where(one, positions - first, -1) if one.any() else None
            for one, (first, _) in zip(each, self._spans, strict=True)
        ]
        out = np.empty(positions.shape, np.float32)
        asked = [one for one in each if one.any()]
        for one, products in zip(asked, self._held.each(_Multiply(queries), local), strict=True):
            out[one] = products[one]
        return out


def _runs(rows: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Segments of so many rows each in runs of about as many, at most so many of them: the first, and that behind."""
    if not rows:
        return []
    ends = np.cumsum(rows)
    inner = np.searchsorted(ends, np.arange(1, most) * (ends[-1] / most)) + 1
    return list(pairwise(sorted({0, *inner.tolist(), len(rows)})))
