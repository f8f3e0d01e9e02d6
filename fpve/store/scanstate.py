"""What earlier runs saw of each file: a cache, outside snapshots, that spares reading files that did not change."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fpve.store.files import make_directory, write_durably

_FOLDER = ("state", "scan")
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
    ]
)


def read_scan_state(root: Path, collection: str) -> pa.Table:
    """What is known of a collection's files; empty where nothing is, or where the cache can't be read."""
    try:
        return pq.read_table(root.joinpath(*_FOLDER, f"{collection}.parquet"), schema=SCHEMA)
    except (OSError, pa.ArrowException):
        # A cache: without it files are read again, and nothing is encoded that was encoded before.
        return SCHEMA.empty_table()


def write_scan_state(root: Path, collection: str, rows: pa.Table) -> None:
    """Remember what a run saw of a collection's files."""
    path = make_directory(root, *_FOLDER) / f"{collection}.parquet"
    rows = rows.select(SCHEMA.names).cast(SCHEMA)
    write_durably(path, lambda out: pq.write_table(rows, out, compression="zstd"))
