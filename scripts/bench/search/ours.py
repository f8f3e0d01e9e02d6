"""fpve's own search as benchmarks ask it: a store, its hits as row numbers, and the ways that it took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data import Floats, Rows
from measure import K
from stores import number_of

import fpve
from fpve.records import Hits, Step
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


class Ours:
    """A store, opened for search.

    Attributes:
        store: as people have it.
        searcher: what finds rows by blocks below it, without a table of hits.
    """

    def __init__(self, root: Path) -> None:
        self.store = fpve.open(root)
        self.searcher = Searcher(Snapshot.open(root))

    def search(self, queries: Floats, image_weight: float, *, where: str | None = None) -> list[Hits]:
        """The hits of queries (m, dim), their metadata among them."""
        return self.store.search(vectors=queries, image_weight=image_weight, k=K, where=where)

    def nearest(
        self, queries: Floats, image_weight: float, *, allowed: np.ndarray | None = None, exact: bool = False
    ) -> object:
        """The neighbours of queries (m, dim) among the rows of a mask, without their metadata."""
        blocks = self.searcher.split(queries)
        return self.searcher.nearest(blocks, image_weight=image_weight, k=K, allowed=allowed, exact=exact)

    def ways(self, queries: Floats, image_weight: float, *, allowed: np.ndarray | None = None) -> str:
        """By which ways the segments were searched, and in how many of them: `graph 1`, say."""
        steps: list[Step] = []
        blocks = self.searcher.split(queries)
        self.searcher.nearest(blocks, image_weight=image_weight, k=K, allowed=allowed, steps=steps)
        return ", ".join(f"{step.way} {step.segments}" for step in steps)


def rows_of(hits: Sequence[Hits]) -> Rows:
    """The row numbers (m, K) of hits, -1 where there are fewer."""
    rows = np.full((len(hits), K), -1)
    for row, one in zip(rows, hits, strict=True):
        found = number_of(one.to_arrow()["image_id"])
        row[: len(found)] = found
    return rows
