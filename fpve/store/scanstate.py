"""What earlier runs saw of each file: a cache, outside snapshots, that spares reading files that did not change."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fpve.store.files import at_hand, make_directory, push, write_durably

_FOLDER = ("state", "scan")
# In the file's own metadata: which source it is of.
_SOURCE = b"fpve.source"
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        # What else must be as it was: the path of a file whose image_id is not its path, the size of an archive.
        pa.field("origin", pa.string()),
    ]
)


def read_scan_state(root: Path, collection: str, source: bytes) -> pa.Table:
    """What is known of the files of a collection in `source`: a folder, a table or archives, by a path without links.

    Empty where nothing is, where the cache can't be read, and where it is of another source: sizes and times of a
    folder can be those of its copy, whatever the files hold.
    """
    try:
        path = at_hand(root, "/".join((*_FOLDER, f"{collection}.parquet")), changes=True)
        with pq.ParquetFile(path) as file:
            if (file.schema_arrow.metadata or {}).get(_SOURCE) == source:
                return file.read().replace_schema_metadata().cast(SCHEMA)
    except (OSError, ValueError, pa.ArrowException):
        # A cache: without it files are read again, and nothing is encoded that was encoded before.
        pass
    return SCHEMA.empty_table()


def write_scan_state(root: Path, collection: str, source: bytes, rows: pa.Table) -> int:
    """Remember what a run saw of a collection's files in `source`; the size of the file, rewritten whole."""
    path = make_directory(root, *_FOLDER) / f"{collection}.parquet"
    rows = rows.select(SCHEMA.names).cast(SCHEMA.with_metadata({_SOURCE: source}))
    write_durably(path, lambda out: pq.write_table(rows, out, compression="zstd"))
    push(root, path)
    return path.stat().st_size
