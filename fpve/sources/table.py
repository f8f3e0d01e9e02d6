"""A table as a source: one row a picture, with the path of its file, or in Parquet with the picture itself."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fpve.errors import BucketError, MetadataError, SourceError, SourceNotFound
from fpve.sources.cells import Cells
from fpve.sources.folder import check_name
from fpve.sources.inputs import Files, Inputs, PathsBelow, Stamp
from fpve.sources.metadata import (
    KEY_NAMES,
    PARQUET_SUFFIXES,
    Metadata,
    check_unique,
    choose,
    key_column,
    open_parquet,
    paths_in,
    read_parquet_schema,
    read_table,
    typed,
)
from fpve.sources.names import normalised
from fpve.sources.objects import Objects, are_urls
from fpve.sources.places import is_file, real_path, stamp_of
from fpve.sources.scan import Globs, Scan, Skipped, tabulate
from fpve.sources.stats import Stats, file_stats
from fpve.urls import BucketPath, is_url

# What other tools call a column that holds the pictures themselves: Hugging Face, WebDataset, Spark, and plain habit.
CELL_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "bytes", "image_bytes", "content")
# An address, such as https://…
_ADDRESS = r"^[A-Za-z][A-Za-z0-9+.\-]+://"
_UNTIDY = r"^/|//|(^|/)\.{1,2}(/|$)|/$"


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a table is to be read.

    Attributes:
        collection: the first part of every image_id.
        key: its column of paths or of pictures; None leaves it to the names and types of the columns.
        columns: the columns that become metadata; all others if there are none.
        globs: which pictures are taken, by what their image_ids are made of.
        named: whether the job names the images by `id`, so that paths need not differ.
    """

    collection: str
    key: str | None = None
    columns: tuple[str, ...] = ()
    globs: Globs = Globs()  # noqa: RUF009 (frozen)
    named: bool = False


def scan_table(file: Path, options: TableOptions) -> Scan:
    """Find the pictures that a table names or holds; reads no picture.

    Raises:
        SourceNotFound: there is no such table, or none of the files that it names is there.
        SourceError: it has no rows, or names addresses.
        MetadataError: it is broken, has no column of paths or pictures, or names one picture in two rows.
    """
    stamp = table_stamp(file)
    check_name(file)
    cells = cell_column(file, options.key)
    return _scan_paths(file, options) if cells is None else _scan_cells(file, stamp, cells, options)


def table_stamp(file: Path) -> Stamp:
    """The stamp of a table.

    Raises:
        SourceNotFound: there is none.
    """
    if not is_file(file):
        raise SourceNotFound(f"{file}: no such table; is its disk mounted?")
    return stamp_of(os.fsencode(file))


def _scan_paths(file: Path, options: TableOptions) -> Scan:
    table = read_table(file, wanted=lambda kind: not holds_pictures(kind))
    key = key_column(file, table.column_names, options.key, option="source_key")
    _check_rows(file, table)
    path = paths_in(file, table, key)
    _check_no_addresses(file, key, path)
    name = _names(file, path)
    # A path that ends in a NUL byte, say, is none.
    empty = pc.fill_null(pc.or_(pc.equal(name, ""), pc.match_substring(name, "\0")), True)
    skipped = _without(file, empty, f"its {key} is no path: the cell is empty")
    metadata = typed(file, name, choose(file, _metadata_columns(table, key), options.columns))
    order = _order(file, key, name, empty, options)
    # The table may be a link: its files are beside that, or beside what it leads to.
    for base in dict.fromkeys((_folder(file), file.resolve().parent)):
        stats = file_stats(os.fsencode(base), path.take(order))
        if stats.there:
            break
    else:
        first = stats.paths[0].as_py()
        raise SourceNotFound(
            f"{file}: none of the {len(order)} files that it names is there, the first is {first!r}; paths are "
            "absolute or relative to the table's own folder; is their disk mounted?"
        )
    skipped += [Skipped(path, "not a regular file") for path in stats.paths.filter(stats.odd).to_pylist()]
    regular = pc.invert(stats.odd)
    return _path_scan(file, base, options, metadata, order.filter(regular), stats.filter(regular), skipped)


