"""Vector rows in a bucket as a dataset of Arrow, whose threads ask Python for the bytes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

# It brings pandas along where there is one, so whoever imports this does so where it is used.
import pyarrow.dataset as ds


class _Scanner:
    def __init__(self, scanner: ds.Scanner) -> None:
        self._scanner = scanner

    def to_reader(self) -> pa.RecordBatchReader:
        """Its rows. Arrow's own `to_reader` keeps Python's lock, for which a thread waits whose request fails."""
        return pa.RecordBatchReader.from_batches(self._scanner.projected_schema, self._scanner.to_batches())


class RowSource(ds.FileSystemDataset):  # type: ignore[misc]  # Arrow has no types
    """A dataset that DuckDB can scan whose files are asked for in Python."""

    @classmethod
    def of(cls, found: ds.FileSystemDataset) -> RowSource:
        """The same files."""
        return cls(list(found.get_fragments()), found.schema, found.format, found.filesystem)

    def scanner(self, *args: Any, **options: Any) -> Any:
        """What reads of them what a query needs."""
        return _Scanner(super().scanner(*args, **options))
