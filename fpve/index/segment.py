"""One segment, searched: exactly, by its codes or by a graph, whichever is right for the queries and fastest."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fpve.fusion import Floats
from fpve.index.ann import AnnIndex
from fpve.index.exact import MATRIX_QUERIES, Allowed, ExactVectors, Nearest, Rows, merged
from fpve.index.recall import fetched
from fpve.records import Way
from fpve.store.ann import Plan

# A step of a walk takes as long as to pass over 5 to 40 codes, as measured, by how much is in the caches. More is on
# the safe side: what codes find is sure.
_CODES_PER_STEP = 100
# So few allowed rows are copied and scored in less time than it takes to tell FAISS of them.
_FEW = 1_000
# Where a condition leaves a share of the rows, so much more is taken from a graph than would leave enough on average.
_SPARE = 1.3
# Plans that are remembered.
_PLANS = 256


class Found(NamedTuple):
    """What a search found in a segment, and how.

    Attributes:
        nearest: the rows.
        way: how most of the queries were answered.
        note: what else is to be said of it, the same for all segments of which it holds.
        width: how wide the search of a graph was.
        otherwise: how many queries had to be answered exactly, as the graph found too little of what is allowed.
    """

    nearest: Nearest
    way: Way
    note: str
    width: int | None = None
    otherwise: int = 0


class _Walk(NamedTuple):
    """How a graph is to be walked, and how many rows are taken from it."""

    plan: Plan
    taken: int


class SegmentIndex:
    """Inner-product search in one segment. Safe to use from many threads: nothing is shared between calls."""

    def __init__(self, exact: ExactVectors, ann: AnnIndex | None = None) -> None:
        self._exact = exact
        self._ann = ann
        # Most queries ask for as many, with one of a few weights.
        self._plan = lru_cache(_PLANS)(ann.ref.plan) if ann is not None else None

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
        ann = self._ann
        if ann is None:
            return Found(self.search(queries, fetch, allowed), "exact", "there is no ANN index")
        walk = None if weight is None else self._walk(k, weight, allowed)
        if walk is None:
            why = "no graph reaches the target recall faster at this weight" if allowed is None else "few may be found"
            why = "no graph was tested with such queries" if weight is None else why
            return self._by_codes(ann, queries, min(fetch, fetched(k)), allowed, why)
        return self._by_graph(ann, walk, queries, k, fetch, allowed)

    def _walk(self, k: int, weight: float, allowed: Allowed | None) -> _Walk | None:
        """Which graph is walked, and for how many rows; None where codes are as fast, or none reaches the target."""
        count = len(self) if allowed is None else allowed.count
        taken = fetched(k)
        if allowed is not None:
            taken += math.ceil(_SPARE * taken * (len(self) - count) / max(1, count))
        plan = None if self._plan is None else self._plan(k if allowed is None else taken, weight)
        if plan is None or plan.width * _CODES_PER_STEP > count or count <= _FEW:
            return None
        return _Walk(plan, min(taken, len(self)))

    def _by_graph(
        self, ann: AnnIndex, walk: _Walk, queries: Floats, k: int, fetch: int, allowed: Allowed | None
    ) -> Found:
        """What a graph finds; and codes, where too few of these rows are allowed to be sure that others are no better.

        Rows that are not allowed are dropped from what is found, and not passed over in the walk: a walk that may not
        take what is near the query ends before it gets to what it may take.
        """
        found = ann.graphs[walk.plan.graph].search(queries, walk.taken, walk.plan.width)
        built_at = ann.ref.graphs[walk.plan.graph].image_weight
        note, width = f"edges chosen at image weight {built_at:g}", walk.plan.width
        if allowed is None:
            return Found(found, "graph", note, width)
        kept = allowed.mask[found.rows] & (found.rows >= 0)
        scores, rows = np.where(kept, found.scores, -np.inf), np.where(kept, found.rows, -1)
        enough = kept.sum(axis=1) >= min(fetched(k), allowed.count)
        best = merged([Nearest(scores, rows)], min(max(fetch, fetched(k)), walk.taken))
        note += ", less what may not be found"
        if enough.all():
            return Found(best, "graph", note, width)
        rest = self._by_codes(ann, queries[~enough], best.rows.shape[1], allowed, "what may be found is far away")
        if not enough.any():
            return rest
        best.scores[~enough], best.rows[~enough] = -np.inf, -1
        count = rest.nearest.rows.shape[1]
        best.scores[~enough, :count], best.rows[~enough, :count] = rest.nearest
        return Found(best, "graph", note, width, len(queries) - int(enough.sum()))

    def _by_codes(self, ann: AnnIndex, queries: Floats, fetch: int, allowed: Allowed | None, why: str) -> Found:
        """The best rows exactly: few queries by their codes first, many as a product of matrices."""
        count = len(self) if allowed is None else allowed.count
        if count <= _FEW or len(queries) >= MATRIX_QUERIES:
            return Found(self.search(queries, min(fetch, count), allowed), "exact", why)
        found = ann.codes.search(self._exact, queries, min(fetch, count), allowed)
        return Found(found, "codes", f"a byte a number, the best scored again; {why}")

    def vectors(self, rows: Rows) -> Floats:
        """The stored vectors (n, dim) of row numbers (n,)."""
        found: Floats = self._exact.vectors[rows]
        return found

    def products(self, queries: Floats, rows: Rows) -> Floats:
        """Inner products (n, k) of queries (n, dim) with rows (n, k) of each; -inf where a row is -1."""
        return self._exact.products(queries, rows)