def _path_scan(
    file: Path,
    base: Path,
    options: TableOptions,
    metadata: Metadata,
    order: pa.Array,
    stats: Stats,
    skipped: list[Skipped],
) -> Scan:
    name = metadata.paths.take(order)
    files = tabulate(
        options.collection,
        name,
        path=stats.paths,
        inside=name,
        number=order.cast(pa.int64()),
        size=stats.size,
        mtime_ns=stats.mtime_ns,
        # The image of a row may get another file, of the same size and time.
        origin=pc.coalesce(pc.binary_join_element_wise(stats.paths, stats.tag, "\0"), stats.paths),
    )
    where = pc.index_in(pa.array(np.arange(len(metadata.paths))), order.cast(pa.int64()))

    in_stores = isinstance(base, BucketPath) or pc.any(are_urls(stats.paths)).as_py()

    def inputs(numbers: NDArray[np.int64]) -> Inputs:
        at = where.take(pa.array(numbers))
        if not in_stores:
            return Files(PathsBelow(os.fsencode(base), stats.paths.take(at)))
        return Objects(os.fsencode(base), stats.paths.take(at), stats.size.take(at), stats.mtime_ns.take(at))

    return Scan(
        files,
        tuple(skipped),
        inputs,
        real_path(file),
        base,
        (file,),
        metadata,
        missing=stats.missing,
        tagged=not stats.tag.null_count,
    )


def _scan_cells(file: Path, stamp: Stamp, cells: str, options: TableOptions) -> Scan:
    with open_parquet(file) as parquet:
        struct = pa.types.is_struct(parquet.schema_arrow.field(cells).type)
        others = [field.name for field in parquet.schema_arrow if not holds_pictures(field.type)]
        named = struct and any(one.name == "path" for one in parquet.schema_arrow.field(cells).type)
        table = parquet.read([*others, *([f"{cells}.path"] if named else [])])
        column = f"{cells}.bytes" if struct else cells
        size = _typical_size(parquet, column)
    _check_rows(file, table)
    key, given = _cell_names(file, table, cells if named else None)
    count = len(table)
    number = pa.array(np.arange(count))
    name = pc.coalesce(given, number.cast(pa.string())) if options.named else given
    metadata = typed(file, name, choose(file, _metadata_columns(table, key, cells), options.columns))
    order = _order(file, key or cells, name, pa.repeat(False, count), options)
    name = name.take(order)
    files = tabulate(
        options.collection,
        name,
        path=pc.binary_join_element_wise(pa.scalar(file.name), name, "/"),
        inside=name,
        number=order.cast(pa.int64()),
        size=pa.nulls(len(order), pa.int64()),
        mtime_ns=pa.repeat(stamp.mtime_ns, len(order)),
        # The image of another row, or of another table of the same time, may be called the same.
        origin=pc.binary_join_element_wise(
            pa.scalar(":".join((*stamp.tag.split(), str(stamp.size)))), order.cast(pa.string()), ":"
        ),
    )
    path = real_path(file)

    def inputs(numbers: NDArray[np.int64]) -> Cells:
        return Cells(path, stamp, column, numbers)

    base = _folder(file)
    return Scan(
        files,
        (),
        inputs,
        path,
        base,
        (file,),
        metadata,
        shared_times=True,
        typical_size=size,
        tagged=bool(stamp.tag),
    )


def _folder(file: Path) -> Path:
    """The folder of a table; of a link that of the link."""
    if isinstance(file, BucketPath):
        return file.parent
    return Path(os.path.abspath(file.parent))  # noqa: PTH100 (resolve would follow links)


def _check_rows(file: Path, table: pa.Table) -> None:
    if not len(table):
        raise SourceError(f"{file}: expected one row a picture, found no rows")


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold pictures: bytes, or Hugging Face's bytes with a path."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and holds_pictures(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def cell_column(file: Path, key: str | None, *, remedy: str = 'say which are pictures: source_key = "…"') -> str | None:
    """The column of a table that holds the pictures themselves; None if it has their paths.

    Args:
        file: the table.
        key: the column of pictures, or of paths; None leaves it to the names and types of the columns.
        remedy: what is to be done where that tells nothing.

    Raises:
        MetadataError: the table is broken, or several columns may be meant.
    """
    if file.suffix.lower() not in PARQUET_SUFFIXES:
        return None
    try:
        schema = read_parquet_schema(file)
    except BucketError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise MetadataError(f"{file}: can't be read as parquet: {str(error).splitlines()[0]}") from error
    found: list[str] = [field.name for field in schema if holds_pictures(field.type)]
    if key is not None:
        return key if key in found else None
    structs = [name for name in found if pa.types.is_struct(schema.field(name).type)]
    for likely in (structs, [name for name in found if name.casefold() in CELL_NAMES]):
        if len(likely) == 1:
            return likely[0]
    if not found or any(name in KEY_NAMES and name not in found for name in schema.names):
        return None
    if len(found) > 1:
        raise MetadataError(f"{file}: columns {', '.join(found)} hold bytes; {remedy}")
    return found[0]


