"""What people said of images: labels and prefixes. They win over the job's until they are taken back.

Labels are laid over the metadata after prefixes were filled in, so that a label never changes a vector.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.errors import MetadataError
from fpve.planning.columns import FileColumns
from fpve.store import tables
from fpve.store.schema import Column, arrow_type
from fpve.store.snapshot import Snapshot


def with_labels(own: FileColumns, files: pa.Table, collection: str, previous: Snapshot | None) -> FileColumns:
    """Lay the labels of the last snapshot over the metadata of a collection's files; others are not touched.

    Raises:
        MetadataError: a label does not fit the type that its column has by now.
    """
    if previous is None or not previous.manifest.tables_named(tables.LABELS):
        return own
    labels = labels_in(previous.table(tables.LABELS), collection)
    at = pc.index_in(labels["image_id"].combine_chunks(), files["image_id"].combine_chunks())
    # Of an image that is gone they wait until it comes back.
    waiting = at.null_count
    labels, at = labels.filter(at.is_valid()), at.drop_null().to_numpy()
    metadata, kinds, labelled = own.metadata, {one.name: one.type for one in own.columns}, dict(own.labelled)
    for name in labels["column"].unique().to_pylist():
        chosen = pc.equal(labels["column"], name).combine_chunks()
        mine = labels.filter(chosen)
        kind = kinds.setdefault(name, mine["type"][0].as_py())
        values = from_text(mine, name, kind)
        rows = at[chosen.to_numpy(zero_copy_only=False)]
        before = metadata[name].combine_chunks() if name in metadata.column_names else None
        column, labelled[name] = lay_over(before, rows, values, len(files))
        where = metadata.schema.get_field_index(name)
        metadata = metadata.append_column(name, column) if where < 0 else metadata.set_column(where, name, column)
    return replace(
        own,
        metadata=metadata,
        columns=ordered(own.columns, kinds),
        labelled=labelled,
        labels_without_file=waiting,
    )


def with_corrections(own: FileColumns, files: pa.Table, collection: str, previous: Snapshot | None) -> FileColumns:
    """Put the prefixes that people gave to a collection's images in the place of what its rules say."""
    if previous is None or not previous.manifest.tables_named(tables.CORRECTED):
        return own
    corrected = labels_in(previous.table(tables.CORRECTED, ["image_id", "text"]), collection)
    at = pc.index_in(corrected["image_id"].combine_chunks(), files["image_id"].combine_chunks())
    # Of an image that is gone they wait until it comes back.
    own = replace(own, corrections_without_file=at.null_count)
    corrected = corrected.filter(at.is_valid())
    rows = at.drop_null().to_numpy().astype(np.int64)
    if not len(rows):
        return own
    return replace(own, prefixes=own.prefixes.corrected(rows, corrected["text"].combine_chunks()))


def labels_in(labels: pa.Table, collection: str) -> pa.Table:
    """What was said of one collection's images, whether they are there or not."""
    return labels.filter(pc.starts_with(labels["image_id"], f"{collection}/"))


def lay_over(
    before: pa.Array | None, rows: NDArray[np.int64], values: pa.Array, count: int
) -> tuple[pa.Array, pa.Array]:
    """Put values (m,) into rows (m,) of a column (count,), or of a new one; beside it, which rows these are."""
    where = np.full(count, -1)
    where[rows] = np.arange(len(rows))
    mask = pa.array(where >= 0)
    old = before if before is not None else pa.nulls(count, values.type)
    return pc.if_else(mask, values.take(pa.array(where, mask=where < 0)), old), mask


def ordered(columns: tuple[Column, ...], kinds: dict[str, str]) -> tuple[Column, ...]:
    """A collection's columns with those that labels add: by name if there are any, else in the order of the job."""
    if len(kinds) == len(columns):
        return columns
    return tuple(Column(name, kind) for name, kind in sorted(kinds.items()))


def to_text(values: pa.Array) -> pa.Array:
    """Values as the table of labels has them: texts that `from_text` reads back without a loss."""
    return values.cast(pa.string())


def from_text(labels: pa.Table, column: str, kind: str) -> pa.Array:
    """The values (n,) of one column's labels, as a type.

    Raises:
        MetadataError: one does not fit: its image and the remedies are named.
    """
    texts = labels["value"].combine_chunks()
    try:
        return texts.cast(arrow_type(kind))
    except pa.ArrowException:
        at = next(at for at, text in enumerate(texts) if not _fits(text, kind))
        raise MetadataError(
            f"label of {labels['image_id'][at].as_py()!r}, column {column!r}: expected {kind}, found "
            f"{texts[at].as_py()!r}; take it back with `fpve label STORE FILE --undo`, or give the column another type"
        ) from None


def _fits(text: pa.Scalar, kind: str) -> bool:
    try:
        text.cast(arrow_type(kind))
    except pa.ArrowException:
        return False
    return True
