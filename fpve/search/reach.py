"""What a search may find: the images of each vector, and which vectors have any."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fpve.index import Allowed
from fpve.neighbours import Mask, Rows
from fpve.search.grouped import Grouped
from fpve.search.sought import Part


@dataclass(frozen=True, slots=True)
class Reach:
    """What one search may find.

    Attributes:
        images: those that are allowed, by their vector.
        segments: how many there are in all.
        parts: those of the segments in which a vector has an image that is allowed. A vector that no image names is
            dead.
    """

    images: Grouped
    segments: int
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, images: Grouped, offsets: Rows) -> Reach:
        """Images by their vector, given where each segment's vectors begin, and at the end their number."""
        mask = images.sizes > 0
        parts = []
        for number, (start, end) in enumerate(pairwise(offsets.tolist())):
            mine = Allowed(mask[start:end])
            if mine.count:
                parts.append(Part(number, start, mine.count, None if mine.count == end - start else mine))
        return cls(images, len(offsets) - 1, tuple(parts))

    @property
    def vectors(self) -> int:
        """How many vectors have an image that is allowed."""
        return sum(part.vectors for part in self.parts)

    def filtered(self, allowed: Mask, offsets: Rows) -> Reach:
        """The part of it that is allowed, given (rows,) which images are, and where each segment's vectors begin."""
        return Reach.of(self.images.filtered(allowed), offsets)
