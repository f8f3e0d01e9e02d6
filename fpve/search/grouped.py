"""Images in groups: by the vector that they share, or by their prefix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpve.neighbours import Mask, Rows


@dataclass(frozen=True, slots=True)
class Grouped:
    """Images in groups.

    Attributes:
        images: rows of images, by group, then in the order of their ids.
        starts: (groups + 1,) where each group's images begin in `images`.
    """

    images: Rows
    starts: Rows

    @classmethod
    def of(cls, groups: Rows, count: int) -> Grouped:
        """All images, given the group (rows,) of each, and how many groups there are."""
        starts = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))])
        return cls(np.argsort(groups, kind="stable"), starts)

    @property
    def sizes(self) -> Rows:
        """(groups,) how many images each has."""
        return np.diff(self.starts)

    def filtered(self, allowed: Mask) -> Grouped:
        """Those of the images that are allowed (rows,)."""
        kept = allowed[self.images]
        return Grouped(self.images[kept], np.concatenate([[0], np.cumsum(kept)])[self.starts])

    def expanded(self, groups: Rows, most: int) -> tuple[Rows, Rows]:
        """The images (t,) of groups (n,), at most the first so many of each, and which of the n each is of."""
        counts = np.minimum(self.starts[groups + 1] - self.starts[groups], most)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = self.images[np.repeat(self.starts[groups], counts) + within]
        return rows, np.repeat(np.arange(len(groups)), counts)
