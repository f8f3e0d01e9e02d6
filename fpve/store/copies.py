"""Copies of pages for readers: the same rows as an uncompressed Arrow file, which is mapped and not loaded.

A copy lies beside its page and has its name. It is derived: no manifest names it, and readers who find none, or one
that is not of this page, read the page itself. What it says is compared with its checksum by `verify` only, so what a
writer takes over comes from pages.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from fpve.replica import replica_of
from fpve.store.files import at_hand, fsync_directory, inside, sha256_of, write_durably, write_temporary
from fpve.store.manifest import Page
from fpve.store.parquet import read_named
from fpve.store.schema import IMAGE_FIELDS

SUFFIX = ".arrow"
# Beside each copy, as `sha256sum` writes it.
CHECKSUM_SUFFIX = ".sha256"
# In a copy's schema the names of its columns once more: one in which a bit flipped would be a column that is missing.
_COLUMNS = b"fpve.columns"


def is_there(root: Path, page: Page) -> bool:
    """Whether a page has a copy, sound or not; in a bucket, where it was put with the page, it is not looked for."""
    return replica_of(root) is not None or inside(root, page.copy[0]).is_file()


def write_copy(root: Path, page: Page) -> None:
    """Write the copy of a page with its checksum, durably, in the place of one that is there.

    Raises:
        StoreCorrupt: the page is missing or damaged.
        OSError: the copy can't be written.
    """
    rows = read_named(root, page.file).combine_chunks()
    copy, checksum = (inside(root, name) for name in page.copy)
    temporary, digest = write_temporary(copy.parent, SUFFIX, lambda out: _write(rows, out))
    try:
        # First: who is killed in between leaves no copy that cannot be checked.
        write_durably(checksum, lambda out: out.write_text(f"{digest}  {copy.name}\n"))
        temporary.replace(copy)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_directory(copy.parent)


def open_copy(root: Path, page: Page) -> pa.RecordBatch | None:
    """Map the copy of a page: its rows, with the columns that the page has; None if it has none that can be used.

    It is of this page by its columns, their lengths and its first and last image. Nothing else of it was looked at, so
    what is read of it must be validated first: a text can seem to begin beyond the end of the file.
    """
    try:
        with pa.memory_map(str(at_hand(root, page.copy[0]))) as file, ipc.open_file(file) as reader:
            if reader.num_record_batches != 1:
                return None
            batch = reader.get_batch(0)
        batch.validate()
        return batch if _is_of(batch, page) else None
    except (OSError, ValueError, MemoryError, pa.ArrowException):
        return None


def check_copy(root: Path, page: Page) -> str | None:
    """What is wrong with the copy of a sound page; None if nothing is, or there is none.

    Raises:
        StoreCorrupt: the page is missing or damaged.
    """
    copy, checksum = (at_hand(root, name) for name in page.copy)
    try:
        if not copy.exists():
            return None
        if checksum.read_bytes() != f"{sha256_of(copy)}  {copy.name}\n".encode():
            return "it or its checksum has changed"
    except FileNotFoundError:
        return f"{checksum.name} is missing"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    batch = open_copy(root, page)
    if batch is None:
        return "it is no copy of its page"
    rows = read_named(root, page.file)
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        return f"its rows can't be read: {str(error).splitlines()[0]}"
    same = batch.schema.names == rows.schema.names and all(
        _same(mine, theirs.combine_chunks()) for mine, theirs in zip(batch.columns, rows.columns, strict=True)
    )
    return None if same else "its rows are not those of its page"


def _write(rows: pa.Table, path: Path) -> None:
    names = "\n".join(rows.column_names)
    fields = [pa.field(field.name, field.type, field.nullable) for field in rows.schema]
    schema = pa.schema(fields, metadata={_COLUMNS: names})
    with ipc.new_file(str(path), schema) as writer:
        writer.write_table(pa.table(rows.columns, schema=schema))


def _is_of(batch: pa.RecordBatch, page: Page) -> bool:
    """Whether mapped rows are of a page, by all that takes no reading of them."""
    schema = batch.schema
    if (schema.metadata or {}).get(_COLUMNS) != "\n".join(schema.names).encode() or len(batch) != page.rows:
        return False
    for field in IMAGE_FIELDS:
        at = schema.get_field_index(field.name)
        if at < 0 or schema.field(at).type != field.type or (batch.column(at).null_count and not field.nullable):
            return False
    ends = [batch["image_id"].slice(at, 1) for at in (0, len(batch) - 1)]
    for one in ends:
        one.validate(full=True)
    return [one[0].as_py() for one in ends] == [page.first, page.last]


def _same(mine: pa.Array, theirs: pa.Array) -> bool:
    """Whether two columns are the same; NaN is the same as NaN."""
    if mine.equals(theirs):
        return True
    if mine.type != theirs.type or mine.null_count != theirs.null_count or len(mine) != len(theirs):
        return False
    if pa.types.is_list(mine.type):
        lengths = (pc.list_value_length(one) for one in (mine, theirs))
        return next(lengths).equals(next(lengths)) and _same(mine.flatten(), theirs.flatten())
    if not pa.types.is_floating(mine.type):
        return False
    return bool(mine.is_valid().equals(theirs.is_valid())) and _same(
        *(one.drop_null().view(pa.int64()) for one in (mine, theirs))
    )
