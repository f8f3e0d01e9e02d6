"""Feature maps, kept for what has to see them a second time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from math import prod

import numpy as np

from fpve.errors import FpveError
from fpve.fusion import Floats
from fpve.neighbours import Rows

# What float16 holds. Maps of networks with normalised layers are far below.
_MOST = 65_504
# Floats of maps that are in memory at once: 64 MB.
_FLOATS = 16_000_000


class MapFile:
    """Maps (c, h, w) in half precision, in a file without a name: it is gone with the process.

    Of EfficientNet-Lite0 a map takes 125 kB, so that 5,000 pictures take 0.6 GB. In memory there is one part at a time.

    Args:
        shape: of a map.
        count: how many there will be at most.

    Raises:
        FpveError: the disk of temporary files has no room for them.
    """

    def __init__(self, shape: tuple[int, int, int], count: int) -> None:
        self.shape = shape
        self._rows = 0
        needed, folder = 2 * prod(shape) * count, tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise FpveError(
                f"expected {needed / 1e9:,.1f} GB for the feature maps of {count:,} pictures, found {free / 1e9:,.1f} "
                f"GB free in {folder}: take fewer with sample, have TMPDIR name another folder, or leave out the "
                "pooling 'text'"
            )
        self._file = tempfile.TemporaryFile(prefix="fpve-")  # noqa: SIM115 (closed by `close`)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, maps: Floats) -> None:
        """Append maps (m, c, h, w).

        Raises:
            OSError: the disk is full.
        """
        self._file.write(np.clip(maps, -_MOST, _MOST).astype(np.float16).tobytes())
        self._rows += len(maps)

    def read(self, rows: Rows) -> Iterator[tuple[slice, Floats]]:
        """The maps (m, c, h, w) float32 of some of the rows, part by part, with the part's place among these rows."""
        self._file.flush()
        kept = np.memmap(self._file, np.float16, mode="r", shape=(self._rows, *self.shape))
        step = max(1, _FLOATS // prod(self.shape))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            yield part, kept[rows[part]].astype(np.float32)
