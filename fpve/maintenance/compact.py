"""Merging small files into larger ones, and leaving out vectors that no image names any more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.index import indexed
from fpve.mapper import Mapper
from fpve.memory import give_back
from fpve.progress import Progress, SilentProgress
from fpve.replica import located
from fpve.store import manifest as manifests
from fpve.store import pages, publishing, segments, tables
from fpve.store.elsewhere import SnapshotRef, WithSnapshot
from fpve.store.files import push
from fpve.store.lock import writer_lock
from fpve.store.manifest import Collection, Manifest, Page, Segment, Table
from fpve.store.predict import recut
from fpve.store.snapshot import Snapshot

# Of vectors in one segment: 280,000 of 896 numbers. One graph over so many is searched almost as fast as one over a
# tenth; to build it takes some minutes and a third of this in memory.
_SEGMENT_BYTES = 1_000_000_000
# Rows that are written together, where segments hold fewer: as many as a run writes.
_ROWS_AT_ONCE = 4_096
# So many segments of about one size become one of the next size, and so each row is written again at most once for
# each power of this number that the store grows by.
_MERGED_AT_ONCE = 8
# Thumbnails of some 5 kB: 80 MB a file.
_THUMBNAIL_ROWS = 16_384

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Part = TypeVar("Part", Segment, Table)
# What some segments became, if they hold anything, and for each of them where its rows are now, -1 for the dead.
_Merged = tuple[Segment | None, dict[str, tuple[str, Numbers]]]


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did.

    Attributes:
        published: whether there was anything to do.
        snapshot: the newest snapshot after it.
        segments, pages, files: how many there are now, and were before; files are those of tables.
        vectors_dropped: vector rows that no image named.
    """

    published: bool
    snapshot: int
    segments: tuple[int, int]
    pages: tuple[int, int]
    files: tuple[int, int]
    vectors_dropped: int

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


