"""The snapshots of a store, as a table."""

from __future__ import annotations

import os
from datetime import datetime

import pyarrow as pa

from fpve.replica import located
from fpve.store import manifest as manifests
from fpve.store.manifest import Manifest
from fpve.store.runs import CHANGES

# What became of images since the parent, as runs report it.
_CHANGES = tuple(name for name in CHANGES if name != "unchanged")
SCHEMA = pa.schema(
    [
        pa.field("snapshot", pa.int64(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("operation", pa.string(), nullable=False),
        pa.field("images", pa.int64()),
        pa.field("vectors", pa.int64()),
        pa.field("segments", pa.int64()),
        pa.field("bytes", pa.int64()),
        *(pa.field(name, pa.int64()) for name in (*_CHANGES, "predicted")),
        pa.field("written_by", pa.string()),
    ]
)


def history(path: str | os.PathLike[str]) -> pa.Table:
    """One row a snapshot, newest first; of a damaged one its number only.

    Columns: `snapshot`, `created_at`, `operation` (what published it), `images`, `vectors`, `segments`, `bytes` (of all
    files that it names), the numbers of images that were `new`, `moved`, `changed`, `prefix_changed`,
    `metadata_changed` and `removed` (null where it was no run), how many labels were `predicted`, and `written_by`.

    Raises:
        StoreNotFound: there is no store at `path`.
    """
    root = located(path)
    found, damaged = manifests.load_all(root)
    if not found and not damaged:
        raise manifests.no_store(root)
    rows = [_row(one) for one in found.values()]
    rows += [{"snapshot": number, "operation": f"damaged: {reason}"} for number, reason in damaged.items()]
    rows.sort(key=lambda row: -int(str(row["snapshot"])))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(manifest: Manifest) -> dict[str, object]:
    return {
        "snapshot": manifest.snapshot,
        "created_at": datetime.fromisoformat(manifest.created_at),
        "operation": manifest.operation + (f" to {manifest.summary['to']}" if "to" in manifest.summary else ""),
        "images": manifest.rows,
        "vectors": sum(segment.rows for segment in manifest.segments),
        "segments": len(manifest.segments),
        "bytes": manifest.bytes,
        **{name: manifest.summary.get(name) for name in (*_CHANGES, "predicted")},
        "written_by": manifest.written_by,
    }
