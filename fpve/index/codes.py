"""Vectors of a segment in a byte a number: a quarter of the memory to read, and all that a graph is walked by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpve.fusion import Floats
from fpve.index.exact import Allowed, ExactVectors, Mask, Nearest, Rows, merged

# Vectors by which the range of each number is found; a number beyond it is taken for the end of the range.
_TRAINED_ON = 16_384
# Vectors that are copied at once while an index is built: 60 MB of 896 numbers each.
_AT_ONCE = 16_384
# Of the best codes so many are scored exactly: copying 256 vectors takes a tenth of a millisecond. Where very many are
# passed, as many lie close to one another at the end, and more have to be told apart.
_LEAST, _MOST, _SHARE = 256, 2_048, 1 / 64
# Codes that were scored exactly tell how far they are off; none that were not should be further off than this.
_SAFETY = 2.0


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which rows are in codes and graphs: those that were held out of the graphs at first come last.

    Every `step`-th row is one of them, until there are `held_out`.

    Attributes:
        rows: how many there are.
        held_out: how many of them are last; at most half.
    """

    rows: int
    held_out: int

    @property
    def step(self) -> int:
        """How far apart the rows are that come last."""
        return self.rows // max(1, self.held_out)

    def rows_of(self, places: Rows) -> Rows:
        """The row at each place; -1 for -1."""
        if not self.held_out:
            return places
        first = self.rows - self.held_out
        regular = places + np.minimum(places // (self.step - 1), self.held_out)
        last = (places - first) * self.step + self.step - 1
        return np.where(places < 0, -1, np.where(places < first, regular, last))

    def all(self) -> Rows:
        """The row at every place."""
        return self.rows_of(np.arange(self.rows))


def encode(exact: ExactVectors, order: Order) -> Any:
    """A scalar quantiser of FAISS that holds all vectors, in an order."""
    import faiss

    dim = exact.vectors.shape[1]
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(exact.vectors[:: max(1, len(exact) // _TRAINED_ON)].copy())
    for part in ordered_parts(exact, order):
        index.add(part)
    return index


def ordered_parts(exact: ExactVectors, order: Order) -> Iterator[Floats]:
    """All vectors in an order, some at a time; those that are held out in a part of their own, the last."""
    places = order.all()
    first = order.rows - order.held_out
    for start in range(0, first, _AT_ONCE):
        yield exact.vectors[places[start : min(start + _AT_ONCE, first)]]
    if order.held_out:
        yield exact.vectors[places[first:]]


class Codes:
    """Compressed vectors, mapped. Safe to use from many threads."""

    def __init__(self, index: Any, order: Order) -> None:
        self.index = index
        self.order = order

    def selector(self, allowed: Allowed | None) -> Any:
        """What lets FAISS pass over the rows that are not allowed, as it numbers them; None where all are."""
        return None if allowed is None else allowed.selector(self.order.all)

    def search(self, exact: ExactVectors, queries: Floats, k: int, allowed: Allowed | None = None) -> Nearest:
        """Find the k allowed rows of largest inner product with each of n queries, scored exactly.

        The best codes are scored exactly. That is enough where the k-th score is better than that of the last code by
        twice what any of them was off; else all vectors are.
        """
        import faiss

        count = len(exact) if allowed is None else allowed.count
        fetch = k + min(_MOST, max(_LEAST, int(_SHARE * count)))
        # To copy so many of the vectors takes as long as to pass over all of them.
        if fetch > count // 4:
            return exact.search(queries, min(k, count), allowed)
        api: Any = faiss
        selector = self.selector(allowed)
        parameters = None if selector is None else api.SearchParameters(sel=selector)
        estimates, places = self.index.search(queries, fetch, params=parameters)
        rows = self.order.rows_of(places)
        scores = exact.products(queries, rows)
        sure = _is_sure(estimates, scores, k)
        found = merged([Nearest(scores, rows)], k)
        if not sure.all():
            rest = exact.search(queries[~sure], k, allowed)
            found.scores[~sure], found.rows[~sure] = rest
        return found


def _is_sure(estimates: Floats, scores: Floats, k: int) -> Mask:
    """Which of n queries, whose best rows (n, r) were scored exactly after the estimates, have their k best of all."""
    off = np.abs(estimates - scores).max(axis=1)
    kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
    sure: Mask = kth >= estimates.min(axis=1) + _SAFETY * off
    return sure
