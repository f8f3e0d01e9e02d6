"""Graphs over the compressed vectors of a segment (HNSW, Malkov and Yashunin 2018): what makes an approximate search.

A graph's edges are chosen by one metric, `B cos_image + (1 - B) cos_prefix`, and it is walked by the score of a query,
which has a weight A of its own. One that was made at B = 0.5 finds little at A = 1 where pictures and prefixes have
nothing to do with each other; which weights it serves is measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fpve.fusion import Floats
from fpve.index.codes import Codes, ordered_parts
from fpve.index.exact import ExactVectors, Nearest

# Edges of a row, twice as many at the lowest level, as FAISS has it.
_EDGES = 32
# The width of the search for a row's edges. At 40 a graph is built in half the time, and has to be searched three times
# as wide, when it is measured and ever after; at 200 it takes twice the time, and searches hardly gain.
_BUILT_WITH = 100


class Graph:
    """One graph, mapped. Safe to use from many threads."""

    def __init__(self, index: Any, codes: Codes) -> None:
        # It is walked by the codes, which it does not own: they have to live as long.
        index.own_fields = False
        index.storage = codes.index
        # Python's wrapper takes it that the index owns its storage now, and would never close it.
        codes.index.this.own(True)
        self.index = index
        self._codes = codes

    def search(self, queries: Floats, k: int, width: int) -> Nearest:
        """Find about the k rows of largest inner product with each of n queries; scores are of the codes."""
        import faiss

        # Of each call its own: they can't be shared between threads.
        api: Any = faiss
        parameters = api.SearchParametersHNSW(efSearch=max(width, k))
        scores, places = self.index.search(queries, k, params=parameters)
        return Nearest(scores, self._codes.order.rows_of(places))


class GraphBuilder:
    """A graph that is being built: first without the rows that are held out, to be measured, then with them."""

    def __init__(self, exact: ExactVectors, codes: Codes, image_dim: int, image_weight: float) -> None:
        import faiss

        api: Any = faiss
        dim = exact.vectors.shape[1]
        self._scale = np.full(dim, np.sqrt(2 * image_weight), np.float32)
        self._scale[image_dim:] = np.sqrt(2 * (1 - image_weight))
        self._codes = codes
        self._parts = ordered_parts(exact, codes.order)
        self._index: Any = api.IndexHNSWSQ(dim, api.ScalarQuantizer.QT_8bit, _EDGES, api.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = _BUILT_WITH
        self._first = codes.order.rows - codes.order.held_out
        self._train()
        while self._index.ntotal < self._first:
            self._add()

    def _train(self) -> None:
        """Take the ranges of the codes: of scaled numbers they are scaled."""
        import faiss

        known: Any = faiss
        ranges = known.vector_to_array(self._codes.index.sq.trained).reshape(2, -1) * self._scale
        storage = known.downcast_index(self._index.storage)
        known.copy_array_to_vector(np.ascontiguousarray(ranges.ravel(), np.float32), storage.sq.trained)
        storage.is_trained = self._index.is_trained = True

    def _add(self) -> None:
        self._index.add(next(self._parts) * self._scale)

    def measured(self) -> Graph:
        """The graph as far as it is, to be searched; not to be used any more after `finished`."""
        return Graph(_walked_by(self._index), self._codes)

    def finished(self) -> Any:
        """The whole index, whose storage is not to be saved."""
        while self._index.ntotal < self._codes.order.rows:
            self._add()
        return self._index


def _walked_by(index: Any) -> Any:
    """Another index with the same graph."""
    import faiss

    other = faiss.IndexHNSWFlat(index.d, _EDGES, faiss.METRIC_INNER_PRODUCT)
    other.hnsw = index.hnsw
    other.ntotal = index.ntotal
    return other
