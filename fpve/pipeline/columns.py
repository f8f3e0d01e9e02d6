"""The columns that a collection's files get beside those of the scan: metadata, in the store's types, and prefixes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig
from fpve.errors import MetadataError, PrefixError
from fpve.prefixes import Template
from fpve.sources.metadata import Metadata, convert, match, read_metadata
from fpve.store.schema import Column, arrow_type, check_names, type_name

# Of a relative path with an extension, as all pictures have one: the name without it, and the last folder's name.
_STEM = r"(?s)^(?:.*/)?([^/]*)\.[^./]*$"
_FOLDER = r"(?s)^(?:.*/)?([^/]*)/[^/]*$"


@dataclass(frozen=True, slots=True)
class Given:
    """What a collection's rules refer to, read and checked before its folder is walked."""

    metadata: Metadata | None
    template: Template | None


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Columns in the order of n files.

    Attributes:
        metadata: (n rows) the metadata.
        columns: its names and types.
        prefix: (n,) prefix texts, null where there is none.
        without_metadata, unmatched_metadata: files and metadata rows without a partner.
        labelled: (n,) by the name of a column that has labels, which of its values are labels.
        labels_without_file: how many labels there are of images that no file is of.
    """

    metadata: pa.Table
    columns: tuple[Column, ...]
    prefix: pa.Array
    without_metadata: int
    unmatched_metadata: int
    labelled: dict[str, pa.Array] = field(default_factory=dict)
    labels_without_file: int = 0


def read_given(config: CollectionConfig) -> Given:
    """Read a collection's metadata file, and parse its prefix template.

    Raises:
        MetadataError, PrefixError: one of them is wrong.
    """
    return Given(
        read_metadata(config.metadata, key=config.metadata_key) if config.metadata else None,
        Template.parse(config.prefix) if config.prefix else None,
    )


def file_columns(config: CollectionConfig, given: Given, files: pa.Table, before: tuple[Column, ...]) -> FileColumns:
    """Match metadata with files, type it (as the columns were `before`, if there were any), and fill in prefixes.

    Raises:
        MetadataError, PrefixError: they don't fit the files, one another, or the types.
    """
    aligned = _align(config, given.metadata, files)
    where = str(config.metadata or config.source)
    check_names(aligned.columns.column_names, where)
    metadata, columns = _typed(config, aligned, before, where)
    prefix = _render(given.template, config, aligned, metadata, files)
    return FileColumns(
        metadata=metadata,
        columns=columns,
        prefix=prefix,
        without_metadata=len(files) - aligned.partners if given.metadata else 0,
        unmatched_metadata=len(given.metadata.paths) - aligned.partners if given.metadata else 0,
    )


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


def _align(config: CollectionConfig, given: Metadata | None, files: pa.Table) -> _Aligned:
    if given is None:
        nothing = files.select([])
        return _with_label(config, _Aligned(nothing, nothing, None, 0), files)
    names = pc.utf8_slice_codeunits(files["image_id"].combine_chunks(), len(config.name) + 1)
    at = match(given, names, config.source)
    partners = len(at) - at.null_count
    if len(at) == len(given.paths) and at.equals(pa.array(np.arange(len(at)), at.type)):
        at = None
    return _with_label(config, _Aligned(_take(given.columns, at), given.texts, at, partners), files)


def _take(values: pa.Table | pa.ChunkedArray, at: pa.Array | None) -> pa.Table | pa.ChunkedArray:
    # In one chunk, because taking from many is slow.
    return values if at is None else values.combine_chunks().take(at)


def _with_label(config: CollectionConfig, aligned: _Aligned, files: pa.Table) -> _Aligned:
    if config.label_from is None:
        return aligned
    columns, written = aligned.columns, aligned.written
    if "label" in columns.column_names:
        raise MetadataError(f"{config.metadata}: has a column 'label' already; leave label_from out")
    if config.label_from == "folder":
        return aligned._replace(columns=columns.append_column("label", _built_in("folder", config, files)))
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
                f"{where}: column {name!r} is {found.type}, which a store can't hold; drop it from the file"
            )
        # From what is written: 19.90 as a text is not 19.9.
        given = found if type_name(found.type) == kind else aligned.texts(name)
        arrays.append(convert(given, arrow_type(kind), where=f"{where}, column {name!r}"))
        columns.append(Column(name, kind))
    typed = aligned.columns
    for at, (name, array) in enumerate(zip(typed.column_names, arrays, strict=True)):
        typed = typed.set_column(at, name, array)
    return typed.combine_chunks(), tuple(columns)


def _render(
    template: Template | None, config: CollectionConfig, aligned: _Aligned, metadata: pa.Table, files: pa.Table
) -> pa.Array:
    if template is None:
        return pa.nulls(len(files), pa.string())
    template.check(metadata.column_names)
    values = files.select([])
    for name in template.fields:
        if name not in metadata.column_names:
            column = _built_in(name, config, files)
        elif name in template.formatted:
            column = metadata[name]
        else:
            # As the file has it, so that a prefix does not change because a column became numeric.
            column = aligned.texts(name)
        values = values.append_column(name, column)
    rendered = template.render(values)
    if rendered.null_count == len(rendered):
        raise PrefixError(f"collection {config.name!r}: prefix {template.text!r} is empty for every image")
    return rendered


def _built_in(name: str, config: CollectionConfig, files: pa.Table) -> pa.Array:
    """A field that every image has; null where a picture lies in no folder."""
    if name == "collection":
        return pa.repeat(config.name, len(files))
    path = files["path"].combine_chunks()
    if name == "path":
        return path
    if name == "stem":
        return pc.replace_substring_regex(path, _STEM, r"\1")
    folder = pc.replace_substring_regex(path, _FOLDER, r"\1")
    return pc.if_else(pc.match_substring(path, "/"), folder, pa.scalar(None, pa.string()))
