"""Giving images new values for metadata columns, without running their job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import MetadataError, nearest
from fpve.pipeline.predict import with_predictions
from fpve.planning.overlay import from_text, lay_over, ordered, to_text
from fpve.replica import located
from fpve.sources.metadata import convert, lossless, read_table
from fpve.sources.names import normalised
from fpve.store import manifest as manifests
from fpve.store import publishing, tables
from fpve.store.lock import writer_lock
from fpve.store.manifest import Collection, Manifest, Page
from fpve.store.pages import read_columns, read_page, read_pages, write_pages
from fpve.store.schema import Column, arrow_type, check_names, merge, type_name
from fpve.store.snapshot import Snapshot
from fpve.urls import check_local

_KEY = "image_id"
_WRITER = "fpve label"
# Cells of one file, in the order of the table: `type` and `value` are those that a label would have.
_CELLS = pa.schema([tables.SCHEMAS[tables.LABELS].field(name) for name in (_KEY, "column", "type", "value")])


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What became of the cells that a file names.

    Attributes:
        named: cells of the file that are not empty.
        changed: of them, those whose label is new, is another than before, or was taken back.
        unchanged: the rest.
        images: how many images the changed ones are of.
        new_columns: names of the columns that the store did not have.
        snapshot: the newest snapshot afterwards.
        published: whether this made it.
    """

    named: int
    changed: int
    unchanged: int
    images: int
    new_columns: tuple[str, ...]
    snapshot: int
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)


def label(
    store: str | os.PathLike[str], file: str | os.PathLike[str], *, undo: bool = False, wait: bool = False
) -> LabelReport:
    """Label images: give them values of metadata columns that win over their job's, in every run, until `undo`.

    The file is CSV, TSV, Parquet, JSON or JSONL with a column `image_id` and one column for each that gets values; an
    empty cell changes nothing. Only pages that hold labelled rows are written; no prefix and no vector changes.

    Args:
        store: path of the store.
        file: the values; for `undo` what its cells hold is of no interest, as long as they are not empty.
        undo: take back the labels of the cells that the file names. The cells are empty until the next run puts the
            job's own values there.
        wait: wait for another writer of the store, instead of raising an error.

    Raises:
        StoreNotFound: there is no store.
        StoreLocked: another writer holds it, and is not waited for.
        MetadataError: the file is wrong, names an image that the store does not have, or has a value that does not
            fit its column; nothing was changed.
    """
    root, path = located(store), Path(file)
    manifests.load(root)
    given = _read(path)
    with writer_lock(root, _WRITER, waiting=nullcontext if wait else None):
        snapshot = Snapshot.open(root)
        old = snapshot.table(tables.LABELS)
        cells = _cells(path, given, _known_types(snapshot.manifest, old), undo=undo)
        touched = _touched(snapshot, given[_KEY].unique())
        _check_known(path, root, given[_KEY], touched, old)
        changed = _dropped(cells, old) if undo else _new(cells, old, snapshot, touched)
        report = LabelReport(
            named=len(cells),
            changed=len(changed),
            unchanged=len(cells) - len(changed),
            images=len(changed[_KEY].unique()),
            new_columns=(),
            snapshot=snapshot.manifest.snapshot,
            published=False,
        )
        if not len(changed):
            return report
        manifest = _publish(snapshot, old, changed, touched, undo=undo)
    had = {column.name for column in snapshot.manifest.columns}
    new_columns = tuple(column.name for column in manifest.columns if column.name not in had)
    return replace(report, new_columns=new_columns, snapshot=manifest.snapshot, published=True)


def _read(file: Path) -> pa.Table:
    """The file as it is written, with null for cells that are empty."""
    check_local(file)
    if not file.exists():
        raise MetadataError(f"{file}: no such file of labels")
    written = read_table(file)
    if _KEY not in written.column_names:
        raise MetadataError(
            f"{file}: expected a column {_KEY!r}, found {', '.join(written.column_names)}"
            f"{nearest(_KEY, written.column_names)}"
        )
    names = [name for name in written.column_names if name != _KEY]
    if not names:
        raise MetadataError(f"{file}: expected a column of values beside {_KEY!r}, found none")
    check_names(names, str(file))
    ids = written[_KEY]
    if not pa.types.is_string(ids.type) and not pa.types.is_large_string(ids.type):
        raise MetadataError(f"{file}: expected texts in column {_KEY!r}, found {ids.type}")
    ids = normalised(ids.cast(pa.string()).combine_chunks())
    _check_ids(file, ids)
    return pa.table({_KEY: ids} | {name: _without_empty(file, name, written[name]) for name in names})


def _check_ids(file: Path, ids: pa.Array) -> None:
    if ids.null_count:
        row = pc.index(ids.is_null(), True).as_py() + 1
        raise MetadataError(f"{file}, row {row}: expected an {_KEY}, found an empty cell")
    if len(ids.unique()) < len(ids):
        counts = ids.value_counts()
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0]
        rows = pc.indices_nonzero(pc.equal(ids, twice)).to_pylist()
        raise MetadataError(
            f"{file}: {_KEY} {twice.as_py()!r} stands in rows {rows[0] + 1} and {rows[1] + 1}; keep one of them"
        )


