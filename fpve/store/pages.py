"""Pages: immutable Parquet files of image rows, cut so that a small change rewrites little."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.store.copies import is_there, write_copy
from fpve.store.files import ref, write_named_by_content
from fpve.store.manifest import Page
from fpve.store.parquet import read_named, write_parquet
from fpve.store.schema import Column, conform, page_schema

# At about 200 bytes a row a page is some 2 MB: little to rewrite for one label, and 16 million images are a thousand.
PAGE_ROWS = 16_384


def read_pages(root: Path, pages: Iterable[Page], columns: tuple[Column, ...]) -> pa.Table:
    """Read image rows with the given metadata columns; those that a page lacks are null."""
    schema = page_schema(columns)
    tables = [conform(read_named(root, page.file), schema) for page in pages]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def read_columns(root: Path, pages: Iterable[Page], columns: list[str]) -> pa.Table:
    """Read some of the columns that every image row has, in one chunk."""
    schema = pa.schema([page_schema(()).field(name) for name in columns])
    tables = [read_named(root, page.file, columns=columns).select(columns).cast(schema) for page in pages]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def by_segment(rows: pa.Table) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The segments that image rows name, each with the numbers of these rows, ascending."""
    names = pc.dictionary_encode(rows["segment"].combine_chunks())
    codes = names.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names.dictionary) + 1))
    for at, name in enumerate(names.dictionary.to_pylist()):
        yield name, order[bounds[at] : bounds[at + 1]]


def read_page(root: Path, page: Page, columns: list[str]) -> pa.RecordBatch:
    """Read those of the columns that a page has."""
    rows = read_named(root, page.file, columns=columns).combine_chunks()
    return pa.record_batch([column.combine_chunks() for column in rows.columns], names=rows.column_names)


def write_pages(root: Path, collection: str, rows: pa.Table, old: tuple[Page, ...]) -> tuple[Page, ...]:
    """Write a collection's image rows, sorted by image_id, reusing the old pages that did not change."""
    ids = rows["image_id"].combine_chunks()
    return update_pages(root, collection, ids, lambda start, end: rows.slice(start, end - start), old=old)


def update_pages(
    root: Path,
    collection: str,
    image_ids: pa.Array,
    rows: Callable[[int, int], pa.Table],
    *,
    old: tuple[Page, ...],
    untouched: pa.Array | None = None,
) -> tuple[Page, ...]:
    """Write the pages of a collection that changed, and reuse the others.

    Args:
        root: the store.
        collection: its name.
        image_ids: (n,) ids of its images, sorted.
        rows: makes the image rows from one number to another; asked only for what may have changed.
        old: its pages so far.
        untouched: (n,) which images are known to have the very rows that they have in the old pages.
    """
    written: list[Page] = []
    starts = [*_cuts(image_ids, old), len(image_ids)]
    reusable = {page.first: page for page in old}
    for start, end in pairwise(starts):
        page = reusable.get(image_ids[start].as_py())
        if page is not None and page.rows != end - start:
            page = None
        if page is None or untouched is None or not pc.all(untouched.slice(start, end - start)).as_py():
            part = rows(start, end).combine_chunks()
            if page is None or not _same(root, page, part):
                page = _write_page(root, collection, part)
        if not is_there(root, page):
            # Of an earlier version, or somebody deleted it.
            write_copy(root, page)
        written.append(page)
    return tuple(written)


def _cuts(image_ids: pa.Array, old: tuple[Page, ...]) -> list[int]:
    """Row numbers at which pages start: where the old ones did, and in between where one would get too long."""
    if not len(image_ids):
        return []
    firsts = pa.array([page.first for page in old[1:]], pa.string())
    starts = sorted({0, *pc.search_sorted(image_ids, firsts).to_pylist()} - {len(image_ids)})
    cuts: list[int] = []
    for start, end in zip(starts, [*starts[1:], len(image_ids)], strict=True):
        # Halving a page that grew leaves room in both parts; cutting at PAGE_ROWS would leave a full one.
        parts = -(-(end - start) // PAGE_ROWS)
        cuts.extend(start + (end - start) * part // parts for part in range(parts))
    return cuts


def _same(root: Path, page: Page, rows: pa.Table) -> bool:
    return bool(read_named(root, page.file).equals(rows))


def _write_page(root: Path, collection: str, rows: pa.Table) -> Page:
    path, digest = write_named_by_content(
        root, ("images", collection), ".parquet", lambda out: write_parquet(rows, out, compression="zstd")
    )
    ids = rows["image_id"]
    page = Page(ref(root, path, digest), len(rows), ids[0].as_py(), ids[-1].as_py())
    write_copy(root, page)
    return page
