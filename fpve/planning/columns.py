"""The columns that a collection's files get beside those of the scan: metadata, in the store's types, and prefixes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig
from fpve.errors import JobError, MetadataError
from fpve.planning.fields import built_in
from fpve.planning.identity import image_ids, parse_id
from fpve.planning.prefixes import Prefixes, Rendering
from fpve.prefixes import ParsedRule, Template, parse_rules
from fpve.sources.metadata import Metadata, choose, convert, match, read_metadata
from fpve.sources.names import normalised
from fpve.sources.scan import Scan
from fpve.store.schema import Column, arrow_type, check_names, is_free, type_name

_CHOOSE = 'name those that you want: columns = ["…"]'


@dataclass(frozen=True, slots=True)
class Given:
    """What a collection's rules refer to, read and checked before its source is scanned.

    Attributes:
        metadata: the metadata file; None if there is none beside the source.
        rules: of prefixes.
        id: template of image_ids.
    """

    metadata: Metadata | None
    rules: tuple[ParsedRule, ...]
    id: Template | None


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Columns in the order of n files.

    Attributes:
        metadata: (n rows) the metadata.
        columns: its names and types.
        prefixes: (n,) the prefixes, and where they come from.
        without_metadata, unmatched_metadata: files and metadata rows without a partner.
        labelled: (n,) by the name of a column that has labels, which of its values are labels.
        labels_without_file, corrections_without_file: how many labels and prefixes people gave to images that no file
            is of.
    """

    metadata: pa.Table
    columns: tuple[Column, ...]
    prefixes: Prefixes
    without_metadata: int
    unmatched_metadata: int
    labelled: dict[str, pa.Array] = field(default_factory=dict)
    labels_without_file: int = 0
    corrections_without_file: int = 0

    @property
    def prefix(self) -> pa.Array:
        """(n,) prefix texts; null where there is none."""
        return self.prefixes.text


def read_given(config: CollectionConfig) -> Given:
    """Read a collection's metadata file, and parse its templates.

    Raises:
        JobError, MetadataError, PrefixError: one of them is wrong.
    """
    return Given(
        read_metadata(config.metadata, key=config.metadata_key, columns=config.columns) if config.metadata else None,
        parse_rules(config.prefix),
        parse_id(config),
    )


def file_columns(
    config: CollectionConfig, given: Given, scan: Scan, before: tuple[Column, ...]
) -> tuple[pa.Table, FileColumns]:
    """Match metadata with files, type it (as the columns were `before`, if there were any), and fill in prefixes.

    Returns:
        The files under the ids that the job gives them, sorted by image_id, and their columns.

    Raises:
        JobError, MetadataError, PrefixError: they don't fit the files, one another, or the types.
    """
    files, aligned = _align(config, given, scan)
    where = str(config.metadata or config.source)
    check_names(aligned.columns.column_names, where, remedy=f"rename it in the file, or {_CHOOSE}")
    metadata, columns = _typed(config, aligned, before, where)
    # As the file has a column, so that a prefix does not change because it became numeric; formats need the numbers.
    rendering = Rendering(
        config,
        scan,
        files,
        metadata.column_names,
        lambda name, formatted: metadata[name] if formatted else aligned.texts(name),
    )
    own = FileColumns(
        metadata=metadata,
        columns=columns,
        prefixes=rendering.prefixes(given.rules),
        without_metadata=len(files) - aligned.partners if given.metadata else 0,
        unmatched_metadata=len(given.metadata.paths) - aligned.partners if given.metadata else 0,
    )
    return files, own


class _Aligned(NamedTuple):
    """Metadata in the order of the files.

    Attributes:
        columns: (n rows) its columns, typed.
        written: the same as the file has them, in its own order.
        at: (n,) in which of its rows each file's is, null where there is none; None where they are in one order.
        partners: how many files have a row.
    """

    columns: pa.Table
    written: pa.Table
    at: pa.Array | None
    partners: int

    def texts(self, name: str) -> pa.ChunkedArray:
        """(n,) a column as the file has it."""
        typed = self.columns[name]
        return typed if pa.types.is_string(typed.type) else _take(self.written[name], self.at)


