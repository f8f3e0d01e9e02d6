"""Files of vectors that somebody else computed: Parquet with a column of lists, or a matrix of NumPy's with a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fpve.errors import MetadataError, SourceError, SourceNotFound, nearest
from fpve.sources.inputs import Stamp
from fpve.sources.metadata import PARQUET_SUFFIXES, TABLE_SUFFIXES, read_table

VECTOR = "vector"
MATRIX_SUFFIX = ".npy"
Floats = NDArray[np.float32]

# Rows that are held at once: 27 MB of 1,664 numbers; of very long vectors fewer, so that a part is at most 64 MB.
_ROWS_AT_ONCE = 4_096
_NUMBERS_AT_ONCE = 1 << 24
# So that a column is read a page at a time: without a buffer, or with all of it buffered before, Parquet holds the
# whole chunk of a row group, of which many files have one only.
_BUFFER = 1 << 20
# Characters of what a library says of a broken file.
_REASON = 200


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Vectors, and what is said of each.

    Attributes:
        file: where the vectors are.
        table_file: where the rest is: the same file, or the table of a matrix.
        dim: how many numbers each has.
        table: (n rows) the other columns, as they are written.
        stamps: of the files, as they were opened.
    """

    file: Path
    table_file: Path
    dim: int
    table: pa.Table
    stamps: tuple[Stamp, ...]

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return len(self.table)

    def parts(self) -> Iterator[Floats]:
        """The vectors (m, dim) float32, one part after the other; each is finite, and none is zero.

        Raises:
            SourceError: one is not such, or of another length: its row is named. Or the file has changed.
        """
        self.check_unchanged()
        start = 0
        for part in _matrix_parts(self.file) if is_matrix(self.file) else _column_parts(self.file, self.dim):
            _check(self.file, part, start)
            start += len(part)
            yield part
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Refuse files that are not what they were when they were opened.

        Raises:
            SourceError: naming it.
        """
        for file, stamp in zip((self.file, self.table_file), self.stamps, strict=True):
            if not file.is_file() or Stamp.of(file.stat()) != stamp:
                raise _changed(file)


def is_matrix(file: Path) -> bool:
    """Whether a file is a matrix by its name, whose rows are named by a table."""
    return file.suffix.lower() == MATRIX_SUFFIX


def open_vectors(file: Path, *, ids: Path | None = None) -> VectorFile:
    """Open a file of vectors, and read all but these.

    Args:
        file: Parquet, or `.npy`.
        ids: of a matrix, the table of its rows, in their order; by default the one beside it that is called like it.

    Raises:
        SourceNotFound: there is no such file.
        SourceError, MetadataError: it is broken, has no vectors, or the table is of another number of rows.
    """
    if not file.is_file():
        raise SourceNotFound(f"{file}: no such file of vectors")
    if is_matrix(file):
        table_file = _table_of(file) if ids is None else ids
        stamps = tuple(Stamp.of(one.stat()) for one in (file, table_file) if one.is_file())
        table = read_table(table_file)
        matrix = _open_matrix(file)
        if len(table) != len(matrix):
            raise SourceError(f"{table_file}: expected {len(matrix):,} rows as {file} has, found {len(table):,}")
        found = VectorFile(file, table_file, matrix.shape[1], table, stamps)
    elif file.suffix.lower() in PARQUET_SUFFIXES:
        if ids is not None:
            raise SourceError(f"{file}: has its ids in a column; expected a table of ids for {MATRIX_SUFFIX} only")
        stamp = Stamp.of(file.stat())
        table, dim = _read_parquet(file)
        found = VectorFile(file, file, dim, table, (stamp, stamp))
    else:
        raise SourceError(f"{file}: expected .parquet or {MATRIX_SUFFIX}, found {file.suffix or 'no extension'!r}")
    if not found.rows:
        raise SourceError(f"{file}: expected one row an image, found none")
    return found


def _table_of(file: Path) -> Path:
    """The table beside a matrix."""
    beside = [file.with_suffix(suffix) for suffix in TABLE_SUFFIXES]
    there = [one for one in beside if one.is_file()]
    if len(there) != 1:
        found = " and ".join(one.name for one in there) or "none"
        raise SourceError(
            f"{file}: expected a table of its rows beside it, such as {beside[2].name}, found {found}; name it with ids"
        )
    return there[0]


def _open_matrix(file: Path) -> np.memmap[tuple[int, int], np.dtype[np.generic]]:
    try:
        # Not `np.load`, which takes archives and pickles for matrices as well; what is mapped is never unpickled.
        with np.errstate(over="ignore"):
            found = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # a header that is none can make NumPy raise anything, such as TokenError or MemoryError
        raise SourceError(f"{file}: can't be read as a matrix: {_reason(error)}") from error
    if found.ndim != 2 or found.dtype.kind not in "fiu" or not found.shape[1]:
        raise SourceError(f"{file}: expected a matrix (n, d) of numbers, found {found.dtype} of shape {found.shape}")
    return found


def _changed(file: Path) -> SourceError:
    return SourceError(f"{file}: changed while it was being read; nothing was published. Import it again")


def _reason(error: Exception) -> str:
    """What an exception says, in a line that can be read: NumPy quotes whole headers."""
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    return said if len(said) <= _REASON else f"{said[:_REASON]}…"


def _matrix_parts(file: Path) -> Iterator[Floats]:
    matrix = _open_matrix(file)
    rows, dim = matrix.shape
    step = _rows_at_once(dim)
    # Read, and not mapped: of a file that is cut short meanwhile, a mapping would end the process.
    with file.open("rb") as opened:

        def read(start: int, count: int) -> NDArray[np.generic]:
            opened.seek(matrix.offset + start * matrix.itemsize)
            found = np.fromfile(opened, matrix.dtype, count)
            if len(found) != count:
                raise _changed(file)
            return found

        for start in range(0, rows, step):
            count = min(step, rows - start)
            with np.errstate(over="ignore"):
                if matrix.flags.c_contiguous:
                    yield read(start * dim, count * dim).reshape(count, dim).astype(np.float32)
                else:
                    columns = [read(at * rows + start, count).astype(np.float32) for at in range(dim)]
                    yield np.stack(columns, axis=1)


def _rows_at_once(dim: int) -> int:
    return max(1, min(_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // max(dim, 1)))


def _read_parquet(file: Path) -> tuple[pa.Table, int]:
    """All columns but the vectors, and the length of the first of these."""
    try:
        with pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as parquet:
            schema = parquet.schema_arrow
            twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
            if twice is not None:
                raise SourceError(f"{file}: expected one column {twice!r}, found {schema.names.count(twice)}")
            if VECTOR not in schema.names:
                raise SourceError(
                    f"{file}: expected a column {VECTOR!r}, found {', '.join(schema.names)}"
                    f"{nearest(VECTOR, schema.names)}"
                )
            kind = schema.field(VECTOR).type
            if not _is_list(kind) or not (
                pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
            ):
                raise SourceError(f"{file}: expected lists of numbers in column {VECTOR!r}, found {kind}")
            names = [name for name in schema.names if name != VECTOR]
            # Without a column a table would not know how many rows it has.
            table = parquet.read(names) if names else pa.table({"": pa.nulls(parquet.metadata.num_rows)}).select([])
            first = next(parquet.iter_batches(1, columns=[VECTOR], use_threads=False), None)
    except (OSError, pa.ArrowException) as error:
        raise MetadataError(f"{file}: can't be read as parquet: {str(error).splitlines()[0]}") from error
    lengths = pc.list_value_length(first.column(0)).to_pylist() if first is not None else []
    return table, int(lengths[0] or 0) if lengths else 0


def _column_parts(file: Path, dim: int) -> Iterator[Floats]:
    try:
        with pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as parquet:
            start = 0
            for batch in parquet.iter_batches(_rows_at_once(dim), columns=[VECTOR], use_threads=False):
                yield _values(file, batch.column(0), dim, start)
                start += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise MetadataError(f"{file}: can't be read as parquet: {str(error).splitlines()[0]}") from error


def _values(file: Path, column: pa.Array, dim: int, start: int) -> Floats:
    """Lists (m,) as rows (m, dim); the first of them is row `start` of its file."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((lengths != dim) | (lengths == 0))
    if len(wrong):
        at = int(wrong[0])
        wanted = f"{dim:,} numbers as in row 1" if dim else "numbers"
        raise SourceError(
            f"{file}, row {start + at + 1}, column {VECTOR!r}: expected {wanted}, found {int(lengths[at]):,}"
        )
    flat = pc.list_flatten(column)
    if flat.null_count:
        at = int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0]) // dim
        raise SourceError(f"{file}, row {start + at + 1}, column {VECTOR!r}: expected numbers, found null among them")
    with np.errstate(over="ignore"):
        values: Floats = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    return values


def _check(file: Path, values: Floats, start: int) -> None:
    """Refuse vectors that have no direction in float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        norm = np.linalg.norm(values, axis=1)
    wrong = np.flatnonzero(~np.isfinite(norm) | (norm == 0))
    if not len(wrong):
        return
    at = int(wrong[0])
    what = "a zero vector" if norm[at] == 0 else "NaN, infinity, or numbers too large for float32"
    place = f"row {start + at + 1}" + ("" if is_matrix(file) else f", column {VECTOR!r}")
    raise SourceError(f"{file}, {place}: expected finite numbers that are not all zero, found {what}")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
