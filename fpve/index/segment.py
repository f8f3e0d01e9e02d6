"""One segment, searched: exactly, by its codes or by a graph, whichever is right for the queries and fastest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fpve.fusion import Floats
from fpve.index.ann import AnnIndex
from fpve.index.exact import MATRIX_QUERIES, Allowed, ExactVectors, Nearest, Rows
from fpve.index.recall import fetched
from fpve.records import Way

# A graph is walked over rows that are not allowed, too: of these there have to be few.
_WALKED_SHARE = 0.9
# Beyond this width a graph is no faster than the codes.
_WIDEST = 4_096
# So few allowed rows are copied and scored in a moment.
_FEW = 500


class Found(NamedTuple):
    """What a search found in a segment, and how."""

    nearest: Nearest
    way: Way
    note: str


class SegmentIndex:
    """Inner-product search in one segment. Safe to use from many threads: nothing is shared between calls."""

    def __init__(self, exact: ExactVectors, ann: AnnIndex | None = None) -> None:
        self._exact = exact
        self._ann = ann

    def __len__(self) -> int:
        """Number of vector rows."""
        return len(self._exact)

    def search(self, queries: Floats, fetch: int, allowed: Allowed | None = None) -> Nearest:
        """Find the rows of largest inner product with each of n queries (n, dim), among those that are allowed.

        Every vector is scored.
        """
        return self._exact.search(np.ascontiguousarray(queries, np.float32), fetch, allowed)

    def approximate(
        self, queries: Floats, k: int, fetch: int, *, weight: float | None, allowed: Allowed | None = None
    ) -> Found:
        """Find rows of about the largest inner products with each of n queries (n, dim): the k best of them are right.

        Right is what the target recall calls so. Scores are exact, or of the codes.

        Args:
            queries: of one weight.
            k: how many are wanted.
            fetch: how many to find, at least k.
            weight: the weight of the image block in the queries; None where no graph was tested with such.
            allowed: which may be found; None if all.
        """
        count = len(self) if allowed is None else allowed.count
        ann = self._ann
        if ann is None:
            return Found(self.search(queries, fetch, allowed), "exact", "too few vectors for an ANN index")
        plan = None if weight is None else ann.ref.plan(k, weight)
        if plan is not None and plan.width <= _WIDEST and count >= _WALKED_SHARE * len(self):
            graph = ann.graphs[plan.graph]
            found = graph.search(queries, min(fetched(k), count), plan.width, ann.codes.selector(allowed))
            built_at = ann.ref.graphs[plan.graph].image_weight
            return Found(found, "graph", f"HNSW, efSearch {plan.width}, edges chosen at image weight {built_at:g}")
        why = "the condition leaves few" if plan is not None else "no graph reaches the target recall at this weight"
        if weight is None:
            why = "texts compared with pictures, by which no graph was tested"
        if count <= _FEW or len(queries) >= MATRIX_QUERIES:
            return Found(self.search(queries, fetch, allowed), "exact", why)
        found = ann.codes.search(self._exact, queries, min(fetch, count), allowed)
        return Found(found, "codes", f"a byte a number, the best scored again; {why}")

    def vectors(self, rows: Rows) -> Floats:
        """The stored vectors (n, dim) of row numbers (n,)."""
        found: Floats = self._exact.vectors[rows]
        return found

    def products(self, queries: Floats, rows: Rows) -> Floats:
        """Inner products (n, k) of queries (n, dim) with rows (n, k) of each; -inf where a row is -1."""
        return self._exact.products(queries, rows)
