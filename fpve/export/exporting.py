"""Exporting the images of a snapshot, all or some, as one file; or as a matrix and its rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fpve.curation.projection import DEFAULT_METHOD, Method
from fpve.errors import QueryError, nearest
from fpve.export.header import DEFAULT_VECTORS, VectorKind
from fpve.export.matrix import check_matrix, write_matrix
from fpve.export.rows import Chosen
from fpve.export.viewer import in_one_line, write_viewer
from fpve.progress import Progress, SilentProgress
from fpve.rowfiles import check_target, write_rows
from fpve.search import Searcher

Format = Literal["parquet", "csv", "npy", "embedding-atlas"]
_BY_EXTENSION: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".npy": "npy"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported.

    Attributes:
        files: what was written; of a matrix also the table of its rows.
        format: of the first of them.
        rows: how many images.
        vectors: which vectors went along.
        dim: their length; 0 where none did.
        snapshot: number of the snapshot.
        command: what opens the file, if something is known to.
    """

    files: tuple[str, ...]
    format: Format
    rows: int
    vectors: VectorKind
    dim: int
    snapshot: int
    command: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)


def export_rows(
    searcher: Searcher,
    path: Path,
    *,
    to: Format | None = None,
    vectors: VectorKind | None = None,
    where: str | None = None,
    columns: Iterable[str] | None = None,
    projection: Method = DEFAULT_METHOD,
    progress: Progress | None = None,
) -> Exported:
    """Write image rows, with vectors or what a viewer needs; what was there is replaced once all of it is written.

    Args:
        searcher: of the snapshot.
        path: where to.
        to: the format; None leaves it to the extension.
        vectors: `fused`, as the store has them; `image`, raw features of the pictures; `prefix`, raw embeddings of the
            prefixes; or `none`. By default fused ones, but none in CSV, and for a viewer.
        where: an SQL condition on the images.
        columns: the metadata columns; all if there are none.
        projection: of the points that a viewer shows.
        progress: is told of the rows.

    Raises:
        QueryError: an option is wrong, or no file can be at the path.
        StoreCorrupt: a file of the store is missing or damaged.
        OSError: the file can't be written.
    """
    progress = progress or SilentProgress()
    form = _format_of(path, to)
    if vectors is not None and vectors not in get_args(VectorKind):
        raise QueryError(f"vectors: expected {', '.join(get_args(VectorKind))}, found {vectors!r}")
    if form == "embedding-atlas" and vectors not in (None, "none"):
        raise QueryError(f"vectors: a viewer gets coordinates in their place; expected none, found {vectors!r}")
    kind: VectorKind = vectors or ("none" if form in ("csv", "embedding-atlas") else DEFAULT_VECTORS)
    check_target(path)
    chosen = Chosen.of(searcher, where=where, columns=columns, vectors=kind)
    files: tuple[Path, ...] = (path,)
    command = None
    with _naming(path):
        if form == "embedding-atlas":
            command = in_one_line(write_viewer(path, chosen, projection, progress))
        elif form == "npy":
            check_matrix(path, chosen)
            files = write_matrix(path, chosen, progress)
        elif form == "csv":
            texts = (chosen.with_vectors_as_json(rows) for rows in chosen.parts(progress))
            write_rows(path, chosen.with_vectors_as_json(chosen.rows[:0]).schema, texts, kind=form)
        else:
            parts = (chosen.with_vectors(rows) for rows in chosen.parts(progress))
            write_rows(path, chosen.schema_with_vectors, parts, kind=form)
    return Exported(
        files=tuple(map(str, files)),
        format=form,
        rows=len(chosen.rows),
        vectors=kind,
        dim=chosen.dim,
        snapshot=searcher.snapshot.manifest.snapshot,
        command=command,
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors of writing name the file that was asked for, and not the temporary one, or none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or not (error.filename is None or str(error.filename).endswith(".tmp")):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _format_of(path: Path, to: Format | None) -> Format:
    """The format that is asked for, or that of a file called so.

    Raises:
        QueryError: it is none.
    """
    known = get_args(Format)
    if to is not None and to not in known:
        raise QueryError(f"to: expected {', '.join(known)}, found {to!r}{nearest(to, known)}")
    found = to or _BY_EXTENSION.get(path.suffix.lower())
    if found is None:
        raise QueryError(
            f"{path}: expected {', '.join(_BY_EXTENSION)}, or a format to say what it is ({', '.join(known)}), found "
            f"{path.suffix or 'no extension'!r}"
        )
    return found