def _without_empty(file: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    kind = type_name(column.type)
    if kind is None or kind.startswith("list"):
        raise MetadataError(f"{file}: column {name!r} is {column.type}; a label is a text, number, truth or time")
    if kind == "float64":
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if kind != "string":
        return column
    texts = column.cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _known_types(manifest: Manifest, labels: pa.Table) -> dict[str, str]:
    """Types by column: those of the store, else those of labels whose images are gone."""
    waiting = dict(zip(labels["column"].to_pylist(), labels["type"].to_pylist(), strict=True))
    return waiting | {column.name: column.type for column in manifest.columns}


def _cells(file: Path, given: pa.Table, types: dict[str, str], *, undo: bool) -> pa.Table:
    """The cells that are not empty, typed as their columns are, or as in CSV where these are new."""
    spelt = {name.casefold(): name for name in types}
    parts = []
    for name in given.column_names:
        if name == _KEY:
            continue
        other = spelt.get(name.casefold(), name)
        if other != name:
            raise MetadataError(f"{file}: column {name!r} differs from the store's {other!r} in case only; rename it")
        if undo and name not in types:
            raise MetadataError(
                f"{file}: no column {name!r} whose labels could be taken back{nearest(name, types)}; there is "
                f"{', '.join(sorted(types)) or 'none'}; nothing was changed"
            )
        column = given[name]
        filled = column.is_valid()
        if not undo:
            column = _typed(file, name, column, types.get(name))
        kind = type_name(column.type)
        ids = given[_KEY].filter(filled)
        texts = to_text(column.combine_chunks()).filter(filled.combine_chunks())
        parts.append(pa.table([ids, pa.repeat(name, len(ids)), pa.repeat(kind, len(ids)), texts], schema=_CELLS))
    return pa.concat_tables(parts).combine_chunks()


def _typed(file: Path, name: str, column: pa.ChunkedArray, kind: str | None) -> pa.ChunkedArray:
    found = lossless(file, column)
    if kind is None:
        kind = str(type_name(found.type))
    elif kind.startswith("list"):
        raise MetadataError(f"{file}: column {name!r} holds lists ({kind}), which can't be labelled")
    # From what is written: 19.90 as a text is not 19.9.
    given = found if type_name(found.type) == kind else column
    where = f"{file}, column {name!r}"
    return convert(given, arrow_type(kind), where=where, remedy="a column keeps its type: correct the value")


@dataclass(frozen=True, slots=True)
class _TouchedPage:
    """A page that holds images of the file: the collection, its number there, and their ids."""

    collection: Collection
    number: int
    ids: pa.Array

    @property
    def page(self) -> Page:
        return self.collection.pages[self.number]


def _touched(snapshot: Snapshot, ids: pa.Array) -> list[_TouchedPage]:
    """The pages that hold any of the images."""
    wanted = ids.take(pc.sort_indices(ids))
    return [
        one
        for collection in snapshot.manifest.collections
        for number, page in enumerate(collection.pages)
        if len((one := _TouchedPage(collection, number, _held(snapshot, page, wanted))).ids)
    ]


def _held(snapshot: Snapshot, page: Page, wanted: pa.Array) -> pa.Array:
    start = pc.search_sorted(wanted, pa.scalar(page.first)).as_py()
    end = pc.search_sorted(wanted, pa.scalar(page.last), side="right").as_py()
    near = wanted.slice(start, end - start)
    if not len(near):
        return near
    there = read_columns(snapshot.root, [page], [_KEY])[_KEY]
    return near.filter(pc.is_in(near, value_set=there.combine_chunks()))


def _check_known(file: Path, root: Path, ids: pa.ChunkedArray, touched: list[_TouchedPage], labels: pa.Table) -> None:
    """Refuse ids that are neither images nor labelled: the labels of an image that is gone can be given again."""
    known = pa.chunked_array([labels[_KEY].combine_chunks(), *(one.ids for one in touched)], pa.string())
    unknown = pc.invert(pc.is_in(ids, value_set=known.combine_chunks()))
    count = pc.sum(unknown).as_py() or 0
    if count:
        row = pc.index(unknown, True).as_py()
        raise MetadataError(
            f"{file}: {count} of {len(ids)} image_ids are not in {root}, the first is {ids[row].as_py()!r} "
            f"in row {row + 1}; nothing was changed. Ids look like collection/path: fpve sql {root} "
            '"SELECT image_id FROM images"'
        )


def _keys(cells: pa.Table) -> pa.Array:
    """Names of cells as one column of strings; no id has a NUL in it."""
    return pc.binary_join_element_wise(cells[_KEY], cells["column"], "\0").combine_chunks()


def _new(cells: pa.Table, old: pa.Table, snapshot: Snapshot, touched: list[_TouchedPage]) -> pa.Table:
    """The cells whose label is new or another than before, or not on its image: after a rollback it waits for a run."""
    at = pc.index_in(_keys(cells), _keys(old))
    same = _shown(cells, snapshot, touched)
    for name in ("type", "value"):
        then = old[name].combine_chunks().take(at)
        same = pc.and_(same, pc.fill_null(pc.equal(cells[name].combine_chunks(), then), False))
    return cells.filter(pc.invert(same))


def _shown(cells: pa.Table, snapshot: Snapshot, touched: list[_TouchedPage]) -> pa.Array:
    """(n,) which cells have the value that their image has in its page, if there is such an image."""
    shown = np.ones(len(cells), bool)
    names = cells["column"].unique().to_pylist()
    for one in touched:
        rows = read_page(snapshot.root, one.page, [_KEY, *names])
        here = pc.is_in(cells[_KEY], value_set=one.ids)
        for name in names:
            at = np.flatnonzero(pc.and_(here, pc.equal(cells["column"], name)).to_numpy())
            mine = cells.take(pa.array(at))
            if name not in rows.schema.names:
                shown[at] = False
            elif len(mine) and rows[name].type.equals(arrow_type(mine["type"][0].as_py())):
                values = to_text(rows[name]).take(pc.index_in(mine[_KEY].combine_chunks(), rows[_KEY]))
                same = pc.fill_null(pc.equal(values, mine["value"].combine_chunks()), False)
                shown[at] = same.to_numpy(zero_copy_only=False)
    return pa.array(shown)


def _dropped(cells: pa.Table, old: pa.Table) -> pa.Table:
    """The cells that have a label."""
    return cells.filter(pc.is_in(_keys(cells), value_set=_keys(old)))


def _publish(
    snapshot: Snapshot, old: pa.Table, changed: pa.Table, touched: list[_TouchedPage], *, undo: bool
) -> Manifest:
    """Write the table of labels and the pages, and the manifest that names them."""
    root, last = snapshot.root, snapshot.manifest
    pages = {one.name: list(one.pages) for one in last.collections}
    kinds = {one.name: {column.name: column.type for column in one.columns} for one in last.collections}
    if not undo:
        for one in touched:
            mine = changed.filter(pc.is_in(changed[_KEY], value_set=one.ids))
            added = zip(mine["column"].to_pylist(), mine["type"].to_pylist(), strict=True)
            kinds[one.collection.name] = dict(added) | kinds[one.collection.name]
    columns = {one.name: ordered(one.columns, kinds[one.name]) for one in last.collections}
    every = merge(columns)
    # From behind, so that the numbers of pages that come first stay, should a page ever become two.
    for one in reversed(touched):
        mine = changed.filter(pc.is_in(changed[_KEY], value_set=one.ids))
        if len(mine):
            rows = _labelled(read_pages(root, [one.page], every), mine, every, undo=undo)
            pages[one.collection.name][one.number : one.number + 1] = write_pages(
                root, one.collection.name, rows, (one.page,)
            )
    labels = tuple(_write(root, old, changed, undo=undo))
    manifest = publishing.successor(
        last,
        last.snapshot,
        operation="label",
        columns=every,
        collections=tuple(
            replace(one, columns=columns[one.name], pages=tuple(pages[one.name])) for one in last.collections
        ),
        tables=manifests.sorted_tables((*(one for one in last.tables if one.name != tables.LABELS), *labels)),
    )
    manifest = replace(manifest, summary={"metadata_changed": len(changed[_KEY].unique())})
    manifest = with_predictions(root, manifest, last)
    publishing.publish(root, manifest)
    return manifest


def _labelled(rows: pa.Table, changed: pa.Table, columns: tuple[Column, ...], *, undo: bool) -> pa.Table:
    """A page's rows with the changed cells in them: the labels, or nothing where they were taken back."""
    kinds = {column.name: column.type for column in columns}
    for name in changed["column"].unique().to_pylist():
        if name not in kinds:
            # The label of a column that no collection has: its other images are gone.
            continue
        mine = changed.filter(pc.equal(changed["column"], name))
        at = pc.index_in(mine[_KEY].combine_chunks(), rows[_KEY].combine_chunks()).to_numpy().astype(np.int64)
        values = pa.nulls(len(mine), arrow_type(kinds[name])) if undo else from_text(mine, name, kinds[name])
        column, _ = lay_over(rows[name].combine_chunks(), at, values, len(rows))
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows


def _write(root: Path, old: pa.Table, changed: pa.Table, *, undo: bool) -> Iterator[manifests.Table]:
    """The table of labels, rewritten; nothing if there are none left."""
    rows = old.filter(pc.invert(pc.is_in(_keys(old), value_set=_keys(changed))))
    if not undo:
        now = pa.scalar(datetime.now(UTC), tables.SCHEMAS[tables.LABELS].field("at").type)
        fresh = changed.append_column("at", pa.repeat(now, len(changed)))
        rows = pa.concat_tables([rows, fresh.cast(rows.schema)])
    if len(rows):
        yield tables.write_table(root, tables.LABELS, rows.sort_by([(_KEY, "ascending"), ("column", "ascending")]))
