"""What a search may find: the images of each vector, and which vectors have any."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fpve.index import Allowed
from fpve.neighbours import Mask, Rows
from fpve.search.grouped import Grouped


@dataclass(frozen=True, slots=True)
class Reach:
    """What one search may find.

    Attributes:
        images: those that are allowed, by their vector.
        counts: (segments,) how many vectors in each segment have an image that is allowed.
        allowed: (segments,) which vectors these are; None where it is all. A vector that no image names is dead.
    """

    images: Grouped
    counts: tuple[int, ...]
    allowed: tuple[Allowed | None, ...]

    @classmethod
    def of(cls, images: Grouped, offsets: Rows) -> Reach:
        """Images by their vector, given where each segment's vectors begin, and at the end their number."""
        mask = images.sizes > 0
        parts = [Allowed(mask[start:end]) for start, end in pairwise(offsets)]
        allowed = tuple(None if part.count == len(part.mask) else part for part in parts)
        return cls(images, tuple(part.count for part in parts), allowed)

    @property
    def vectors(self) -> int:
        """How many vectors have an image that is allowed."""
        return sum(self.counts)

    def filtered(self, allowed: Mask, offsets: Rows) -> Reach:
        """The part of it that is allowed, given (rows,) which images are, and where each segment's vectors begin."""
        return Reach.of(self.images.filtered(allowed), offsets)
