"""Segments: immutable Parquet files of vector rows, each named by (content hash, prefix_id)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fpve.fusion import Floats, FusedRows
from fpve.store.files import NAME_DIGITS, fsync_directory, inside, make_directory, ref, write_temporary
from fpve.store.manifest import Segment
from fpve.store.parquet import damaged, read_part, write_parquet

ROWS_FILE = "rows.parquet"
_FOLDER = "vectors"
FUSED_COLUMNS = ["image_norm", "prefix_norm", "vector"]
KEY_COLUMNS = ("content_hash", "prefix_id")


def row_schema(dim: int) -> pa.Schema:
    """The Arrow schema of vector rows of length `dim`; norms are of the raw blocks, 0 where a block is missing."""
    return pa.schema(
        [
            pa.field("content_hash", pa.string()),
            pa.field("prefix_id", pa.string()),
            pa.field("image_norm", pa.float32(), nullable=False),
            pa.field("prefix_norm", pa.float32(), nullable=False),
            pa.field("vector", pa.list_(pa.field("element", pa.float32(), nullable=False), dim), nullable=False),
        ]
    )


def rows_table(content_hash: list[str | None], prefix_id: list[str | None], rows: FusedRows) -> pa.Table:
    """Make the table of vector rows of n names and n fused vectors."""
    dim = rows.vectors.shape[1]
    schema = row_schema(dim)
    flat = pa.array(np.ascontiguousarray(rows.vectors, np.float32).ravel())
    arrays = [
        pa.array(content_hash, pa.string()),
        pa.array(prefix_id, pa.string()),
        pa.array(rows.image_norm),
        pa.array(rows.prefix_norm),
        pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type),
    ]
    return pa.table(arrays, schema=schema)


def write_rows(rows: pa.Table | Iterable[pa.Table], path: Path, *, schema: pa.Schema | None = None) -> None:
    """Write vector rows; the vectors are noise to a compressor, so they are stored plain."""
    write_parquet(
        rows,
        path,
        schema=schema,
        compression={"content_hash": "zstd", "prefix_id": "zstd", **dict.fromkeys(_PLAIN, "none")},
        use_dictionary=["prefix_id"],
        write_statistics=list(KEY_COLUMNS),
    )


def write_segment(root: Path, parts: Iterable[pa.Table], dim: int) -> Segment:
    """Write vector rows of length `dim` as a segment, named by its content; it has no index yet.

    Args:
        root: the store.
        parts: the rows, of which only one table is held at a time.
        dim: length of a vector.
    """
    count = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal count
        for part in parts:
            count += len(part)
            yield part

    vectors = make_directory(root, _FOLDER)
    schema = row_schema(dim)
    temporary, digest = write_temporary(vectors, ".parquet", lambda out: write_rows(counted(), out, schema=schema))
    name = digest[:NAME_DIGITS]
    path = make_directory(root, _FOLDER, name) / ROWS_FILE
    temporary.replace(path)
    fsync_directory(path.parent)
    return Segment(name, ref(root, path, digest), count, derived=())


_PLAIN = ("image_norm", "prefix_norm", "vector.list.element")


def read_keys(root: Path, name: str) -> pa.Table:
    """Read the names and norms of the vector rows in a file, without the vectors."""
    return read_part(root, name, [*KEY_COLUMNS, "image_norm", "prefix_norm"])


def read_norms(root: Path, name: str) -> tuple[Floats, Floats]:
    """Read the norms (n,) of the image blocks and of the prefix blocks in a file."""
    table = read_part(root, name, ["image_norm", "prefix_norm"])
    return table["image_norm"].to_numpy(), table["prefix_norm"].to_numpy()


def read_chosen(path: Path, rows: NDArray[np.int64]) -> FusedRows:
    """Read the vectors (n, dim) and norms (n,) of row numbers (n,), in their order; only parts that hold some are read.

    Raises:
        StoreCorrupt: the file is missing or damaged.
    """
    order = np.argsort(rows, kind="stable")
    wanted, parts, start = rows[order], [], 0
    try:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                end = start + file.metadata.row_group(number).num_rows
                mine = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, end)]
                if len(mine):
                    part = file.read_row_group(number, columns=FUSED_COLUMNS).combine_chunks()
                    parts.append(FusedRows(*(column[mine - start] for column in fused_rows(part))))
                start = end
            dim = file.schema_arrow.field("vector").type.list_size
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error
    if not parts:
        return FusedRows(np.zeros((0, dim), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))
    back = np.argsort(order, kind="stable")
    return FusedRows(*(np.concatenate(columns)[back] for columns in zip(*parts, strict=True)))


def read_vectors(path: Path) -> Iterator[Floats]:
    """Read the vectors (n, dim) float32 of each row group, one after the other."""
    return (_matrix(part["vector"]) for part in read_tables(path, ["vector"]))


def read_parts(path: Path) -> Iterator[tuple[pa.Array, FusedRows]]:
    """Read the content hashes (n,), vectors (n, dim) and norms (n,) of each row group, one after the other."""
    for part in read_tables(path, ["content_hash", *FUSED_COLUMNS]):
        yield part["content_hash"].combine_chunks(), fused_rows(part)


def read_tables(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read some or all columns of each row group, one after the other."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=columns).combine_chunks()


def fused_rows(table: pa.Table) -> FusedRows:
    """The vectors (n, dim) float32 and norms (n,) of vector rows."""
    return FusedRows(_matrix(table["vector"]), table["image_norm"].to_numpy(), table["prefix_norm"].to_numpy())


def folder(root: Path, segment: Segment) -> Path:
    """The directory of a segment, where its derived files lie too."""
    return inside(root, segment.file.path).parent


def _matrix(column: pa.ChunkedArray) -> Floats:
    dim = column.type.list_size
    flat = [chunk.flatten().to_numpy(zero_copy_only=True) for chunk in column.chunks if len(chunk)]
    return np.concatenate(flat).reshape(-1, dim) if flat else np.zeros((0, dim), np.float32)
