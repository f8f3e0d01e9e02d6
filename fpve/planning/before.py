"""What the last snapshot says of the files that were found: what each of them was, and which images are gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpve.planning.columns import FileColumns
from fpve.store.manifest import Collection, Page
from fpve.store.pages import read_page

GONE = pa.schema(
    [pa.field("image_id", pa.string()), pa.field("content_hash", pa.string()), pa.field("bytes", pa.int64())]
)


@dataclass(frozen=True, slots=True)
class Before:
    """A collection in the last snapshot, in the order of n files that there are now.

    Attributes:
        rows: how many images it had.
        known: (n,) bool, which files are images of it.
        content_hash: (n,) string, their content then; null where `known` is false.
        same_prefix, same_metadata: (n,) bool, which of them have the prefix and the metadata that they had.
        prefix: (n,) the prefixes that they had, where prefixes are yet to come; None where they are known.
        gone: its images that are there no more, with the columns of GONE.
        emptied: how many images that are still there had metadata, and have none now.
    """

    rows: int
    known: pa.Array
    content_hash: pa.Array
    same_prefix: pa.Array
    same_metadata: pa.Array
    gone: pa.Table
    emptied: int
    prefix: pa.Array | None = None

    @classmethod
    def read(
        cls,
        root: Path,
        entry: Collection | None,
        files: pa.Table,
        own: FileColumns,
        *,
        source: str,
        keep_prefix: bool = False,
    ) -> Before:
        """Compare files with the pages of their collection, a page at a time, so that none of it stays in memory.

        Args:
            root: the store.
            entry: the collection in the last snapshot.
            files: what was found, sorted by image_id.
            own: their metadata and prefixes.
            source: what they were found in.
            keep_prefix: whether the prefixes that they had are to be kept in memory.
        """
        ids = files["image_id"].combine_chunks()
        pages = entry.pages if entry else ()
        names = sorted({column.name for column in (*own.columns, *(entry.columns if entry else ()))})
        firsts = pc.search_sorted(ids, pa.array([page.first for page in pages[1:]], pa.string())).to_pylist()
        bounds = [0, *firsts, len(ids)] if pages else [0]
        metadata = {name: own.metadata[name].combine_chunks() for name in own.metadata.column_names}
        parts = [
            _compare(
                root,
                page,
                files.slice(start, end - start),
                own.prefix.slice(start, end - start),
                {name: metadata[name].slice(start, end - start) if name in metadata else None for name in names},
                {name: mask.slice(start, end - start) for name, mask in own.labelled.items()},
                # The pages of another source may have other paths.
                named_after=entry.name if entry and entry.source == source else None,
            )
            for page, (start, end) in zip(pages, pairwise(bounds), strict=True)
        ]
        if not pages:
            parts = [_nothing(len(ids))]
        return cls(
            rows=entry.rows if entry else 0,
            known=pa.concat_arrays([part.known for part in parts]),
            content_hash=pa.concat_arrays([part.content_hash for part in parts]),
            same_prefix=pa.concat_arrays([part.same_prefix for part in parts]),
            same_metadata=pa.concat_arrays([part.same_metadata for part in parts]),
            gone=pa.concat_tables([part.gone for part in parts]).combine_chunks(),
            emptied=sum(part.emptied for part in parts),
            prefix=pa.concat_arrays([_prefix_of(part) for part in parts]) if keep_prefix else None,
        )

    def with_prefix(self, prefix: pa.Array) -> Before:
        """Compared with other prefixes (n,) of the files; those that they had were kept."""
        if self.prefix is None:
            raise ValueError("expected the prefixes of the last snapshot")
        same = pc.and_(self.known, _equal(prefix, self.prefix, len(prefix)))
        return replace(self, same_prefix=same)


def _prefix_of(part: Before) -> pa.Array:
    return pa.nulls(len(part.known), pa.string()) if part.prefix is None else part.prefix


def _say_paths(ids: pa.Array, collection: str, paths: pa.ChunkedArray) -> bool:
    """Whether all ids are made of the paths, which have no other spelling then."""
    if not pc.all(pc.string_is_ascii(ids)).as_py():
        return False
    return bool(pc.utf8_slice_codeunits(ids, len(collection) + 1).equals(paths.combine_chunks()))


def _nothing(count: int) -> Before:
    no = pa.repeat(False, count)
    return Before(0, no, pa.nulls(count, pa.string()), no, no, GONE.empty_table(), 0)


def _compare(
    root: Path,
    page: Page,
    files: pa.Table,
    prefix: pa.Array,
    metadata: dict[str, pa.Array | None],
    labelled: dict[str, pa.Array],
    *,
    named_after: str | None,
) -> Before:
    """Compare one page with the files whose ids would lie in it, which may have been made of this name and the path."""
    ids = files["image_id"].combine_chunks()
    # What an id says a path need not be read for.
    plain = named_after is not None and _say_paths(ids, named_after, files["path"])
    columns = ["image_id", "content_hash", "prefix", *([] if plain else ["path"]), *metadata]
    rows = read_page(root, page, columns)
    theirs = rows["image_id"]
    if ids.equals(theirs):
        known, gone = pa.repeat(True, len(ids)), GONE.empty_table()
    else:
        at = pc.index_in(ids, theirs)
        gone = _gone(root, page, ids)
        rows = rows.take(at)
        known = at.is_valid()
    same_metadata = known
    for name, values in metadata.items():
        then = rows[name] if name in rows.schema.names else None
        same_metadata = pc.and_(same_metadata, _equal(values, then, len(ids)))
    if not plain:
        same_metadata = pc.and_(
            same_metadata, pc.fill_null(pc.equal(rows["path"], files["path"].combine_chunks()), False)
        )
    kept = [name for name in metadata if name in rows.schema.names]
    # A label is not the job's: it can't make up for a table that was cut off, nor is it missing from one.
    had = _any_value({name: rows[name] for name in kept}, labelled, len(ids))
    has = _any_value({name: values for name in kept if (values := metadata[name]) is not None}, labelled, len(ids))
    return Before(
        rows=page.rows,
        known=known,
        content_hash=rows["content_hash"],
        same_prefix=pc.and_(known, _equal(prefix, rows["prefix"], len(ids))),
        same_metadata=same_metadata,
        gone=gone,
        emptied=int(pc.sum(pc.and_not(had, has)).as_py() or 0),
        prefix=rows["prefix"],
    )


def _gone(root: Path, page: Page, ids: pa.Array) -> pa.Table:
    rows = read_page(root, page, GONE.names)
    here = pc.is_in(rows["image_id"], value_set=ids)
    return pa.Table.from_batches([rows.filter(pc.invert(here))]).cast(GONE)


def _any_value(columns: dict[str, pa.Array], labelled: dict[str, pa.Array], count: int) -> pa.Array:
    """(n,) which rows have a value in any column that is not a label."""
    found = pa.repeat(False, count)
    for name, column in columns.items():
        own = pc.and_not(column.is_valid(), labelled[name]) if name in labelled else column.is_valid()
        found = pc.or_(found, own)
    return found


def _equal(values: pa.Array | None, others: pa.Array | None, count: int) -> pa.Array:
    """(n,) where two columns agree; null agrees with null, and a column that is not there is null."""
    if values is None or others is None:
        either = others if values is None else values
        return pa.repeat(True, count) if either is None else pc.is_null(either)
    if not pa.types.is_nested(values.type) and not values.type.equals(others.type):
        return pc.and_(pc.is_null(values), pc.is_null(others))
    if pa.types.is_nested(values.type):
        return _equal_lists(values, others)
    same = pc.equal(values, others)
    if not same.null_count:
        return same
    return pc.or_(pc.fill_null(same, False), pc.and_(pc.is_null(values), pc.is_null(others)))


def _equal_lists(values: pa.Array, others: pa.Array) -> pa.Array:
    # Arrow compares no lists, but whole columns of them.
    if values.type.equals(others.type) and values.equals(others):
        return pa.repeat(True, len(values))
    return pa.array([mine == theirs for mine, theirs in zip(values.to_pylist(), others.to_pylist(), strict=True)])