def _cell_names(file: Path, table: pa.Table, struct: str | None) -> tuple[str | None, pa.Array]:
    """What a table with pictures calls them, and the column that says it; null where it does not."""
    if struct is not None:
        names = table[struct].combine_chunks().field("path").cast(pa.string())
        if names.null_count < len(names):
            return None, _names(file, names)
    key = next((name for name in KEY_NAMES if name in table.column_names and name != struct), None)
    if key is None:
        return None, pa.nulls(len(table), pa.string())
    return key, _names(file, paths_in(file, table, key))


def _metadata_columns(table: pa.Table, key: str | None, cells: str | None = None) -> pa.Table:
    """The columns of a table that say something of its pictures."""
    return table.select(
        [field.name for field in table.schema if field.name not in (key, cells) and not holds_pictures(field.type)]
    )


def _typical_size(parquet: pq.ParquetFile, column: str) -> int:
    """Bytes of one of the cells, from what the file says of its parts."""
    groups = [parquet.metadata.row_group(at) for at in range(parquet.num_row_groups)]
    chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
    total = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)
    return int(total // max(parquet.metadata.num_rows, 1))


def _check_no_addresses(file: Path, key: str, paths: pa.Array) -> None:
    found = pc.fill_null(pc.match_substring_regex(paths, _ADDRESS), False)
    if pc.any(found).as_py():
        # An object in a store is at hand, a page in the web is not.
        found = pc.and_not(found, are_urls(paths))
    if pc.any(found).as_py():
        row = pc.index(found, True).as_py()
        raise SourceError(
            f"{file}, row {row + 1}: expected the path of a file in {key!r}, found {paths[row].as_py()!r}; "
            "download the pictures first, img2dataset does, and name the files"
        )


def _names(file: Path, paths: pa.Array) -> pa.Array:
    """Paths (n,) as image_ids have them: NFC, relative, below the table's folder if they lie there, without `..`."""
    base = str(_folder(file))
    names = normalised(paths)
    untidy = pc.fill_null(pc.match_substring_regex(names, _UNTIDY), False)
    if not pc.any(untidy).as_py():
        return names

    def tidy(path: str) -> str:
        if is_url(path) and not path.startswith(f"{base}/"):
            # As an absolute path is called without its first slash.
            path = path.partition("://")[2]
        elif is_url(path):
            return posixpath.normpath(path.removeprefix(f"{base}/"))
        path = posixpath.normpath(path) if path else ""
        path = posixpath.relpath(path, base) if path.startswith(f"{base.rstrip('/')}/") else path
        return re.sub(r"^(\.\./|/)+|^\.\.?$", "", path)

    tidied = pa.array(map(tidy, names.filter(untidy).to_pylist()), pa.string())
    return pc.replace_with_mask(names, untidy, tidied)


def _order(file: Path, key: str, name: pa.Array, empty: pa.Array, options: TableOptions) -> pa.Array:
    """Numbers of the rows that are taken, sorted by name."""
    chosen = pc.invert(empty)
    if options.globs:
        chosen = pc.and_(chosen, options.globs.mask(name.fill_null("")))
    rows = pc.indices_nonzero(chosen)
    if not len(rows):
        reason = "no picture is left by include and exclude" if options.globs else f"every {key} is empty"
        raise SourceError(f"{file}: {reason}")
    names = name.take(rows)
    if not options.named:
        _check_named(file, key, pc.if_else(chosen, name, pa.scalar(None, pa.string())), rows)
    return rows.take(pc.sort_indices(names))


def _check_named(file: Path, key: str, name: pa.Array, rows: pa.Array) -> None:
    names = name.take(rows)
    if names.null_count:
        row = rows[pc.index(names.is_null(), True).as_py()].as_py()
        raise SourceError(
            f"{file}, row {row + 1}: its picture has no path to be known by; name the images by a column: "
            'id = "{column}", or by their rows: id = "{row}"'
        )
    try:
        check_unique(file, key, name)
    except MetadataError as error:
        raise MetadataError(f'{error}, or name the images by a column that differs: id = "{{column}}"') from None


def _without(file: Path, chosen: pa.Array, reason: str) -> list[Skipped]:
    return [Skipped(f"{file.name}, row {row + 1}", reason) for row in pc.indices_nonzero(chosen).to_pylist()]