def _align(config: CollectionConfig, given: Given, scan: Scan) -> tuple[pa.Table, _Aligned]:
    """The files in the order of their ids, and the metadata in that order."""
    files, metadata = scan.files, given.metadata or scan.metadata
    if metadata is None:
        if config.columns:
            raise JobError(f"collection {config.name!r}: columns chooses among those of its metadata, but it has none")
        nothing = Metadata(config.source, files["path"].combine_chunks(), files.select([]), files.select([]))
        at = pa.array(np.arange(len(files)))
        files, at = _identified(config, given, nothing, files, at, rows=False)
        return files, _with_label(config, _Aligned(nothing.columns, nothing.texts, None, 0), files)
    if scan.sidecars and metadata is scan.metadata:
        metadata = _storable(metadata, config.columns)
    at = _match(config, metadata, scan) if given.metadata else files["number"].combine_chunks()
    partners = len(at) - at.null_count
    files, at = _identified(config, given, metadata, files, at, rows=not given.metadata and not scan.sidecars)
    if len(at) == len(metadata.paths) and at.equals(pa.array(np.arange(len(at)), at.type)):
        at = None
    return files, _with_label(config, _Aligned(_take(metadata.columns, at), metadata.texts, at, partners), files)


def _match(config: CollectionConfig, metadata: Metadata, scan: Scan) -> pa.Array:
    """In which row of a metadata file each picture is: by its path, or in an archive by its name there."""
    names = pc.utf8_slice_codeunits(scan.files["image_id"].combine_chunks(), len(config.name) + 1)
    if not scan.sidecars:
        return match(metadata, names, scan.folder)
    inside = normalised(scan.files["inside"].combine_chunks())
    found = pc.index_in(inside, metadata.paths)
    return found if found.null_count < len(found) else match(metadata, names, scan.folder)


def _identified(
    config: CollectionConfig, given: Given, metadata: Metadata, files: pa.Table, at: pa.Array, *, rows: bool
) -> tuple[pa.Table, pa.Array]:
    """The files under the ids that the job gives them, sorted by these, and their rows in the metadata."""
    if given.id is None:
        return files, at
    ids = image_ids(config, given.id, metadata, at, files, rows=rows)
    order = pc.sort_indices(ids)
    return files.set_column(0, files.schema.field(0), ids).take(order), at.take(order)


def _storable(metadata: Metadata, columns: tuple[str, ...]) -> Metadata:
    """What sidecars say under names that a store has not itself: nobody chose them for one."""
    chosen = choose(metadata.file, metadata.columns, columns).column_names
    names = list({name.casefold(): name for name in reversed(chosen) if is_free(name)}.values())
    return replace(metadata, columns=metadata.columns.select(names), texts=metadata.texts.select(names))


def _take(values: pa.Table | pa.ChunkedArray, at: pa.Array | None) -> pa.Table | pa.ChunkedArray:
    # In one chunk, because taking from many is slow.
    return values if at is None else values.combine_chunks().take(at)


def _with_label(config: CollectionConfig, aligned: _Aligned, files: pa.Table) -> _Aligned:
    if config.label_from is None:
        return aligned
    columns, written = aligned.columns, aligned.written
    if "label" in columns.column_names:
        raise MetadataError(f"{config.metadata or config.source}: has a column 'label' already; leave label_from out")
    if config.label_from == "folder":
        return aligned._replace(columns=columns.append_column("label", built_in("folder", config.name, files)))
    if config.label_from in columns.column_names:
        return aligned._replace(
            columns=columns.append_column("label", columns[config.label_from]),
            written=written.append_column("label", written[config.label_from]),
        )
    raise MetadataError(
        f"label_from: expected 'folder' or a metadata column, found {config.label_from!r}; "
        f"there is {', '.join(columns.column_names) or 'no metadata'}"
    )


def _typed(
    config: CollectionConfig, aligned: _Aligned, before: tuple[Column, ...], where: str
) -> tuple[pa.Table, tuple[Column, ...]]:
    """Convert metadata columns to the types that the job asks for, else those they had, else those of the file."""
    had = {column.name: column.type for column in before}
    for name in config.types:
        if name not in aligned.columns.column_names:
            raise MetadataError(f"{where}: types names a column {name!r} that is not there")
    columns, arrays = [], []
    for name in aligned.columns.column_names:
        found = aligned.columns[name]
        kind = config.types.get(name) or had.get(name) or type_name(found.type)
        if kind is None:
            raise MetadataError(
                f"{where}: column {name!r} is {found.type}, which a store can't hold; drop it from the file, "
                f"or {_CHOOSE}"
            )
        # From what is written: 19.90 as a text is not 19.9.
        given = found if type_name(found.type) == kind else aligned.texts(name)
        arrays.append(convert(given, arrow_type(kind), where=f"{where}, column {name!r}"))
        columns.append(Column(name, kind))
    typed = aligned.columns
    for at, (name, array) in enumerate(zip(typed.column_names, arrays, strict=True)):
        typed = typed.set_column(at, name, array)
    return typed.combine_chunks(), tuple(columns)
