"""The plan of an import: what the rows of a file of vectors are called, and what is known of them."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.config import CollectionConfig, Job
from fpve.errors import MetadataError, StoreConflict, nearest
from fpve.planning.before import Before
from fpve.planning.columns import FileColumns, Given, file_columns
from fpve.planning.identity import BAD_ID
from fpve.planning.overlay import with_corrections, with_labels
from fpve.planning.plan import CollectionPlan, check_columns, check_names
from fpve.planning.prefixes import Rendering
from fpve.prefixes import parse_rules
from fpve.sources.inputs import Inputs
from fpve.sources.metadata import check_unique, choose, paths_in, typed
from fpve.sources.names import normalised
from fpve.sources.scan import Scan, tabulate
from fpve.sources.vectors import VectorFile
from fpve.store.schema import type_name
from fpve.store.snapshot import Snapshot

ID = "image_id"
PREFIX = "prefix"
PATH = "path"
# What fpve exports beside metadata: a store finds it out by itself.
_EXPORTED = ("collection", "width", "height", "content_hash")


def plan_import(
    job: Job, file: VectorFile, content_hash: pa.Array, base: Snapshot | None, *, exported: bool
) -> CollectionPlan:
    """Compare the rows of a file of vectors with the last snapshot.

    Args:
        job: of the one collection that they become.
        file: the vectors.
        content_hash: (n,) what stands for their content, in the order of the file.
        base: the last snapshot.
        exported: whether fpve wrote the file: then it has columns that are no metadata.

    Raises:
        MetadataError, PrefixError: a column is missing or wrong: it is named with its row.
        StoreConflict: another job owns the collection, or its columns don't go with those of others.
    """
    config = job.collections[0]
    entry = base.manifest.collection(config.name) if base is not None else None
    if entry is not None and entry.job != job.name:
        raise StoreConflict(
            f"collection {config.name!r} in {job.store} is owned by job {entry.job!r}, and was not imported; "
            "give the import another name with --collection"
        )
    check_names(job, base)
    scan = _scan(config, file, exported=exported)
    # The prefix is no metadata, so it is filled in here.
    files, own = file_columns(config, Given(None, (), None), scan, entry.columns if entry else ())
    own = _with_prefixes(config, file, scan, files, own)
    own = with_corrections(with_labels(own, files, config.name, base), files, config.name, base)
    own.prefixes.check_any(config.name, parse_rules(config.prefix))
    order = files["number"].combine_chunks()
    plan = CollectionPlan(
        config=config,
        scan=scan,
        files=files.drop_columns(["inside"]).append_column("content_hash", content_hash.take(order)),
        own=own,
        rules=parse_rules(config.prefix),
        known_bad=pa.repeat(False, len(files)),
        before=Before.read(job.store, entry, files, own, source=str(config.source)),
        guessed_moves=0,
        remembered=False,
    )
    check_columns([plan], base)
    return plan


def only_collection(file: VectorFile) -> str | None:
    """The collection of which all rows of an exported file are."""
    if "collection" not in file.table.column_names or type_name(file.table["collection"].type) != "string":
        return None
    names = file.table["collection"].unique().to_pylist()
    return names[0] if len(names) == 1 else None


def has_texts(file: VectorFile) -> bool:
    """Whether a file says of any row what its prefix is."""
    return PREFIX in file.table.column_names and file.table[PREFIX].null_count < file.rows


def _scan(config: CollectionConfig, file: VectorFile, *, exported: bool) -> Scan:
    """The rows of a file as a source holds them, sorted by image_id; `number` is that of the row."""
    name = _names(file, config.name)
    order = pc.sort_indices(name)
    own = (ID, PATH, PREFIX, *(_EXPORTED if exported else ()))
    written = choose(file.table_file, _without(file.table, own), config.columns)
    paths = _paths(file, name)
    files = tabulate(
        config.name,
        name.take(order),
        path=paths.take(order),
        inside=name.take(order),
        number=order.cast(pa.int64()),
        size=pa.nulls(file.rows, pa.int64()),
        mtime_ns=pa.array(np.zeros(file.rows, np.int64)),
        origin=pa.nulls(file.rows, pa.string()),
    )
    metadata = typed(file.table_file, name, written) if written.column_names else None
    # Where no row says where its picture is, the vectors are all that there is.
    folder = config.source.parent if PATH in file.table.column_names else config.source
    return Scan(files, (), _no_inputs, b"", folder, (file.file,), metadata)


def _without(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    return table.drop_columns([name for name in names if name in table.column_names])


def _no_inputs(_: NDArray[np.int64]) -> Inputs:
    raise ValueError("expected no picture to be read of imported vectors")


def _names(file: VectorFile, collection: str) -> pa.Array:
    """The ids (n,) of rows without the collection's name, by which all of them may begin.

    Raises:
        MetadataError: there is no such column, or an id is empty, can't be one, or stands in two rows.
    """
    table = file.table
    if ID not in table.column_names:
        raise MetadataError(
            f"{file.table_file}: expected a column {ID!r}, found {', '.join(table.column_names) or 'none'}"
            f"{nearest(ID, table.column_names)}"
        )
    column = table[ID].combine_chunks()
    if type_name(column.type) not in ("string", "int64"):
        raise MetadataError(f"{file.table_file}: expected texts in column {ID!r}, found {column.type}")
    ids = normalised(column.cast(pa.string()))
    empty = pc.fill_null(pc.equal(ids, ""), True)
    if pc.any(empty).as_py():
        _refuse(file, pc.index(empty, True).as_py(), "expected an id, found an empty cell")
    check_unique(file.table_file, ID, ids)
    start = f"{collection}/"
    if pc.all(pc.starts_with(ids, start)).as_py():
        ids = pc.utf8_slice_codeunits(ids, len(start))
    bad = pc.match_substring_regex(ids, BAD_ID)
    if pc.any(bad).as_py():
        at = pc.index(bad, True).as_py()
        found = f"expected a name without empty parts, '.', '..' or control characters, found {ids[at].as_py()!r}"
        _refuse(file, at, found)
    return ids


def _refuse(file: VectorFile, row: int, reason: str) -> NoReturn:
    raise MetadataError(f"{file.table_file}, row {row + 1}, column {ID!r}: {reason}")


def _paths(file: VectorFile, name: pa.Array) -> pa.Array:
    """The paths (n,) of pictures, as far as the file has them; else where their vectors are."""
    if PATH not in file.table.column_names:
        return name
    here = pc.binary_join_element_wise(pa.scalar(file.file.name), name, "/")
    given = paths_in(file.table_file, file.table, PATH)
    return pc.if_else(pc.fill_null(pc.equal(given, ""), True), here, given)


def _with_prefixes(
    config: CollectionConfig, file: VectorFile, scan: Scan, files: pa.Table, own: FileColumns
) -> FileColumns:
    """Fill in the prefixes, of which the column `prefix` can be a field."""
    rules = parse_rules(config.prefix)
    if not rules:
        return own
    order = files["number"].combine_chunks()
    texts = {PREFIX: file.table[PREFIX].combine_chunks()} if PREFIX in file.table.column_names else {}
    for name, found in texts.items():
        if type_name(found.type) != "string":
            raise MetadataError(f"{file.table_file}: expected texts in column {name!r}, found {found.type}")
    said = scan.metadata

    def column(name: str, formatted: bool) -> pa.ChunkedArray:
        if name in texts:
            return pa.chunked_array([texts[name].cast(pa.string()).take(order)])
        if formatted or said is None or name not in said.texts.column_names:
            return own.metadata[name]
        # As the file has it, so that a prefix does not change because a column became numeric.
        return said.texts[name].combine_chunks().take(order)

    rendering = Rendering(config, scan, files, [*own.metadata.column_names, *texts], column)
    return replace(own, prefixes=rendering.prefixes(rules))
