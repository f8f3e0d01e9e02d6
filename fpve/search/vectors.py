"""All segments' indexes as one: vectors by their position among all, scored or searched for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fpve.fusion import Blocks, Floats, Fusion, Scores
from fpve.index import Allowed, Found, Nearest, SegmentIndex
from fpve.neighbours import Mask, Rows
from fpve.records import Step, Way
from fpve.search.reach import Reach

# So few products are made of copied vectors by NumPy; more of them where the vectors lie, by several threads.
_COPIED_FLOATS = 1_000_000
# Floats of vectors that are copied at once, to be scored one by one: 64 MB.
_AT_ONCE = 16_000_000


class Vectors:
    """The vectors of all segments. Safe to use from many threads.

    Attributes:
        fusion: how they are made.
        offsets: position of each segment's first vector among all vectors, and at the end their number.
        present: which vectors have an image block, and which a prefix block, where a block that is there has the length
            1/sqrt(2); None where it can have another, as a predicted one has.
    """

    def __init__(self, fusion: Fusion, indexes: Sequence[SegmentIndex], present: tuple[Mask, Mask] | None) -> None:
        self.fusion = fusion
        self.offsets: Rows = np.cumsum([0, *map(len, indexes)])
        self._indexes = indexes
        self._firsts: list[int] = self.offsets[:-1].tolist()
        self._present = present

    def at(self, positions: Rows) -> Floats:
        """The vectors (n, dim) at positions (n,)."""
        if len(self._indexes) == 1:
            return self._indexes[0].vectors(positions)
        out = np.empty((len(positions), self.fusion.dim), np.float32)
        segment = self._segment_of(positions)
        for number in np.unique(segment):
            mine = segment == number
            out[mine] = self._indexes[number].vectors(positions[mine] - self.offsets[number])
        return out

    def best(self, queries: Floats, fetch: int, reach: Reach) -> Rows:
        """Positions (m, fetch) of the best vectors for queries (m, dim), every one scored; -1 where there are fewer."""
        found = []
        for index, first, count, allowed in self._parts(reach):
            found.append((first, index.search(queries, min(fetch, count), allowed)))
        return _joined(found, len(queries), fetch)

    def about_best(
        self, queries: Floats, k: int, fetch: int, reach: Reach, *, weight: float | None, steps: list[Step] | None
    ) -> Rows:
        """Positions (m, at most fetch) among which are the k best for each query, as the target recall has it.

        Args:
            queries: (m, dim), of one weight.
            k: how many are wanted.
            fetch: how many to find, at least k.
            reach: what may be found.
            weight: the weight of the image block; None where no index was tested with such queries.
            steps: takes what was done.
        """
        found = []
        done: list[tuple[Found, int]] = []
        for index, first, count, allowed in self._parts(reach):
            mine = index.approximate(queries, k, min(fetch, count), weight=weight, allowed=allowed)
            found.append((first, mine.nearest))
            done.append((mine, count))
        if steps is not None:
            steps += _steps(done)
        return _joined(found, len(queries), fetch)

    def _parts(self, reach: Reach) -> Iterator[tuple[SegmentIndex, int, int, Allowed | None]]:
        """Each segment that has anything to find: its index, where it begins, how many may be found, and which."""
        for part in zip(self._indexes, self._firsts, reach.counts, reach.allowed, strict=True):
            if part[2]:
                yield part

    def scores(self, fusion: Fusion, blocks: Blocks, directions: Blocks, weights: Floats, positions: Rows) -> Scores:
        """Score m queries' raw blocks against the vectors at positions (m, n), as `Fusion.scores` does; -1 is none.

        Args:
            fusion: of the queries: that of the vectors, or its `across`.
            blocks: raw ones (m, image_dim) and (m, prefix_dim).
            directions: the same of length 1, centred if the fusion is.
            weights: (m,) of the image block.
            positions: of n vectors for each; the score of -1 means nothing.
        """
        queries, count = positions.shape
        # Where blocks have one length if they are there at all, their cosines are products of what is stored.
        if fusion.mode == "balanced" and fusion.centre is None and self._present is not None:
            return self._plain_scores(directions, weights, positions, *self._present)
        step = max(1, _AT_ONCE // max(1, self.fusion.dim * count))
        parts = []
        for start in range(0, queries, step):
            mine = slice(start, start + step)
            vectors = self.at(np.maximum(positions[mine], 0).ravel()).reshape(*positions[mine].shape, -1)
            parts.append(fusion.scores(blocks.image[mine], blocks.prefix[mine], weights[mine], vectors))
        return Scores(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _plain_scores(
        self, directions: Blocks, weights: Floats, positions: Rows, has_image: Mask, has_prefix: Mask
    ) -> Scores:
        places = np.maximum(positions, 0)
        total = np.zeros(positions.shape, np.float32)
        cosines = []
        sides = (
            (directions.image, slice(0, self.fusion.image_dim), has_image, weights),
            (directions.prefix, slice(self.fusion.image_dim, None), has_prefix, 1 - weights),
        )
        copied = self.at(places.ravel()) if places.size * self.fusion.dim <= _COPIED_FLOATS else None
        for block, side, present, weight in sides:
            asked = np.any(block, axis=1)
            if not asked.any():
                cosines.append(np.full(positions.shape, np.nan, np.float32))
                continue
            # Stored blocks have the length 1/sqrt(2).
            query = block * np.float32(math.sqrt(2))
            if copied is not None:
                vectors = copied[:, side].reshape(*positions.shape, -1)
                products = np.matmul(vectors, query[:, :, None])[:, :, 0]
            else:
                padded = np.zeros((len(block), self.fusion.dim), np.float32)
                padded[:, side] = query
                products = self._products(padded, places)
            known = present[places] & asked[:, None]
            cosine = np.where(known, np.clip(products, -1, 1), np.float32(np.nan))
            total += np.where(known, cosine, 0) * weight[:, None].astype(np.float32)
            cosines.append(cosine)
        return Scores(total, *cosines)

    def _products(self, queries: Floats, positions: Rows) -> Floats:
        """Inner products (m, n) of queries (m, dim) with the vectors at positions (m, n)."""
        if len(self._indexes) == 1:
            return self._indexes[0].products(queries, positions)
        products = np.empty(positions.shape, np.float32)
        segment = self._segment_of(positions)
        for number in np.unique(segment):
            mine = segment == number
            local = np.where(mine, positions - self.offsets[number], -1)
            products = np.where(mine, self._indexes[number].products(queries, local), products)
        return products

    def _segment_of(self, positions: Rows) -> Rows:
        return np.searchsorted(self.offsets, positions, side="right") - 1


def _steps(done: list[tuple[Found, int]]) -> list[Step]:
    """What was done in segments with so many vectors, in one step where it is the same."""
    alike: dict[tuple[Way, str], list[tuple[Found, int]]] = {}
    for found, count in done:
        alike.setdefault((found.way, found.note), []).append((found, count))
    steps = []
    for (way, note), parts in alike.items():
        widths = sorted({found.width for found, _ in parts if found.width is not None})
        if widths:
            note = f"HNSW, efSearch {' to '.join(map(str, dict.fromkeys((widths[0], widths[-1]))))}, {note}"
        if otherwise := sum(found.otherwise for found, _ in parts):
            note = f"{note}; {otherwise:,} times that was too little, and all codes were scored"
        steps.append(Step(way, len(parts), sum(count for _, count in parts), note))
    return steps


def _joined(found: list[tuple[int, Nearest]], queries: int, fetch: int) -> Rows:
    """Positions (m, at most fetch) of the best that was found in several segments, each with where it begins."""
    if not found:
        return np.full((queries, 1), -1, np.int64)
    rows = np.concatenate([nearest.rows for _, nearest in found], axis=1)
    firsts = np.repeat([first for first, _ in found], [nearest.rows.shape[1] for _, nearest in found])
    positions: Rows = np.where(rows < 0, -1, rows + firsts)
    if len(found) == 1 or positions.shape[1] <= fetch:
        return positions
    scores = np.concatenate([nearest.scores for _, nearest in found], axis=1)
    best = np.argpartition(np.where(rows < 0, np.inf, -scores), fetch - 1, axis=1)[:, :fetch]
    return np.take_along_axis(positions, best, axis=1)
