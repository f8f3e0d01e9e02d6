"""Search by the prefix alone: of the prefixes, each of which many images can share, instead of all vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpve.fusion import Floats, unit
from fpve.neighbours import Mask, Rows
from fpve.search.grouped import Grouped

# Scores (queries by prefixes) that are held at once: 64 MB.
_SCORES_AT_ONCE = 16_000_000
# Scores that agree to this are ties, as a search has it: the images of all tied prefixes are looked at.
_TIE_WIDTH = 2e-6


@dataclass(frozen=True, slots=True)
class PrefixGroups:
    """All images by their prefix; those without one are a group, too, whose block is zero.

    Attributes:
        blocks: (groups, prefix_dim) searched prefix blocks, of length 1 or 0.
        images: all of them, by their prefix.
    """

    blocks: Floats
    images: Grouped

    @classmethod
    def of(cls, blocks: Floats, groups: Rows) -> PrefixGroups:
        """Of the groups' blocks (groups, prefix_dim), and the group (rows,) of each image."""
        return cls(unit(blocks), Grouped.of(groups, len(blocks)))

    def filtered(self, allowed: Mask) -> PrefixGroups:
        """Those of the images that are allowed (rows,)."""
        return PrefixGroups(self.blocks, self.images.filtered(allowed))

    def best(self, queries: Floats, k: int) -> tuple[Rows, Rows, Floats]:
        """Images whose prefixes score best against queries (m, prefix_dim), in no order.

        All those are among them that can be one of a query's k best where ties are broken by the image's row.

        Returns:
            query, row and score, each (t,).
        """
        step = max(1, _SCORES_AT_ONCE // max(1, len(self.blocks)))
        parts = [self._best(queries[start : start + step], start, k) for start in range(0, len(queries), step)]
        query, row, score = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return query, row, score

    def _best(self, queries: Floats, first: int, k: int) -> tuple[Rows, Rows, Floats]:
        # Of a group's images, which all score the same, only the first k can count.
        sizes = np.minimum(self.images.sizes, k)
        scores = unit(queries) @ self.blocks.T
        scores[:, sizes == 0] = -np.inf
        # No more groups than hits can be needed, but for ties with the last of them.
        fetch = min(k, len(self.blocks))
        groups = np.argpartition(-scores, fetch - 1, axis=1)[:, :fetch]
        groups = np.take_along_axis(groups, np.argsort(-np.take_along_axis(scores, groups, axis=1), axis=1), axis=1)
        upto = np.cumsum(sizes[groups], axis=1)
        last = np.minimum((upto < k).sum(axis=1), fetch - 1)
        floor = np.take_along_axis(scores, np.take_along_axis(groups, last[:, None], axis=1), axis=1)
        query, group = np.nonzero((scores >= floor - _TIE_WIDTH) & (sizes > 0))
        rows, of = self.images.expanded(group, k)
        return query[of] + first, rows, scores[query, group][of]
