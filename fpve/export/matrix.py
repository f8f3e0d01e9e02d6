"""Vectors as a matrix of NumPy's, with the rows that they belong to in a Parquet file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fpve.errors import QueryError
from fpve.export.rows import VECTOR, Chosen
from fpve.progress import Progress
from fpve.rowfiles import check_target
from fpve.store.files import write_durably
from fpve.store.parquet import write_parquet

_FLOAT = np.dtype("<f4")


def table_beside(path: Path) -> Path:
    """Where the rows of a matrix are: their ids and metadata, in its order."""
    return path.with_suffix(".parquet")


def check_matrix(path: Path, chosen: Chosen) -> None:
    """Refuse a matrix that can't be written, or has nothing in it.

    Raises:
        QueryError: saying what was expected.
    """
    if path.suffix.lower() != ".npy":
        raise QueryError(f"{path}: expected .npy for a matrix, found {path.suffix or 'no extension'!r}")
    if chosen.vectors == "none":
        raise QueryError("vectors: expected 'fused', 'image' or 'prefix' for a matrix, found 'none'")
    check_target(table_beside(path))
    for file in (path, table_beside(path)):
        if file.exists() and not file.is_file():
            raise QueryError(f"{file}: expected a file to write, found a device or a pipe, which can't hold a matrix")
    _check_no_vectors(table_beside(path), path)


def _check_no_vectors(table: Path, path: Path) -> None:
    """Refuse to replace an earlier export with vectors of its own by the table of a matrix.

    Raises:
        QueryError: naming it.
    """
    try:
        names = pq.read_schema(table).names if table.exists() else []
    except (OSError, pa.ArrowException):
        return
    if VECTOR in names:
        raise QueryError(
            f"{path}: expected no vectors in {table.name}, which becomes the table of its rows, found an export that "
            "has some; name the matrix otherwise, or delete that file"
        )


def write_matrix(path: Path, chosen: Chosen, progress: Progress) -> tuple[Path, Path]:
    """Write vectors (n, dim) float32, and their rows beside them, part by part; a missing block is a zero row.

    Both files get their names when both are whole.

    Returns:
        The two files.
    """
    beside = table_beside(path)

    def write_both(images: Path) -> None:
        write_durably(path.resolve(), lambda values: _write(values, images, chosen, progress))

    write_durably(beside.resolve(), write_both)
    return path, beside


def _write(values: Path, images: Path, chosen: Chosen, progress: Progress) -> None:
    with values.open("wb") as file:

        def parts() -> Iterator[pa.Table]:
            for rows in chosen.parts(progress):
                file.write(np.ascontiguousarray(chosen.values(rows)[0], _FLOAT).data)
                yield chosen.images(rows)

        # As `np.save` begins a file; what it saves it wants as a whole.
        shape = (len(chosen.rows), chosen.dim)
        header = {"descr": np.lib.format.dtype_to_descr(_FLOAT), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        write_parquet(parts(), images, schema=chosen.schema)
