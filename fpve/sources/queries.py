"""Queries as a source: the pictures of a folder or of archives, or the rows of a table, in their order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.config import CollectionConfig
from fpve.errors import MetadataError, QueryError, SourceError
from fpve.sources.cells import Cells
from fpve.sources.inputs import Files, Inputs, PathsBelow
from fpve.sources.metadata import (
    KEY_NAMES,
    PARQUET_SUFFIXES,
    TABLE_SUFFIXES,
    check_unique,
    open_parquet,
    paths_in,
    read_parquet_schema,
    read_table,
)
from fpve.sources.objects import Objects, are_urls
from fpve.sources.places import is_folder, real_path
from fpve.sources.scan import Skipped
from fpve.sources.source import scan_source
from fpve.sources.table import cell_column, holds_pictures, table_stamp
from fpve.urls import is_url

# Columns of a table of queries, besides those of paths and pictures.
TEXT = "text"
VECTOR = "vector"
IMAGE_ID = "image_id"
# What else can be called so: an image of the store, where there is nothing else to search by.
ID = "id"
_NAMES = ("query_id", ID, IMAGE_ID)
# Cells of pictures that are in memory, to see which are empty.
_ROWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class QuerySource:
    """Queries that a source asks, n of them.

    Each is by one of vectors, ids, or pictures and texts; a row of a table may lack what others have.

    Attributes:
        names: (n,) what each is called: by an id of its own, its path, or the number of its row, from 0 on.
        inputs: pictures by the number of their query, of those that have one; None if they are no queries by picture.
        pictured: (n,) which have a picture.
        texts: (n,) texts, null where there is none; None if they are no queries by text.
        ids: (n,) image_ids of the store, or None.
        vectors: gives the vectors, lists of numbers, so many or fewer at a time; or None.
        skipped: what was found but can't be a picture.
    """

    names: pa.Array
    inputs: Inputs | None
    pictured: NDArray[np.bool_]
    texts: pa.Array | None = None
    ids: pa.Array | None = None
    vectors: Callable[[int], Iterator[pa.Array]] | None = None
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def kinds(self) -> tuple[str, ...]:
        """By what they search: vectors, ids, or pictures, texts, or both."""
        named = {"vectors": self.vectors, "ids": self.ids, "pictures": self.inputs, "texts": self.texts}
        return tuple(name for name, value in named.items() if value is not None)


def read_queries(source: Path) -> QuerySource:
    """Find the queries of a source without opening a picture.

    A table is searched by the first of these that it has: the lists of numbers in `vector`; the pictures that it names
    or holds and the texts in `text`, both or either; the image_ids in `image_id`, or in `id`. Queries are called by
    `query_id`, `id` or `image_id`, whichever is there, or by the paths of their pictures, or by their rows.

    Raises:
        SourceError: the source is not there, can't be read, or holds no query.
        MetadataError: it is a table that is broken, or calls two queries the same.
        QueryError: it is a table that has nothing to search by.
    """
    if source.suffix.lower() in TABLE_SUFFIXES and not is_folder(source):
        return _read_table(source)
    scan = scan_source(CollectionConfig(name="queries", source=source))
    inputs = scan.inputs(scan.files["number"].to_numpy())
    names = scan.files["path"].combine_chunks()
    return QuerySource(names, inputs, np.ones(len(names), bool), skipped=scan.skipped)


def _read_table(file: Path) -> QuerySource:
    stamp = table_stamp(file)
    cells = cell_column(file, None, remedy="leave out those that are no pictures")
    table = read_table(file, wanted=lambda kind: not holds_pictures(kind) and not _is_list(kind))
    columns = table.schema if file.suffix.lower() not in PARQUET_SUFFIXES else read_parquet_schema(file)
    count = len(table)
    if not count:
        raise SourceError(f"{file}: expected one row a query, found no rows")
    if VECTOR in columns.names:
        vectors = _vectors(file, table, columns.field(VECTOR).type)
        return QuerySource(_names(file, table), None, np.zeros(count, bool), vectors=vectors)
    texts = _texts(file, table, TEXT) if TEXT in table.column_names else None
    if cells is not None:
        column, paths = _cells(file, cells, table)
        inputs = Cells(real_path(file), stamp, column, np.arange(count))
        return QuerySource(_names(file, table, paths), inputs, _cells_filled(file, column), texts)
    key = next((name for name in KEY_NAMES if name in table.column_names), None)
    if key is not None:
        paths = paths_in(file, table, key)
        named = _filled(paths)
        files = _files(os.fsencode(file.absolute().parent), named)
        return QuerySource(_names(file, table, paths, key), files, named.is_valid().to_numpy(False), texts)
    if texts is not None:
        return QuerySource(_names(file, table), None, np.zeros(count, bool), texts)
    own = next((name for name in (IMAGE_ID, ID) if name in table.column_names), None)
    if own is not None:
        return QuerySource(_names(file, table), None, np.zeros(count, bool), ids=_texts(file, table, own))
    raise QueryError(
        f"{file}: expected a column {TEXT}, {IMAGE_ID}, {VECTOR}, or one of pictures or of their paths "
        f"({', '.join(KEY_NAMES)}), found {', '.join(columns.names)}"
    )


def _files(folder: bytes, paths: pa.Array) -> Inputs:
    """The files and objects at paths (n,) from a folder, of which nothing is known but these."""
    if is_url(os.fsdecode(folder)) or pc.any(are_urls(paths)).as_py():
        unknown = pa.array(np.zeros(len(paths), np.int64))
        return Objects(folder, paths, unknown, unknown)
    return Files(PathsBelow(folder, paths))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _texts(file: Path, table: pa.Table, name: str) -> pa.Array:
    """A column (n,) as texts; null where there is none.

    Raises:
        MetadataError: it holds something else.
    """
    column = table[name]
    if pa.types.is_nested(column.type):
        raise MetadataError(f"{file}: expected texts in its column {name!r}, found {column.type}")
    return _filled(column.cast(pa.string()).combine_chunks())


def _filled(texts: pa.Array) -> pa.Array:
    """Texts (n,) without the blanks around them; null where nothing is left."""
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _names(file: Path, table: pa.Table, paths: pa.Array | None = None, key: str = "path") -> pa.Array:
    """What the queries are called (n,).

    Raises:
        MetadataError: two are called the same.
    """
    # From 0 on, as `{row}` in a job's `id`, pandas and datasets count.
    numbers = pc.cast(pa.array(np.arange(len(table))), pa.string())
    own = next((name for name in _NAMES if name in table.column_names), None)
    given = paths if own is None else _texts(file, table, own)
    if given is None:
        return numbers
    names = pc.coalesce(given, numbers)
    try:
        check_unique(file, own or key, names)
    except MetadataError as error:
        raise MetadataError(f"{error}, or name the queries apart by a column {_NAMES[0]}") from None
    return names


def _vectors(file: Path, table: pa.Table, kind: pa.DataType) -> Callable[[int], Iterator[pa.Array]]:
    """What gives the vectors of a table, in their order.

    Raises:
        MetadataError: its column holds something else.
    """
    of = kind.value_type if _is_list(kind) else None
    if of is None or not (pa.types.is_floating(of) or pa.types.is_integer(of)):
        raise MetadataError(f"{file}: expected lists of numbers in its column {VECTOR!r}, found {kind}")

    def stored(count: int) -> Iterator[pa.Array]:
        with open_parquet(file) as parquet:
            yield from (batch.column(0) for batch in parquet.iter_batches(count, columns=[VECTOR]))

    def held(count: int) -> Iterator[pa.Array]:
        yield from (batch.column(0) for batch in table.select([VECTOR]).to_batches(count))

    return held if VECTOR in table.column_names else stored


def _cells(file: Path, cells: str, table: pa.Table) -> tuple[str, pa.Array | None]:
    """The column of pictures, as Parquet names it, and what the table calls them, if it does."""
    kind = read_parquet_schema(file).field(cells).type
    if not pa.types.is_struct(kind):
        key = next((name for name in KEY_NAMES if name in table.column_names), None)
        return cells, None if key is None else paths_in(file, table, key)
    paths = None
    if any(field.name == "path" for field in kind):
        with open_parquet(file) as parquet:
            paths = _filled(parquet.read([f"{cells}.path"])[cells].combine_chunks().field("path"))
    return f"{cells}.bytes", paths


def _cells_filled(file: Path, column: str) -> NDArray[np.bool_]:
    """Which cells (n,) of a column hold something."""
    with open_parquet(file) as parquet:
        groups = [parquet.metadata.row_group(at) for at in range(parquet.num_row_groups)]
        chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
        known = [chunk.statistics for chunk in chunks if chunk.path_in_schema == column]
        if all(one is not None and one.has_null_count and one.null_count == 0 for one in known):
            return np.ones(parquet.metadata.num_rows, bool)
        parts = [batch.column(0) for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=[column])]
    plain = [part.flatten()[0] if pa.types.is_struct(part.type) else part for part in parts]
    return np.concatenate([part.is_valid().to_numpy(False) for part in plain])