def compact(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Compacted:
    """Merge all small segments, pages and table files, drop dead vectors, and publish the result as a snapshot.

    Images, their prefixes and metadata, and all answers stay the same. Files of older snapshots stay until `prune`.

    Raises:
        StoreNotFound: there is no store at `path`.
        StoreCorrupt: a file of the newest snapshot is damaged.
        StoreLocked: another writer holds the store.
    """
    root = located(path)
    Snapshot.open(root)
    with writer_lock(root, "fpve compact"):
        return _compact(Snapshot.open(root), everything=True, progress=progress or SilentProgress())


def compact_if_due(root: Path, *, progress: Progress, over: Mapper | None = None) -> Compacted:
    """Merge what has become too many, for who holds the writer's lock.

    The policy: where eight segments (or files of thumbnails) are of about the same size, by powers of eight, they are
    merged; segments with more dead rows than living ones are written again without them; pages are cut anew where
    there are more than twice as many as needed. So a store grows by the logarithm of its nights, not by their number.
    """
    return _compact(Snapshot.open(root), everything=False, progress=progress, over=over)


def _compact(snapshot: Snapshot, *, everything: bool, progress: Progress, over: Mapper | None = None) -> Compacted:
    root, before = snapshot.root, snapshot.manifest
    alive = _alive(snapshot)
    limit = max(1, _SEGMENT_BYTES // (4 * snapshot.fusion.dim))
    groups = _segment_groups(before.segments, alive, limit, everything=everything)
    moved: dict[str, tuple[str, Numbers]] = {}
    merged: list[Segment] = []
    with progress.stage("compact", sum(len(group) for group in groups)) as stage:
        for group, (segment, places) in zip(groups, _merged(snapshot, groups, alive, over), strict=True):
            moved |= places
            merged += [segment] if segment is not None else []
            stage.advance(len(group))
    gone = {segment.name for group in groups for segment in group}
    kept = [segment for segment in before.segments if segment.name not in gone]
    # Merging can give what is there already, if it was merged before and rolled back.
    new_segments = {segment.name: segment for segment in (*kept, *merged)}
    manifest = publishing.successor(
        before,
        before.snapshot,
        operation="compact",
        collections=tuple(_moved(root, before, one, moved, everything=everything) for one in before.collections),
        segments=tuple(new_segments[name] for name in sorted(new_segments)),
        tables=manifests.sorted_tables(_tables(snapshot, everything=everything)),
    )
    manifest = recut(before, manifest)
    published = not manifest.says_the_same(before)
    if published:
        publishing.publish(root, manifest)
    after = manifest if published else before
    return Compacted(
        published=published,
        snapshot=after.snapshot,
        segments=(len(after.segments), len(before.segments)),
        pages=(_pages(after), _pages(before)),
        files=(len(after.tables), len(before.tables)),
        vectors_dropped=sum(one.rows for one in before.segments) - sum(one.rows for one in after.segments),
    )


def _pages(manifest: Manifest) -> int:
    return sum(len(collection.pages) for collection in manifest.collections)


def _alive(snapshot: Snapshot) -> dict[str, Mask]:
    """Of each segment, which of its rows an image names."""
    alive = {segment.name: np.zeros(segment.rows, bool) for segment in snapshot.manifest.segments}
    for collection in snapshot.manifest.collections:
        named = pages.read_columns(snapshot.root, collection.pages, ["segment", "row"])
        for name, rows in pages.by_segment(named):
            alive[name][named["row"].to_numpy()[rows]] = True
    return alive


def _segment_groups(
    found: Sequence[Segment], alive: dict[str, Mask], limit: int, *, everything: bool
) -> list[list[Segment]]:
    """Which segments are to become one, each group with at most `limit` living rows."""
    size = {segment.name: int(alive[segment.name].sum()) for segment in found}
    if everything:
        chosen = [one for one in found if size[one.name] < one.rows or size[one.name] <= limit // 2]
    else:
        wasteful = [one for one in found if size[one.name] < one.rows - size[one.name]]
        small = [one for one in found if 0 < size[one.name] <= limit // 2 and one not in wasteful]
        chosen = wasteful + _crowded(small, size)
    groups = _grouped(chosen, size, limit)
    # A segment that is whole and alone would only be written again.
    return [group for group in groups if len(group) > 1 or size[group[0].name] < group[0].rows]


def _crowded(parts: Sequence[Part], size: dict[str, int]) -> list[Part]:
    """The parts of those sizes, by powers, of which there are as many as are merged at once."""
    tiers: dict[int, list[Part]] = {}
    for part in parts:
        power, bits = 0, size[_name(part)]
        while bits >= _MERGED_AT_ONCE:
            power, bits = power + 1, bits // _MERGED_AT_ONCE
        tiers.setdefault(power, []).append(part)
    return [part for tier in tiers.values() if len(tier) >= _MERGED_AT_ONCE for part in tier]


def _grouped(parts: Sequence[Part], size: dict[str, int], limit: int) -> list[list[Part]]:
    groups: list[list[Part]] = []
    room = 0
    for part in parts:
        if not groups or size[_name(part)] > room:
            groups.append([])
            room = limit
        groups[-1].append(part)
        room -= size[_name(part)]
    return groups


def _name(part: Segment | Table) -> str:
    return part.name if isinstance(part, Segment) else part.file.path


def _merged(
    snapshot: Snapshot, groups: list[list[Segment]], alive: dict[str, Mask], over: Mapper | None
) -> Iterator[_Merged]:
    """Each group of segments as one, here or elsewhere."""
    # As with indexes: one is merged here.
    if over is not None and len(groups) > 1:
        merging = _Merging(SnapshotRef.of(snapshot, [one for group in groups for one in group]))
        yield from over.map(merging, [(group, {one.name: alive[one.name] for one in group}) for group in groups])
        return
    for group in groups:
        yield _merge(snapshot, group, alive)
        give_back()


class _Merging(WithSnapshot):
    """Merges groups of segments of a snapshot, in another process."""

    def __call__(self, asked: tuple[list[Segment], dict[str, Mask]]) -> _Merged:
        segment, places = _merge(self.snapshot, *asked)
        give_back()
        if segment is not None:
            root = self.snapshot.root
            push(root, *(root / name for name in (segment.file.path, *segment.derived_files)))
        return segment, places


def _merge(snapshot: Snapshot, group: list[Segment], alive: dict[str, Mask]) -> _Merged:
    """Write the living rows of some segments as one, and say for each old one where its rows are now."""
    keys = pa.concat_tables(
        snapshot.segment_keys(one).select(segments.KEY_COLUMNS).filter(pa.array(alive[one.name])) for one in group
    )
    if not len(keys):
        return None, {}
    # Two segments can hold the same vector; images may name either.
    names = pc.binary_join_element_wise(
        pc.fill_null(keys["content_hash"], ""), pc.fill_null(keys["prefix_id"], ""), "|"
    )
    codes = names.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    is_first = np.zeros(len(keys), bool)
    is_first[np.unique(codes, return_index=True)[1]] = True
    parts = _parts(snapshot, group, alive, is_first)
    segment = indexed(snapshot, segments.write_segment(snapshot.root, parts, snapshot.fusion.dim))
    places: dict[str, tuple[str, Numbers]] = {}
    start = 0
    for one in group:
        where = np.full(one.rows, -1, np.int64)
        count = int(alive[one.name].sum())
        where[alive[one.name]] = codes[start : start + count]
        places[one.name] = (segment.name, where)
        start += count
    return segment, places


def _parts(snapshot: Snapshot, group: list[Segment], alive: dict[str, Mask], is_first: Mask) -> Iterator[pa.Table]:
    """The rows that a merged segment has of each segment of a group: of the living ones (n,) those that are first."""
    waiting: list[pa.Table] = []
    for part in _wanted(snapshot, group, alive, is_first):
        waiting.append(part)
        if sum(map(len, waiting)) >= _ROWS_AT_ONCE:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _wanted(snapshot: Snapshot, group: list[Segment], alive: dict[str, Mask], is_first: Mask) -> Iterator[pa.Table]:
    """The same rows, as many at a time as were written together."""
    start = 0
    for one in group:
        wanted = alive[one.name].copy()
        count = int(wanted.sum())
        wanted[wanted] = is_first[start : start + count]
        start += count
        at = 0
        for part in snapshot.segment_tables(one):
            mine = wanted[at : at + len(part)]
            at += len(part)
            if mine.any():
                yield part.filter(pa.array(mine))


def _moved(
    root: Path, manifest: Manifest, collection: Collection, moved: dict[str, tuple[str, Numbers]], *, everything: bool
) -> Collection:
    """A collection whose rows say where their vectors are now."""
    needed = -(-collection.rows // pages.PAGE_ROWS)
    scattered = len(collection.pages) > (needed if everything else 2 * needed)
    named = pages.read_columns(root, collection.pages, ["segment", "row"])
    places = list(pages.by_segment(named))
    if not scattered and not any(name in moved for name, _ in places):
        return collection
    segment = np.array(named["segment"].to_pylist(), object)
    row = named["row"].to_numpy().copy()
    for name, rows in places:
        if name in moved:
            segment[rows], where = moved[name]
            row[rows] = where[row[rows]]
    table = pages.read_pages(root, collection.pages, manifest.columns)
    for column, values in (("segment", pa.array(segment, pa.string())), ("row", pa.array(row))):
        at = table.schema.get_field_index(column)
        table = table.set_column(at, table.schema.field(at), values)
    old: tuple[Page, ...] = () if scattered else collection.pages
    return replace(collection, pages=pages.write_pages(root, collection.name, table, old))


def _tables(snapshot: Snapshot, *, everything: bool) -> list[Table]:
    """The files of all tables, merged where they are many; thumbnails without those of pictures that are gone."""
    kept: list[Table] = []
    for name in sorted({one.name for one in snapshot.manifest.tables}):
        files = list(snapshot.manifest.tables_named(name))
        if name == tables.THUMBNAILS:
            kept += _thumbnails(snapshot, files, everything=everything)
        elif len(files) > 1 and (everything or len(files) >= _MERGED_AT_ONCE):
            kept.append(tables.write_table(snapshot.root, name, snapshot.table(name)))
        else:
            kept += files
    return kept


def _thumbnails(snapshot: Snapshot, files: list[Table], *, everything: bool) -> list[Table]:
    root = snapshot.root
    needed: dict[str, Mask] = {}
    size = {one.file.path: one.rows for one in files}
    if everything:
        needed = _needed(snapshot, files)
        size = {path: int(mask.sum()) for path, mask in needed.items()}
        chosen = [one for one in files if size[one.file.path] < one.rows or one.rows <= _THUMBNAIL_ROWS // 2]
    else:
        chosen = _crowded([one for one in files if 0 < one.rows <= _THUMBNAIL_ROWS // 2], size)
    groups = _grouped(chosen, size, _THUMBNAIL_ROWS)
    groups = [group for group in groups if len(group) > 1 or size[group[0].file.path] < group[0].rows]
    merged = [one for group in groups for one in group]
    if not everything:
        needed = _needed(snapshot, merged)
    gone = set(merged)
    living = [group for group in groups if any(needed[one.file.path].any() for one in group)]
    return [
        *(one for one in files if one not in gone),
        *(tables.write_table(root, tables.THUMBNAILS, _rows_of(root, group, needed)) for group in living),
    ]


def _needed(snapshot: Snapshot, files: list[Table]) -> dict[str, Mask]:
    """Which thumbnails (n,) of each file are needed: of living content, and in no file before it."""
    if not files:
        return {}
    parts = [tables.read_tables(snapshot.root, tables.THUMBNAILS, [one], ["content_hash"]) for one in files]
    names = pa.concat_tables(parts)["content_hash"].combine_chunks()
    # Once for all files: for each by itself, all living content would be hashed as often.
    needed = np.zeros(len(names), bool)
    needed[np.unique(names.dictionary_encode().indices.to_numpy(), return_index=True)[1]] = True
    needed &= pc.is_in(names, value_set=_living_content(snapshot)).to_numpy(zero_copy_only=False)
    ends = np.cumsum([len(part) for part in parts])
    return {one.file.path: mask for one, mask in zip(files, np.split(needed, ends[:-1]), strict=True)}


def _rows_of(root: Path, group: list[Table], needed: dict[str, Mask]) -> Iterator[pa.Table]:
    """The needed rows of each file of a group."""
    for one in group:
        mask = needed[one.file.path]
        if mask.any():
            yield tables.read_tables(root, tables.THUMBNAILS, [one]).filter(pa.array(mask)).combine_chunks()


def _living_content(snapshot: Snapshot) -> pa.Array:
    """The content hashes of all images, each once."""
    hashes = [
        pages.read_columns(snapshot.root, collection.pages, ["content_hash"])["content_hash"]
        for collection in snapshot.manifest.collections
    ]
    return pc.unique(pa.chunked_array([chunk for column in hashes for chunk in column.chunks], pa.string()))
