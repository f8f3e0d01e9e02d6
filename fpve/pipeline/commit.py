"""Turning the outcome of a run into one snapshot: pages, segments, tables, manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpve._version import __version__
from fpve.index import build_exact
from fpve.pipeline.contents import Contents
from fpve.pipeline.plan import CollectionPlan
from fpve.store import manifest as manifests
from fpve.store import segments, tables
from fpve.store.files import read_parquet
from fpve.store.manifest import Collection, EncoderRef, FusionRef, Manifest, Segment, Table
from fpve.store.pages import write_pages
from fpve.store.pending import Shard, adopt_rows, adopt_thumbnails
from fpve.store.schema import Column, merge, page_schema
from fpve.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Ready:
    """A collection with everything that its pages need.

    Attributes:
        contents: what its files hold.
        place: (kept rows) `segment` and `row` of each good file's vector.
        quarantine: rows for the quarantine table.
    """

    contents: Contents
    place: pa.Table
    quarantine: pa.Table

    @property
    def plan(self) -> CollectionPlan:
        """What was planned."""
        return self.contents.plan


@dataclass(frozen=True, slots=True)
class Header:
    """What a manifest says besides its files.

    Attributes:
        job: name of the job that owns the collections.
        encoders, fusion: what made the vectors.
        keeps_segments: whether the last snapshot's vectors were made in the same way.
    """

    job: str
    encoders: dict[str, EncoderRef]
    fusion: FusionRef
    keeps_segments: bool


def commit(
    root: Path,
    previous: Snapshot | None,
    header: Header,
    collections: list[Ready],
    sources: Iterable[Segment | Shard],
) -> Manifest | None:
    """Write all files of a new snapshot, then the manifest that names them.

    Args:
        root: the store.
        previous: its last snapshot.
        header: what the manifest says besides.
        collections: the job's collections; all others stay as they are.
        sources: where the collections' vectors are.

    Returns:
        The new manifest; None if it would say what the last one says.
    """
    now = datetime.now(UTC)
    last = previous.manifest if previous else None
    mine = {one.plan.name for one in collections}
    others = tuple(one for one in last.collections if one.name not in mine) if last else ()
    columns = merge(
        {**{one.name: one.columns for one in others}, **{one.plan.name: one.plan.own.columns for one in collections}}
    )
    kept_segments = last.segments if last and header.keeps_segments else ()
    known_pictures = last.tables_named(tables.THUMBNAILS) if last else ()
    all_segments, new_tables = _segments(root, kept_segments, sources, known_pictures)
    kept_tables = tuple(one for one in (last.tables if last else ()) if one.name != tables.QUARANTINE)
    thumbnails = (*(one for one in kept_tables if one.name == tables.THUMBNAILS), *new_tables)
    entries = [_collection(root, last, header.job, one, columns, _sizes(root, thumbnails, one)) for one in collections]
    new_tables += _prefix_tables(root, previous, collections, now)
    new_tables += _quarantine_tables(root, previous, mine, collections)
    number = manifests.numbers(root)[-1] + 1 if last else 1
    manifest = Manifest(
        snapshot=number,
        parent=last.snapshot if last else None,
        created_at=now.isoformat(timespec="seconds"),
        written_by=f"fpve {__version__}",
        encoders=header.encoders,
        fusion=header.fusion,
        columns=columns,
        collections=tuple(sorted((*others, *entries), key=lambda one: one.name)),
        segments=all_segments,
        tables=tuple(sorted({*kept_tables, *new_tables}, key=lambda one: (one.name, one.file.path))),
    )
    if last is not None and manifest.says_the_same(last):
        return None
    manifests.publish(root, manifest)
    return manifest


def _segments(
    root: Path, kept: tuple[Segment, ...], sources: Iterable[Segment | Shard], pictures: tuple[Table, ...]
) -> tuple[tuple[Segment, ...], list[Table]]:
    """Segments of the new snapshot, with their indexes built, and the thumbnails that came with new ones.

    Segments without a living vector stay: they serve images that come back, until `compact`.
    """
    found = {segment.name: segment for segment in kept}
    known = tables.read_tables(root, tables.THUMBNAILS, pictures, ["content_hash"])["content_hash"].combine_chunks()
    thumbnails: list[Table] = []
    for shard in sources:
        if isinstance(shard, Shard):
            segment = adopt_rows(root, shard)
            folder = segments.folder(root, segment)
            derived = build_exact(segments.read_fused(folder / segments.ROWS_FILE).vectors, folder)
            found[segment.name] = replace(segment, derived=derived)
            # After a change of encoder the pictures are the same, and so are their thumbnails.
            if not _among(shard, known):
                thumbnails.append(adopt_thumbnails(root, shard))
    return tuple(found[name] for name in sorted(found)), thumbnails


def _among(shard: Shard, known: pa.Array) -> bool:
    """Whether all pictures of a shard, if it has any, have a thumbnail already."""
    mine = read_parquet(shard.thumbnails_file, columns=["content_hash"])["content_hash"]
    return bool(pc.all(pc.is_in(mine, value_set=known)).as_py())


def _collection(
    root: Path,
    last: Manifest | None,
    job: str,
    ready: Ready,
    columns: tuple[Column, ...],
    sizes: pa.Table,
) -> Collection:
    plan = ready.plan
    old = last.collection(plan.name) if last else None
    return Collection(
        name=plan.name,
        source=str(plan.config.source),
        job=job,
        prefix=plan.config.prefix,
        columns=plan.own.columns,
        pages=write_pages(root, plan.name, _image_rows(ready, columns, sizes), old.pages if old else ()),
    )


def _image_rows(ready: Ready, columns: tuple[Column, ...], sizes: pa.Table) -> pa.Table:
    """Image rows of a collection's good files, sorted by image_id as the files are."""
    plan, good = ready.plan, ready.contents.good
    files = plan.files.filter(good)
    content_hash = ready.contents.content_hash.filter(good)
    size = sizes.take(pc.index_in(content_hash, sizes["content_hash"].combine_chunks()))
    arrays = {
        "image_id": files["image_id"],
        "collection": pa.array([plan.name] * len(files), pa.string()),
        "path": files["path"],
        "content_hash": content_hash,
        "bytes": ready.contents.size.filter(good),
        "width": size["width"],
        "height": size["height"],
        "prefix_id": plan.own.prefix_id.filter(good),
        "prefix": plan.own.prefix.filter(good),
        "segment": ready.place["segment"],
        "row": ready.place["row"],
        **{column.name: plan.own.metadata[column.name].filter(good) for column in plan.own.columns},
    }
    schema = page_schema(columns)
    rows = [arrays[field.name] if field.name in arrays else pa.nulls(len(files), field.type) for field in schema]
    return pa.table(rows, schema=schema)


