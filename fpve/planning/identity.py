"""What images are called where the job says it: by columns of their metadata, and not by their paths."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig
from fpve.errors import JobError, MetadataError, PrefixError, nearest
from fpve.planning.fields import ROW, built_in
from fpve.prefixes import BUILT_IN_FIELDS, Template
from fpve.sources.metadata import Metadata
from fpve.sources.names import normalised

# Ids are paths of addresses, and of the rows of other tables: no empty part, no dots alone, nothing that can't be seen.
BAD_ID = r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]"


def parse_id(config: CollectionConfig) -> Template | None:
    """The template of a collection's ids; a name without braces is that of a column.

    Raises:
        JobError: its braces don't match, or it has none of a column.
    """
    if config.id is None:
        return None
    try:
        template = Template.parse(config.id if "{" in config.id or "}" in config.id else f"{{{config.id}}}")
    except PrefixError as error:
        raise JobError(f"collection {config.name!r}, id: {str(error).removeprefix('prefix ')}") from None
    if not template.fields:
        raise JobError(f"collection {config.name!r}: expected a column in id, such as {{sku}}, found {config.id!r}")
    return template


def image_ids(
    config: CollectionConfig, template: Template, metadata: Metadata, at: pa.Array, files: pa.Table, *, rows: bool
) -> pa.Array:
    """The image_ids (n,) of files.

    Args:
        config: the collection.
        template: of its ids.
        metadata: of the images.
        at: (n,) in which of its rows each file's is, null where there is none.
        files: (n rows) the files.
        rows: whether they are those of a table.

    Raises:
        JobError: there is no such column.
        MetadataError: two images would have the same id, or one would have none.
    """
    known = [*metadata.columns.column_names, *BUILT_IN_FIELDS, *([ROW] if rows else [])]
    values = files.select([])
    for name in template.fields:
        if name in metadata.columns.column_names:
            # As it is written, so that 007 stays what it is.
            column = metadata.columns[name] if name in template.formatted else metadata.texts[name]
            values = values.append_column(name, _plain(column).combine_chunks().take(at))
        elif name in known:
            values = values.append_column(name, built_in(name, config.name, files))
        else:
            raise JobError(
                f"collection {config.name!r}: id {config.id!r}: no metadata column {name!r}{nearest(name, known)}; "
                f"there is {', '.join(known)}"
            )
    try:
        names = normalised(template.render(values))
    except PrefixError as error:
        raise JobError(f"collection {config.name!r}, id: {str(error).removeprefix('prefix ')}") from None
    _check(config, names, files, rows=rows)
    return pc.binary_join_element_wise(pa.scalar(config.name), names, "/")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _check(config: CollectionConfig, names: pa.Array, files: pa.Table, *, rows: bool) -> None:
    def place(at: int) -> str:
        return f"row {files['number'][at].as_py() + 1}" if rows else repr(files["path"][at].as_py())

    where = f"{config.metadata or config.source}: id {config.id!r}"
    if names.null_count:
        raise MetadataError(
            f"{where} is empty for {names.null_count} of {len(names)} pictures, the first is "
            f"{place(pc.index(names.is_null(), True).as_py())}; fill in the cell, or exclude the picture"
        )
    bad = pc.match_substring_regex(names, BAD_ID)
    if pc.any(bad).as_py():
        at = pc.index(bad, True).as_py()
        raise MetadataError(
            f"{where} is {names[at].as_py()!r} for {place(at)}: expected a name without empty parts, '.', '..' or "
            "control characters; take another column"
        )
    if len(names.unique()) < len(names):
        counts = names.value_counts()
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        first = pc.indices_nonzero(pc.equal(names, twice[0]))
        raise MetadataError(
            f"{where} is {twice[0].as_py()!r} for {place(first[0].as_py())} and for {place(first[1].as_py())} "
            f"({len(twice)} ids stand more than once); add a column that tells them apart"
        )
