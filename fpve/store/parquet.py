"""Parquet files of a store: written with checksums, and compared with them where they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fpve.errors import StoreCorrupt
from fpve.replica import replica_of
from fpve.store.files import FileRef, checked, inside, opened


def read_parquet(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file of the store, or those of the columns that it has.

    Raises:
        StoreCorrupt: it is missing or damaged.
    """
    try:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            if columns is None:
                return file.read()
            known = [name for name in columns if name in file.schema_arrow.names]
            return file.read(known).select(known)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def read_part(root: Path, name: str, columns: list[str]) -> pa.Table:
    """Read those of the columns of a large Parquet file that it has; of one in a bucket nothing else is fetched.

    Raises:
        StoreCorrupt: it is missing or damaged.
    """
    path, replica = inside(root, name), replica_of(root)
    if replica is None or path.exists():
        try:
            return read_parquet(path, columns=columns)
        except StoreCorrupt:
            if replica is None:
                raise
            # It may have been damaged on this machine only, or evicted in this moment.
            replica.forget(name)
    try:
        with opened(root, name) as handle, pq.ParquetFile(handle, page_checksum_verification=True) as file:
            known = [column for column in columns if column in file.schema_arrow.names]
            return file.read(known).select(known)
    except (FileNotFoundError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def read_named(root: Path, file: FileRef, *, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file that a manifest names, or those of the columns that it has, if its SHA-256 is the manifest's.

    So what is copied into a new file, and gets a checksum of its own there, is what once was written.

    Raises:
        StoreCorrupt: it is missing or damaged.
    """
    return read_parquet(checked(root, file), columns=columns)


def write_parquet(
    rows: pa.Table | Iterable[pa.Table], path: Path, *, schema: pa.Schema | None = None, **options: Any
) -> None:
    """Write a Parquet file of the store: with checksums, which `read_parquet` compares where it reads a part only.

    Args:
        rows: a table, or tables of one `schema`, of which only one is held at a time.
        path: where to.
        schema: of several tables.
        options: those of `pyarrow.parquet.write_table`.

    Raises:
        OSError: it can't be written.
    """
    parts, schema = ([rows], rows.schema) if isinstance(rows, pa.Table) else (rows, schema)
    group = options.pop("row_group_size", None)
    try:
        with pq.ParquetWriter(path, schema, write_page_checksum=True, **options) as writer:
            for part in parts:
                writer.write_table(part, row_group_size=group)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        # Arrow says the reason, and not the file.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def damaged(path: Path, error: Exception) -> StoreCorrupt:
    """What to raise where a file of the store can't be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return StoreCorrupt(f"{path}: a file of the store is missing or damaged: {reason}")
