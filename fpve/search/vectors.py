"""All segments' indexes as one: vectors by their position among all, scored or searched for."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fpve.fusion import Blocks, Floats, Fusion, Scores
from fpve.neighbours import Rows
from fpve.records import Step, Way
from fpve.search.elsewhere import Elsewhere
from fpve.search.norms import Norms
from fpve.search.reach import Reach
from fpve.search.sought import Done, Sought
from fpve.search.together import Together

# So few products are made of copied vectors by NumPy; more of them where the vectors lie, by several threads.
_COPIED_FLOATS = 1_000_000
# Floats of vectors that are copied at once, to be scored one by one: 64 MB.
_AT_ONCE = 16_000_000


class Vectors:
    """The vectors of all segments. Safe to use from many threads.

    Attributes:
        fusion: how they are made.

    Args:
        fusion: how they are made.
        segments: has them, and finds the best of them.
        norms: those of their blocks, 0 of one that is missing, where a block that is there has the length 1/sqrt(2);
            None where it can have another, as a predicted one has.
    """

    def __init__(self, fusion: Fusion, segments: Together | Elsewhere, norms: Norms | None) -> None:
        self.fusion = fusion
        self._segments = segments
        self._norms = norms

    def at(self, positions: Rows) -> Floats:
        """The vectors (n, dim) at positions (n,)."""
        return self._segments.at(positions)

    def best(self, queries: Floats, fetch: int, reach: Reach) -> Rows:
        """Positions (m, fetch) of the best vectors for queries (m, dim), every one scored; -1 where there are fewer."""
        return self._segments.found(Sought(queries, fetch), reach.parts).positions

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
        found = self._segments.found(Sought(queries, fetch, k, weight), reach.parts)
        if steps is not None:
            steps += _steps(found.done)
        return found.positions

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
        if fusion.mode == "balanced" and fusion.centre is None and self._norms is not None:
            return self._plain_scores(directions, weights, positions, self._norms)
        step = max(1, _AT_ONCE // max(1, self.fusion.dim * count))
        parts = []
        for start in range(0, queries, step):
            mine = slice(start, start + step)
            vectors = self.at(np.maximum(positions[mine], 0).ravel()).reshape(*positions[mine].shape, -1)
            parts.append(fusion.scores(blocks.image[mine], blocks.prefix[mine], weights[mine], vectors))
        return Scores(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _plain_scores(self, directions: Blocks, weights: Floats, positions: Rows, norms: Norms) -> Scores:
        places = np.maximum(positions, 0)
        total = np.zeros(positions.shape, np.float32)
        cosines = []
        copied = self.at(places.ravel()) if places.size * self.fusion.dim <= _COPIED_FLOATS else None
        sides = (
            (directions.image, slice(0, self.fusion.image_dim), weights),
            (directions.prefix, slice(self.fusion.image_dim, None), 1 - weights),
        )
        for number, (block, side, weight) in enumerate(sides):
            asked = np.any(block, axis=1)
            if not asked.any():
                cosines.append(np.full(positions.shape, np.nan, np.float32))
                continue
            # Stored blocks have the length 1/sqrt(2).
            query = block * np.float32(math.sqrt(2))
            if copied is not None:
                vectors = copied[:, side].reshape(*positions.shape, -1)
                products = np.matmul(vectors, query[:, :, None])[:, :, 0]
                # A block that is missing is zero: where vectors are at hand no norm is read.
                present = np.any(vectors, axis=2)
            else:
                padded = np.zeros((len(block), self.fusion.dim), np.float32)
                padded[:, side] = query
                products = self._segments.products(padded, places)
                present = norms.at(places)[number] > 0
            known = present & asked[:, None]
            cosine = np.where(known, np.clip(products, -1, 1), np.float32(np.nan))
            total += np.where(known, cosine, 0) * weight[:, None].astype(np.float32)
            cosines.append(cosine)
        return Scores(total, *cosines)


def _steps(done: Iterable[Done]) -> list[Step]:
    """What was done in segments, in one step where it is the same."""
    alike: dict[tuple[Way, str], list[Done]] = {}
    for one in done:
        alike.setdefault((one.way, one.note), []).append(one)
    steps = []
    for (way, note), parts in alike.items():
        widths = sorted({one.width for one in parts if one.width is not None})
        if widths:
            note = f"HNSW, efSearch {' to '.join(map(str, dict.fromkeys((widths[0], widths[-1]))))}, {note}"
        if otherwise := sum(one.otherwise for one in parts):
            note = f"{note}; {otherwise:,} times that was too little, and all codes were scored"
        steps.append(Step(way, len(parts), sum(one.vectors for one in parts), note))
    return steps
