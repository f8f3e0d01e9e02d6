"""The vectors of a segment as they are searched, mapped: every search that scores all of them, or some, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpve.fusion import Floats

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

# So many queries are multiplied with all vectors as matrices, by FAISS as here.
MATRIX_QUERIES = 20
# Of so small a share the allowed rows are copied together; of a larger one all rows are passed over where they lie.
_COPIED_SHARE = 1 / 8
# Floats of allowed rows that are copied at once: 64 MB.
_COPIED_FLOATS = 16_000_000
# So few products are left to NumPy: FAISS starts its threads for any number, and on a busy machine waits for them.
_SMALL = 20_000_000
# Numbers that are multiplied without the help of more threads: starting them takes longer than 2 million products.
_ALONE = 2_000_000


class Nearest(NamedTuple):
    """Inner products (n, k) float32, descending, and row numbers (n, k); -1 where fewer than k rows were allowed."""

    scores: Floats
    rows: Rows


class Allowed:
    """Which rows of a segment may be found. What FAISS is told of it is made once, for it takes as long as a search.

    Attributes:
        mask: (rows,) not to be written to.
        count: how many of them may be.
    """

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))
        self._bitmaps: dict[bool, NDArray[np.uint8]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it small: a bit a row."""
        return _unpacked, (np.packbits(self.mask), len(self.mask))

    def selector(self, places: Callable[[], Rows] | None = None) -> Any:
        """A selector of FAISS, for rows as they are or, given the row at each place, for places."""
        import faiss

        key = places is None
        if key not in self._bitmaps:
            mask = self.mask if places is None else self.mask[places()]
            # Two threads may both make it, and make the same.
            self._bitmaps[key] = np.packbits(mask, bitorder="little")
        # A bitmap: FAISS's other selectors are tens of times slower when few rows are allowed.
        api: Any = faiss
        return api.IDSelectorBitmap(self._bitmaps[key])


def _unpacked(bits: NDArray[np.uint8], rows: int) -> Allowed:
    return Allowed(np.unpackbits(bits, count=rows).view(bool))


class ExactVectors:
    """The vectors of a segment, in memory or mapped. Safe to use from many threads.

    Attributes:
        vectors: (n, dim) float32, not to be written to.
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self.vectors: Floats = np.asarray(_View(index)).reshape(-1, index.d)

    @classmethod
    def in_memory(cls, parts: Iterable[Floats]) -> ExactVectors:
        """Of vectors (n, dim), in parts."""
        import faiss

        index = None
        for vectors in parts:
            index = index or faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors, np.float32))
        return cls(index)

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.vectors)

    def search(self, queries: Floats, k: int, allowed: Allowed | None = None) -> Nearest:
        """Find the k rows of largest inner product with each of n queries (n, dim), among those that are allowed."""
        import faiss

        # FAISS's Python layer takes arguments that its generated signatures don't tell.
        api: Any = faiss
        if allowed is None:
            return Nearest(*self._index.search(queries, k))
        if len(queries) < MATRIX_QUERIES and allowed.count > _COPIED_SHARE * len(self):
            return Nearest(*self._index.search(queries, k, params=api.SearchParameters(sel=allowed.selector())))
        rows = np.flatnonzero(allowed.mask)
        if len(queries) * len(rows) * self.vectors.shape[1] <= _SMALL:
            scores = queries @ self.vectors[rows].T
            return merged([Nearest(scores, np.broadcast_to(rows, scores.shape))], k)
        step = max(1, _COPIED_FLOATS // max(1, self.vectors.shape[1]))
        parts = []
        for start in range(0, len(rows), step):
            mine = rows[start : start + step]
            scores, found = api.knn(queries, self.vectors[mine], min(k, len(mine)), metric=api.METRIC_INNER_PRODUCT)
            parts.append(Nearest(scores, mine[found]))
        return merged(parts, k)

    def products(self, queries: Floats, rows: Rows) -> Floats:
        """Inner products (n, k) of queries (n, dim) with rows (n, k) of each; -inf where a row is -1."""
        import faiss

        count = rows.size * queries.shape[1]
        if count <= _ALONE:
            found = np.matmul(self.vectors[rows], queries[:, :, None])[:, :, 0]
            return np.where(rows < 0, np.float32(-np.inf), found)
        api: Any = faiss
        queries, rows = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(rows)
        products = np.empty(rows.shape, np.float32)
        pointers = (api.swig_ptr(products), api.swig_ptr(queries), self._index.get_xb(), api.swig_ptr(rows))
        api.fvec_inner_products_by_idx(*pointers, queries.shape[1], *rows.shape)
        return products


class _View:
    """What a flat index holds, or has mapped, for NumPy: an array of it keeps the index from being closed."""

    def __init__(self, index: Any) -> None:
        import faiss

        api: Any = faiss
        plain = api.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        plain.flags.writeable = False
        self.__array_interface__ = plain.__array_interface__
        self._index = index


def merged(parts: list[Nearest], k: int) -> Nearest:
    """The k best of one or several findings for the same queries, sorted."""
    scores, rows = np.hstack([part.scores for part in parts]), np.hstack([part.rows for part in parts])
    if scores.shape[1] > k:
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return Nearest(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1))
