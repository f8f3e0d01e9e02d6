"""The image rows of a snapshot, sorted by image_id: mapped from copies of pages, and read as far as they are asked for.

Nothing is read when they are opened. Of a row that is asked for its own bytes are; of a column, or of all rows, what is
asked for. Where a page has no copy, or a broken one, the page itself is loaded. Copies are not compared with their
checksums: what a writer takes over comes from `fpve.store.pages`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.errors import StoreCorrupt
from fpve.store.copies import open_copy
from fpve.store.manifest import Manifest, Page
from fpve.store.pages import read_pages
from fpve.store.pruned import reading
from fpve.store.schema import page_schema
from fpve.urls import URL_PATTERN, is_url

# So many rows are taken one by one, at 5 µs each. Of more those of one page are taken at once, for which the whole page
# is validated first: some 0.8 ms for each, once.
_FEW = 128

Numbers = NDArray[np.int64]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one page, with the columns of the snapshot.

    Attributes:
        rows: the rows; `path` is as the page has it.
        is_page: whether they were read from the page itself, and not from its copy.
        is_valid: whether all of them are known to be readable.
    """

    rows: pa.RecordBatch
    is_page: bool
    is_valid: bool


class MappedRows:
    """The image rows of one snapshot, numbered in the order of image_id. Safe to use from many threads."""

    def __init__(self, root: Path, manifest: Manifest, *, use_copies: bool = True) -> None:
        self._root = root
        self._manifest = manifest
        self._use_copies = use_copies
        self.schema = page_schema(manifest.columns)
        self._lists = [field.name for field in self.schema if pa.types.is_list(field.type)]
        # Sorted as image_ids are: "a-b/x" comes before "a/x", though "a" comes before "a-b".
        collections = sorted(manifest.collections, key=lambda one: one.name.encode() + b"/")
        self._pages: list[Page] = [page for one in collections for page in one.pages]
        # What relative paths begin at.
        self._folders = pa.array([one.folder or one.source for one in collections for _ in one.pages], pa.string())
        self._firsts = [page.first for page in self._pages]
        self._starts: Numbers = np.cumsum([0, *(page.rows for page in self._pages)], dtype=np.int64)
        self._parts: list[_Part | None] = [None] * len(self._pages)
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._selections: dict[tuple[int, tuple[str, ...]], tuple[_Part, pa.RecordBatch]] = {}

    def __len__(self) -> int:
        """Number of images."""
        return int(self._starts[-1])

    def take(self, rows: Sequence[int] | Numbers, columns: Sequence[str] | None = None) -> pa.Table:
        """Image rows of these numbers, in one chunk, or some of their columns; `path` is the full path.

        Raises:
            IndexError: a number is none of a row.
            StoreCorrupt: a page is missing or damaged, and has no copy.
        """
        wanted = np.asarray(rows, np.int64)
        names = list(self.schema.names if columns is None else columns)
        if not len(wanted):
            return self.schema.empty_table().select(names)
        if wanted.min() < 0 or wanted.max() >= len(self):
            raise IndexError(f"expected numbers of rows from 0 to {len(self) - 1}, found others")
        pages = np.searchsorted(self._starts, wanted, side="right") - 1
        places = wanted - self._starts[pages]
        take = self._each if len(wanted) <= _FEW else self._by_page
        batch = take(pages, places, tuple(names))
        if "path" in names:
            at = names.index("path")
            batch = batch.set_column(at, batch.schema.field(at), self._full_paths_of(pages, batch.column(at)))
        return pa.Table.from_batches([batch])

    def _full_paths_of(self, pages: Numbers, paths: pa.Array) -> pa.Array:
        """The full paths of rows of pages."""
        if len(paths) > _FEW:
            return _full_paths(self._folders.take(pa.array(pages)), paths)
        # Of few it takes Arrow longer to begin than Python to finish.
        folders = [self._folders[page].as_py() for page in pages.tolist()]
        pairs = zip(folders, paths.to_pylist(), strict=True)
        return pa.array(
            [path if path.startswith("/") or is_url(path) else f"{folder}/{path}" for folder, path in pairs],
            pa.string(),
        )

    def row_of(self, image_id: str) -> int | None:
        """Number of the row of an image; None if there is none."""
        row = self._rank(image_id)
        if row == len(self) or self._id(row) != image_id:
            return None
        return row

    def below(self, folder: str, limit: int) -> list[str]:
        """The first image_ids that begin with a text, so many at most."""
        start = self._rank(folder)
        ids = self.take(np.arange(start, min(start + limit, len(self))), ["image_id"])["image_id"]
        found: list[str] = ids.filter(pc.starts_with(ids, folder)).to_pylist()
        return found

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole column, of a chunk for each page; `path` are the full paths."""
        known = self._columns.get(name)
        if known is not None:
            return known
        chunks = [self._ask(page, lambda part: _column(part, name)) for page in range(len(self._pages))]
        if name == "path":
            # These are in memory, so they are not kept.
            chunks = [_full_paths(folder, chunk) for folder, chunk in zip(self._folders, chunks, strict=True)]
            return pa.chunked_array(chunks, pa.string())
        found = self._columns[name] = pa.chunked_array(chunks, self.schema.field(name).type)
        return found

    def table(self, *, full_paths: bool = True) -> pa.Table:
        """All rows, of a chunk for each page; `path` are the full paths, which are made here, or those of the pages."""
        table = pa.Table.from_batches([self._whole(page) for page in range(len(self._pages))], self.schema)
        at = self.schema.get_field_index("path")
        return table.set_column(at, self.schema.field(at), self.column("path")) if full_paths else table

    def null_count(self, name: str) -> int:
        """How many rows have no value of a column; no row is read."""
        return sum(self._part(page).rows[name].null_count for page in range(len(self._pages)))

    @cached_property
    def positions(self) -> Numbers:
        """(n,) position of each image's vector, among the vectors of all segments one after the other.

        Raises:
            StoreCorrupt: a page is missing or damaged, and has no copy; or an image names no vector of the snapshot.
        """
        segments = self._manifest.segments
        names = pa.array([segment.name for segment in segments], pa.string())
        starts = np.cumsum([0, *(segment.rows for segment in segments)], dtype=np.int64)
        found = np.empty(len(self), np.int64)
        for page in range(len(self._pages)):
            first, last = self._starts[page : page + 2]
            try:
                found[first:last] = self._ask(page, lambda part: _positions(part, names, starts))
            except pa.ArrowInvalid as error:
                file = self._root / self._pages[page].file.path
                raise StoreCorrupt(f"{file}: {error}; see `fpve repair {self._root}`") from None
        return found

    def _rank(self, image_id: str) -> int:
        """How many images come before an id, which need not be one."""
        page = bisect_right(self._firsts, image_id) - 1
        if page < 0:
            return 0
        low, high = (int(one) for one in self._starts[page : page + 2])
        while low < high:
            middle = (low + high) // 2
            if self._id(middle) < image_id:
                low = middle + 1
            else:
                high = middle
        return low

    def _id(self, row: int) -> str:
        page = int(np.searchsorted(self._starts, row, side="right")) - 1
        at = row - int(self._starts[page])
        found: str = self._ask(page, lambda part: _text(part, "image_id", at))
        return found

    def _each(self, pages: Numbers, places: Numbers, names: tuple[str, ...]) -> pa.RecordBatch:
        """Rows of a few places in pages, one by one: nothing else of the pages is read."""
        return pa.concat_batches(
            [self._row(page, at, names) for page, at in zip(pages.tolist(), places.tolist(), strict=True)]
        )

    def _row(self, page: int, at: int, names: tuple[str, ...]) -> pa.RecordBatch:
        return self._ask(page, lambda part: _row(self._selected(page, part, names), part.is_valid, at, self._lists))

    def _selected(self, page: int, part: _Part, names: tuple[str, ...]) -> pa.RecordBatch:
        """Some columns of a page, which are put together once: of hits they are always the same."""
        known = self._selections.get((page, names))
        if known is None or known[0] is not part:
            # Two threads may both put them together.
            known = self._selections[page, names] = (part, part.rows.select(list(names)))
        return known[1]

    def _by_page(self, pages: Numbers, places: Numbers, names: tuple[str, ...]) -> pa.RecordBatch:
        """Rows of many places in pages, in their order."""
        order = np.argsort(pages, kind="stable")
        found, starts = np.unique(pages[order], return_index=True)
        chosen = zip(found.tolist(), np.split(places[order], starts[1:]), strict=True)
        taken = [self._whole(page).select(list(names)).take(pa.array(at)) for page, at in chosen]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_batches(taken).take(pa.array(back))

    def _whole(self, page: int) -> pa.RecordBatch:
        """All rows of a page, known to be readable."""
        part = self._part(page)
        if not part.is_valid:
            part = self._parts[page] = self._ask(page, _validated)
        return part.rows

    def _ask(self, page: int, question: Callable[[_Part], Answer]) -> Answer:
        """Ask a page's copy, or if that turns out to be broken the page itself."""
        part = self._part(page)
        try:
            return question(part)
        except ValueError:  # of texts that are no UTF-8, or as Arrow says it
            if part.is_page:
                raise
        return question(self._load(page))

    def _part(self, page: int) -> _Part:
        part = self._parts[page]
        if part is not None:
            return part
        copy = open_copy(self._root, self._pages[page]) if self._use_copies else None
        rows = None if copy is None else _conformed(copy, self.schema)
        if rows is None:
            return self._load(page)
        # Two threads may open one copy each; either will do.
        part = self._parts[page] = _Part(rows, is_page=False, is_valid=False)
        return part

    def _load(self, page: int) -> _Part:
        with reading(self._root, self._manifest.snapshot):
            rows = read_pages(self._root, [self._pages[page]], self._manifest.columns).combine_chunks()
        batch = pa.record_batch([column.combine_chunks() for column in rows.columns], schema=self.schema)
        part = self._parts[page] = _Part(batch, is_page=True, is_valid=True)
        return part


