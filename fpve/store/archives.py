"""What archives held when a run listed them: a cache outside snapshots, so that only those that changed are listed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fpve.store.files import NAME_DIGITS, at_hand, make_directory, our_files, push, remove_files, write_durably

_FOLDER = ("state", "archives")
# In the file's own metadata: of which archive it is, and what that was like.
_STAMP = b"fpve.stamp"


def read_archive_index(root: Path, collection: str, archive: bytes) -> tuple[tuple[int, int, str], pa.Table] | None:
    """What an archive held, and the size, time and tag that it had; None where that is not known.

    Args:
        root: the store.
        collection: whose archive it is.
        archive: its path without links.
    """
    try:
        name = _path(root, collection, archive).relative_to(root).as_posix()
        with pq.ParquetFile(at_hand(root, name, changes=True)) as file:
            table = file.read()
            metadata = dict(table.schema.metadata or {})
            path, size, mtime_ns, *tag = json.loads(metadata.pop(_STAMP))
    except (OSError, ValueError, KeyError, pa.ArrowException):
        # A cache: without it the archive is listed again.
        return None
    if path != archive.hex():
        return None
    return (size, mtime_ns, tag[0] if tag else ""), table.replace_schema_metadata(metadata)


def write_archive_index(
    root: Path, collection: str, archive: bytes, stamp: tuple[int, int, str], members: pa.Table
) -> int:
    """Remember what an archive of this size, time and tag holds; the bytes that this takes."""
    make_directory(root, *_FOLDER, collection)
    path = _path(root, collection, archive)
    metadata = {**(members.schema.metadata or {}), _STAMP: json.dumps([archive.hex(), *stamp]).encode()}
    rows = members.replace_schema_metadata(metadata)
    write_durably(path, lambda out: pq.write_table(rows, out, compression="zstd"))
    push(root, path)
    return path.stat().st_size


def forget_archives(root: Path, collection: str, archives: Collection[bytes]) -> None:
    """Delete what is remembered of a collection's archives, but for these."""
    kept = {_path(root, collection, one) for one in archives}
    known = our_files(root, "/".join((*_FOLDER, collection)))
    remove_files(root, [path for path in known if path not in kept])


def _path(root: Path, collection: str, archive: bytes) -> Path:
    name = hashlib.sha256(archive).hexdigest()[:NAME_DIGITS]
    return root.joinpath(*_FOLDER, collection, f"{name}.parquet")