def _sizes(root: Path, thumbnails: tuple[Table, ...], ready: Ready) -> pa.Table:
    """Width and height of the collection's pictures, by content hash: of the old rows, else of the thumbnails."""
    columns = ["content_hash", "width", "height"]
    wanted = ready.contents.content_hash.filter(ready.contents.good).unique()
    old = ready.plan.old
    if len(old) and pc.all(pc.is_in(wanted, value_set=old["content_hash"].combine_chunks())).as_py():
        return old.select(columns)
    return tables.read_tables(root, tables.THUMBNAILS, thumbnails, columns)


def _prefix_tables(root: Path, previous: Snapshot | None, collections: list[Ready], now: datetime) -> list[Table]:
    """A file of the prefixes that no earlier one holds, if there are any."""
    known = set(previous.table(tables.PREFIXES, ["prefix_id"])["prefix_id"].to_pylist()) if previous else set()
    rows = []
    for ready in collections:
        own, template = ready.plan.own, ready.plan.config.prefix
        kept = pa.table({"prefix_id": own.prefix_id, "text": own.prefix}).filter(ready.contents.good).drop_null()
        for one in kept.group_by(["prefix_id", "text"]).aggregate([]).to_pylist():
            if one["prefix_id"] not in known:
                known.add(one["prefix_id"])
                origin = "literal" if template == one["text"] else "template"
                rows.append({**one, "origin": origin, "template": template, "created_at": now})
    if not rows:
        return []
    rows.sort(key=lambda row: str(row["prefix_id"]))
    return [tables.write_table(root, tables.PREFIXES, pa.Table.from_pylist(rows, tables.SCHEMAS[tables.PREFIXES]))]


def _quarantine_tables(root: Path, previous: Snapshot | None, mine: set[str], collections: list[Ready]) -> list[Table]:
    """The quarantine, rewritten: other collections' rows as they were, this job's as they are now."""
    parts = [one.quarantine for one in collections]
    if previous is not None:
        old = previous.table(tables.QUARANTINE)
        parts.append(old.filter(pc.invert(pc.is_in(old["collection"], value_set=pa.array(sorted(mine))))))
    rows = pa.concat_tables(parts).sort_by("image_id")
    return [tables.write_table(root, tables.QUARANTINE, rows)] if len(rows) else []