def _row(rows: pa.RecordBatch, is_valid: bool, at: int, lists: list[str]) -> pa.RecordBatch:
    """One row of a page, of which some columns can be lists."""
    row = rows.slice(at, 1)
    if is_valid:
        return row
    found = [name for name in lists if name in row.schema.names] if lists else []
    (row.drop_columns(found) if found else row).validate(full=True)
    for name in found:
        # To validate a list fully would be to look at those of all other rows as well.
        row[name].validate()
        row[name].flatten().validate(full=True)
    return row


def _text(part: _Part, name: str, at: int) -> str:
    cell = part.rows[name].slice(at, 1)
    if not part.is_valid:
        cell.validate(full=True)
    found: str = cell[0].as_py()
    return found


def _column(part: _Part, name: str) -> pa.Array:
    column = part.rows[name]
    if not part.is_valid:
        column.validate(full=True)
    return column


def _validated(part: _Part) -> _Part:
    if not part.is_valid:
        part.rows.validate(full=True)
    return replace(part, is_valid=True)


def _positions(part: _Part, names: pa.Array, starts: Numbers) -> Numbers:
    """Positions of vectors by their segments, of which the names and starts, and at the end their number, are given."""
    segment, row = _column(part, "segment"), _column(part, "row").to_numpy()
    number = pc.index_in(segment, value_set=names)
    if number.null_count:
        raise pa.ArrowInvalid("an image names a segment that is not in the snapshot")
    at = number.to_numpy()
    found: Numbers = starts[at] + row
    if np.any(row < 0) or np.any(found >= starts[at + 1]):
        raise pa.ArrowInvalid("an image names a row that is not in its segment")
    return found


def _conformed(copy: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch | None:
    """A mapped copy with the columns of a schema, null where it lacks one; None if one is to be converted for it."""
    columns = []
    for field in schema:
        at = copy.schema.get_field_index(field.name)
        column = copy.column(at) if at >= 0 else None
        if column is None or column.null_count == len(copy):
            column = pa.nulls(len(copy), field.type)
        if column.type != field.type:
            return None
        columns.append(column)
    return pa.record_batch(columns, schema=schema)


def _full_paths(folders: pa.Array | pa.Scalar, paths: pa.Array) -> pa.Array:
    """Paths (n,) as they are in pages, made absolute."""
    full = pc.binary_join_element_wise(folders, paths, "/")
    # A table may name files by absolute paths, and objects by URLs.
    absolute = pc.starts_with(paths, "/")
    if pc.any(pc.match_substring(paths, "://")).as_py():
        absolute = pc.or_(absolute, pc.match_substring_regex(paths, URL_PATTERN))
    return pc.if_else(absolute, paths, full) if absolute.true_count else full
