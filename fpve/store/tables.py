"""The small tables beside images and vectors: prefixes, quarantine and thumbnails."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fpve.store.files import inside, ref, write_named_by_content
from fpve.store.manifest import Table

PREFIXES = "prefixes"
QUARANTINE = "quarantine"
THUMBNAILS = "thumbnails"

_UTC = pa.timestamp("us", tz="UTC")
SCHEMAS: dict[str, pa.Schema] = {
    # A prefix and where it came from: `template` is the rule that was filled in.
    PREFIXES: pa.schema(
        [
            pa.field("prefix_id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("origin", pa.string(), nullable=False),
            pa.field("template", pa.string()),
            pa.field("created_at", _UTC, nullable=False),
        ]
    ),
    # An input that could not be encoded; without a content hash where it could not even be read.
    QUARANTINE: pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("collection", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("at", _UTC, nullable=False),
        ]
    ),
    # What was learnt of a picture's content while it was open; width and height are of the upright picture.
    THUMBNAILS: pa.schema(
        [
            pa.field("content_hash", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("jpeg", pa.binary(), nullable=False),
        ]
    ),
}


def write_table(root: Path, name: str, rows: pa.Table) -> Table:
    """Write rows of a table as one more file of it."""
    rows = rows.select(SCHEMAS[name].names).cast(SCHEMAS[name])
    path, digest = write_named_by_content(
        root / "tables" / name, ".parquet", lambda out: pq.write_table(rows, out, compression="zstd")
    )
    return Table(name, ref(root, path, digest), len(rows))


def read_tables(root: Path, name: str, files: Iterable[Table], columns: list[str] | None = None) -> pa.Table:
    """Read the given files of a table, or some of their columns."""
    parts = [pq.read_table(inside(root, one.file.path), columns=columns) for one in files]
    if not parts:
        empty: pa.Table = SCHEMAS[name].empty_table()
        return empty if columns is None else empty.select(columns)
    return pa.concat_tables(parts)
