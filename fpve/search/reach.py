"""What a search may find: the images of each vector, and which vectors have any."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fpve.index import Allowed
from fpve.neighbours import Mask, Rows


@dataclass(frozen=True, slots=True)
class Reach:
    """What one search may find.

    Attributes:
        images: rows of the images that are allowed, in the order of their vectors, then of their ids.
        starts: (all vectors + 1,) where each vector's images begin in `images`.
        counts: (segments,) how many vectors in each segment have an image that is allowed.
        allowed: (segments,) which vectors these are; None where it is all. A vector that no image names is dead.
    """

    images: Rows
    starts: Rows
    counts: tuple[int, ...]
    allowed: tuple[Allowed | None, ...]

    @property
    def vectors(self) -> int:
        """How many vectors have an image that is allowed."""
        return sum(self.counts)

    def filtered(self, allowed: Mask, offsets: Rows) -> Reach:
        """The part of it that is allowed, given (rows,) which images are, and where each segment's vectors begin."""
        kept = allowed[self.images]
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts]
        return _reach(self.images[kept], starts, offsets)


def everything(positions: Rows, offsets: Rows) -> Reach:
    """All images, given the position (rows,) of each one's vector among all vectors."""
    order = np.argsort(positions, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(positions, minlength=offsets[-1]))])
    return _reach(order, starts, offsets)


def _reach(images: Rows, starts: Rows, offsets: Rows) -> Reach:
    mask = starts[1:] > starts[:-1]
    parts = [Allowed(mask[start:end]) for start, end in pairwise(offsets)]
    allowed = tuple(None if part.count == len(part.mask) else part for part in parts)
    return Reach(images, starts, tuple(part.count for part in parts), allowed)


def expanded(reach: Reach, positions: Rows, most: int) -> tuple[Rows, Rows]:
    """The images (t,) of vectors (n,), at most so many of each, and which of the n vectors each is of."""
    counts = np.minimum(reach.starts[positions + 1] - reach.starts[positions], most)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = reach.images[np.repeat(reach.starts[positions], counts) + within]
    return rows, np.repeat(np.arange(len(positions)), counts)
