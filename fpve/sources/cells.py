"""Pictures in the cells of a Parquet file: read in order, a few rows at a time, whatever the size of its row groups."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fpve.sources.inputs import FILES_AT_ONCE, Reading, Stamp, check_size
from fpve.sources.places import open_place, stamp_of
from fpve.urls import is_url

# Rows that are decoded at once: with pictures of some MB that is as much as an encoder's batch.
_ROWS_AT_ONCE = 32
# Cells that were passed and not asked for yet, of threads that overtook one another: more threads than any machine has.
_KEPT = 512
# So that a column chunk is read a page at a time; without a buffer Parquet reads the whole of it first.
_BUFFER = 1 << 20


class Cells:
    """Cells of one binary column of a Parquet file, by row numbers: fast where these ascend, right in any order.

    Args:
        file: the table.
        stamp: of the file that was scanned.
        column: the column, or a field of it, as Parquet names it: `image.bytes`.
        rows: (n,) numbers of rows.
    """

    def __init__(self, file: bytes, stamp: Stamp, column: str, rows: NDArray[np.int64]) -> None:
        self._file = file
        self._stamp = stamp
        self._column = column
        self._rows = rows
        self._wanted = frozenset(rows.tolist())
        self._lock = Lock()
        self._reader: _Reader | None = None
        self._passed: OrderedDict[int, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def at_once(self) -> int:
        """How many are best read at the same time."""
        return FILES_AT_ONCE

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs to read them: not the open file."""
        return Cells, (self._file, self._stamp, self._column, self._rows)

    def read(self, number: int) -> Reading:
        """Read the cell of this number; one that is null is empty."""
        with self._lock:
            data = self._take(int(self._rows[number]))
        check_size(len(data))
        return Reading(data, len(data), self._stamp.mtime_ns)

    def _take(self, row: int) -> bytes:
        if row in self._passed:
            return self._passed.pop(row)
        try:
            if self._reader is None:
                self._reader = _Reader(open_place(self._file), self._file, self._stamp, self._column)
            reader = self._reader
            reader.seek(row)
            while reader.next_row <= row:
                first = reader.next_row
                for at, cell in enumerate(reader.read(), first):
                    if at in self._wanted:
                        self._passed[at] = cell.as_py() or b""
            while len(self._passed) > _KEPT:
                self._passed.popitem(last=False)
        except (OSError, pa.ArrowException, StopIteration) as error:
            self._reader = None
            if isinstance(error, OSError) and error.strerror:
                raise
            reason = str(error).splitlines()[0] if str(error) else "it ends before this row"
            raise OSError(errno.EIO, f"row {row + 1} of its table can't be decoded: {reason}") from error
        return self._passed.pop(row)


class _Reader:
    """An open Parquet file, at some row of a column."""

    def __init__(self, handle: BinaryIO, file: bytes, stamp: Stamp, column: str) -> None:
        # Before anything fails: `__del__` closes it.
        self._handle = handle
        self._stamp = stamp
        self._is_object = is_url(os.fsdecode(file))
        if self._is_object and stamp_of(file) != stamp:
            raise OSError(errno.ESTALE, "its object changed after it had been listed")
        self._check()
        self._parquet = pq.ParquetFile(self._handle, buffer_size=_BUFFER, pre_buffer=False)
        self._column = column
        counts = [self._parquet.metadata.row_group(at).num_rows for at in range(self._parquet.num_row_groups)]
        self._ends = np.cumsum(counts)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self.next_row = int(self._ends[-1]) if counts else 0

    def __del__(self) -> None:
        # Inputs have no end of their own: the file is open as long as somebody may read.
        self._handle.close()

    def seek(self, row: int) -> None:
        """Go to the row group of a row, unless it is ahead of where this is, in the same one."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        here = int(np.searchsorted(self._ends, self.next_row, side="right"))
        if self.next_row <= row and group == here:
            return
        self._batches = self._parquet.iter_batches(
            _ROWS_AT_ONCE, row_groups=range(group, len(self._ends)), columns=[self._column], use_threads=False
        )
        self.next_row = int(self._ends[group - 1]) if group else 0

    def read(self) -> pa.Array:
        """The next few cells."""
        self._check()
        cells = next(self._batches).column(0)
        self.next_row += len(cells)
        return cells.field(0) if pa.types.is_struct(cells.type) else cells

    def _check(self) -> None:
        # An open object is read as it was when it was opened, or not at all.
        if not self._is_object:
            self._stamp.check(self._handle.fileno())
