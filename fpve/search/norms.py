"""The norms of raw blocks, by the position of their vector: read of a segment when one of its vectors is asked for."""

from __future__ import annotations

import numpy as np

from fpve.fusion import Floats
from fpve.neighbours import Mask, Rows
from fpve.store.snapshot import Snapshot


class Norms:
    """The norms of a snapshot's vector rows. Safe to use from many threads.

    A search asks for those of what it found: of thousands of segments, a few.

    Args:
        snapshot: whose.
        offsets: position of each segment's first vector among all vectors, and at the end their number.
    """

    def __init__(self, snapshot: Snapshot, offsets: Rows) -> None:
        self._snapshot = snapshot
        self._offsets = offsets
        # Memory that nothing is written to is none.
        self._image, self._prefix = np.zeros((2, int(offsets[-1])), np.float32)
        self._is_read: Mask = np.zeros(len(snapshot.manifest.segments), bool)

    def at(self, positions: Rows) -> tuple[Floats, Floats]:
        """Norms of the image blocks and prefix blocks at positions, in an array of any shape; 0 where one is missing.

        Raises:
            StoreCorrupt: a segment's rows are missing or damaged.
        """
        wanted = np.zeros(len(self._is_read), bool)
        if not self._is_read.all():
            wanted[np.searchsorted(self._offsets, positions, side="right") - 1] = True
        for number in np.flatnonzero(wanted & ~self._is_read).tolist():
            mine = slice(*self._offsets[number : number + 2])
            segment = self._snapshot.manifest.segments[number]
            self._image[mine], self._prefix[mine] = self._snapshot.segment_norms(segment)
            # Two threads may both read them, and read the same.
            self._is_read[number] = True
        return self._image[positions], self._prefix[positions]
