"""Making a damaged store whole: what is derived is built again, what is damaged is taken out, what is lost is said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fpve import images
from fpve.errors import ImageError, SourceError, StoreCorrupt
from fpve.index import build_exact
from fpve.maintenance.verify import ROW_KEYS, has_vector, verify
from fpve.prefixes import prefix_rows
from fpve.progress import Progress
from fpve.sources.names import raw_paths
from fpve.sources.stored import read_stored
from fpve.store import manifest as manifests
from fpve.store import pages, tables
from fpve.store.damaged import set_aside
from fpve.store.files import NAME_DIGITS, read_parquet, ref, sha256_of
from fpve.store.lock import writer_lock
from fpve.store.manifest import Collection, Manifest, Segment, Table
from fpve.store.snapshot import Snapshot

# 20 MB of thumbnails.
_THUMBNAILS_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did.

    Attributes:
        rebuilt: derived files that were made again, and tables that were made again from others or from sources.
        taken_out: what the newest snapshot held and does no more; the next run makes it again from its sources.
        lost: what can't be made again.
        snapshot: number of the newest snapshot after it; None if none is left.
        published: whether this repair made it.
    """

    rebuilt: tuple[str, ...]
    taken_out: tuple[str, ...]
    lost: tuple[str, ...]
    snapshot: int | None
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


@dataclass
class _Notes:
    rebuilt: list[str] = field(default_factory=list)
    taken_out: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def repair(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Repair:
    """Verify a store, and make it whole.

    Indexes are built again from Parquet. A damaged page, segment or table of the newest snapshot is taken out, and a
    new snapshot without it is published: images whose row or vector was in it are missing until the next run finds them
    in their sources, reads them, and encodes those whose vector is gone. Thumbnails are made again from the sources,
    prefixes from the pages. A damaged newest manifest gives way to the snapshot before it. Older snapshots that need a
    damaged file can't be repaired, and are set aside with it in `state/damaged/`, until `prune` deletes them.

    Raises:
        StoreNotFound: there is no store at `path`.
        StoreLocked: another writer holds the store.
        StoreCorrupt, OSError: a file can't be read at the moment, so that nobody knows whether it is damaged; nothing
            was changed.
    """
    root = Path(path)
    if not manifests.numbers(root):
        raise manifests.no_store(root)
    with writer_lock(root, "fpve repair"):
        return _repair(root, progress)


def _repair(root: Path, progress: Progress | None) -> Repair:
    problems = verify(root, progress=progress).problems
    for one in problems:
        if one.kind == "unreadable":
            raise StoreCorrupt(f"{root / one.file}: {one.problem}; that need not be damage, and nothing was changed")
    found, damaged = manifests.load_all(root)
    notes = _Notes()
    for one in problems:
        if one.kind == "index":
            _rebuild_index(Snapshot(root, found[one.snapshots[0]]), Path(one.file).parent.name)
            notes.rebuilt.append(one.file)
    bad = {one.file: one for one in problems if one.kind not in ("index", "manifest", "rows")}
    newest = max(found, default=None)
    last = max({*found, *damaged})
    published = None
    if newest is not None and (
        newest != last or any(newest in one.snapshots for one in problems if one.kind != "index")
    ):
        whole = _without(Snapshot(root, found[newest]), set(bad), last, notes)
        if last in damaged:
            whole = _with_labels(root, whole, list(found.values()), notes)
        manifests.publish(root, whole)
        published = whole.snapshot
        # What was made again to the bit has the name of what was damaged, and is in its place already.
        bad = {name: one for name, one in bad.items() if name not in {file.path for file in whole.files}}
    _lose_manifests(root, found, damaged, notes)
    # The files after the manifests that name them: killed in between, a repair is only begun again.
    broken = {number for one in bad.values() for number in one.snapshots}
    for number in sorted(broken):
        if number != newest:
            notes.lost.append(f"snapshot {number}: it needs a damaged file, and can't be opened any more")
        set_aside(root, manifests.path_of(root, number).relative_to(root).as_posix())
    for file in bad:
        set_aside(root, file)
    left = manifests.numbers(root)
    return Repair(
        rebuilt=tuple(notes.rebuilt),
        taken_out=tuple(notes.taken_out),
        lost=tuple(notes.lost),
        snapshot=left[-1] if left else None,
        published=published is not None,
    )


def _rebuild_index(snapshot: Snapshot, name: str) -> None:
    segment = next(one for one in snapshot.manifest.segments if one.name == name)
    build_exact(snapshot.segment_rows(segment).vectors, snapshot.segment_folder(segment))


def _lose_manifests(root: Path, found: dict[int, Manifest], damaged: dict[int, str], notes: _Notes) -> None:
    for number, reason in sorted(damaged.items()):
        newer_than_all = not found or number > max(found)
        remedy = f"; snapshot {max(found)} stands again" if found and newer_than_all else ""
        remedy += "; the next run makes what it held again" if newer_than_all else ""
        notes.lost.append(f"snapshot {number}: its manifest is damaged ({reason}){remedy}")
        set_aside(root, manifests.path_of(root, number).relative_to(root).as_posix())
    if not found and any((root / "tables" / tables.LABELS).glob("*.parquet")):
        notes.lost.append("labels: no snapshot is left that names them")


def _without(snapshot: Snapshot, bad: set[str], last: int, notes: _Notes) -> Manifest:
    """A manifest like a snapshot's, without the damaged files and what depends on them."""
    root, manifest = snapshot.root, snapshot.manifest
    kept = tuple(_sound_segments(manifest, bad, notes))
    rest = Snapshot(root, replace(manifest, segments=kept))
    collections = tuple(_sound_collection(rest, one, bad, notes) for one in manifest.collections)
    rest = Snapshot(root, replace(rest.manifest, collections=collections))
    sound = [one for one in manifest.tables if one.file.path not in bad]
    for name in sorted({one.name for one in manifest.tables if one.file.path in bad}):
        files = [one for one in sound if one.name == name]
        sound += _remade(rest, name, files, notes)
    return manifests.successor(
        manifest,
        last,
        operation="repair",
        segments=kept,
        collections=collections,
        tables=manifests.sorted_tables(sound),
    )


def _with_labels(root: Path, manifest: Manifest, known: list[Manifest], notes: _Notes) -> Manifest:
    """A manifest with the labels that only a damaged one names: work of people, which no source gives back.

    Their file is whole if its content is what its name says; each holds all labels, so the newest counts.
    """
    named = {file.path for one in known for file in one.files}
    found = []
    for path in (root / "tables" / tables.LABELS).glob("*.parquet"):
        name = path.relative_to(root).as_posix()
        if name not in named and sha256_of(path)[:NAME_DIGITS] == path.stem:
            found.append((path.stat().st_mtime_ns, path))
    if not found:
        return manifest
    path = max(found)[1]
    table = Table(tables.LABELS, ref(root, path), len(read_parquet(path)))
    others = [one for one in manifest.tables if one.name != tables.LABELS]
    notes.rebuilt.append(f"labels: {table.rows:,}, as the damaged snapshot had them; the next run lays them over")
    return replace(manifest, tables=manifests.sorted_tables((*others, table)))


def _sound_segments(manifest: Manifest, bad: set[str], notes: _Notes) -> Iterable[Segment]:
    for segment in manifest.segments:
        if segment.file.path in bad:
            notes.taken_out.append(f"{segment.file.path}: {segment.rows:,} vectors")
        else:
            yield segment


def _sound_collection(snapshot: Snapshot, collection: Collection, bad: set[str], notes: _Notes) -> Collection:
    """A collection without its damaged pages, and without images whose vector is gone."""
    kept = []
    for page in collection.pages:
        if page.file.path in bad:
            notes.taken_out.append(f"{page.file.path}: {page.rows:,} images, {page.first} to {page.last}")
        else:
            kept.append(page)
    whole = has_vector(snapshot, pages.read_columns(snapshot.root, kept, ROW_KEYS))
    gone = len(whole) - (pc.sum(whole).as_py() or 0)
    if not gone:
        return replace(collection, pages=tuple(kept))
    rows = pages.read_pages(snapshot.root, kept, snapshot.manifest.columns)
    notes.taken_out.append(
        f"{collection.name}: {gone:,} images whose vector is gone, such as "
        f"{rows['image_id'].filter(pc.invert(whole))[0].as_py()}"
    )
    return replace(collection, pages=pages.write_pages(snapshot.root, collection.name, rows.filter(whole), tuple(kept)))


def _remade(snapshot: Snapshot, name: str, sound: list[Table], notes: _Notes) -> list[Table]:
    """Files that hold again what damaged files of a table held, as far as that can be known."""
    if name == tables.PREFIXES:
        return _remade_prefixes(snapshot, sound, notes)
    if name == tables.THUMBNAILS:
        return _remade_thumbnails(snapshot, sound, notes)
    if name == tables.LABELS:
        notes.lost.append("labels: pages hold their values until the next run, which puts the job's own in their place")
        return []
    if name == tables.QUARANTINE:
        notes.taken_out.append("quarantine: inputs that can't be encoded; the next run looks at them again")
        notes.lost.append("quarantine: when its inputs were first seen")
        return []
    notes.lost.append(f"{name}: what its damaged file held, and no other")
    return []


def _remade_prefixes(snapshot: Snapshot, sound: list[Table], notes: _Notes) -> list[Table]:
    """Prefixes of the images, which pages hold too, with the templates of their collections."""
    known = tables.read_tables(snapshot.root, tables.PREFIXES, sound, ["prefix_id"])["prefix_id"]
    now = datetime.fromisoformat(snapshot.manifest.created_at)
    made: dict[str, dict[str, object]] = {}
    for collection in snapshot.manifest.collections:
        rows = pages.read_columns(snapshot.root, collection.pages, ["prefix_id", "prefix"]).drop_null()
        texts = rows.filter(pc.invert(pc.is_in(rows["prefix_id"], value_set=known.combine_chunks())))["prefix"].unique()
        made |= {str(row["prefix_id"]): row for row in prefix_rows(texts.to_pylist(), collection.prefix, now)}
    notes.rebuilt.append(f"prefixes: {len(made):,} texts, from the pages")
    notes.lost.append("prefixes: when the damaged ones were made, and those that no image has any more")
    rows = sorted(made.values(), key=lambda row: str(row["prefix_id"]))
    table = pa.Table.from_pylist(rows, tables.SCHEMAS[tables.PREFIXES])
    return [tables.write_table(snapshot.root, tables.PREFIXES, table)] if rows else []


def _remade_thumbnails(snapshot: Snapshot, sound: list[Table], notes: _Notes) -> list[Table]:
    """Thumbnails of pictures that have none, made from their files; those of one file of theirs are held in memory."""
    known = tables.read_tables(snapshot.root, tables.THUMBNAILS, sound, ["content_hash"])["content_hash"]
    missing: dict[str, list[bytes]] = {}
    for collection in snapshot.manifest.collections:
        rows = pages.read_columns(snapshot.root, collection.pages, ["path", "content_hash"])
        rows = rows.filter(pc.invert(pc.is_in(rows["content_hash"], value_set=known.combine_chunks())))
        for path, content_hash in zip(rows["path"].to_pylist(), rows["content_hash"].to_pylist(), strict=True):
            folder = os.fsencode(collection.folder or collection.source)
            files = (os.path.join(folder, one) for one in raw_paths(path))  # noqa: PTH118 (bytes)
            missing.setdefault(content_hash, []).extend(files)
    written: list[Table] = []
    made: list[dict[str, object]] = []

    def write() -> None:
        table = pa.Table.from_pylist(made, tables.SCHEMAS[tables.THUMBNAILS])
        written.append(tables.write_table(snapshot.root, tables.THUMBNAILS, table))
        made.clear()

    with images.without_warnings():
        for content_hash, paths in missing.items():
            row = next((row for row in map(_thumbnail, paths) if row and row["content_hash"] == content_hash), None)
            made += [row] if row else []
            if len(made) >= _THUMBNAILS_AT_ONCE:
                write()
    if made:
        write()
    count = sum(one.rows for one in written)
    if count:
        notes.rebuilt.append(f"thumbnails: {count:,}, from their pictures")
    if count < len(missing):
        notes.lost.append(f"thumbnails: {len(missing) - count:,}, whose pictures are gone or have changed")
    return written


def _thumbnail(file: bytes) -> dict[str, object] | None:
    try:
        data = read_stored(file)
        decoded = images.decode(data)
    except (OSError, ImageError, SourceError):
        return None
    return {
        "content_hash": hashlib.sha256(data).hexdigest(),
        "width": decoded.width,
        "height": decoded.height,
        "jpeg": images.thumbnail(decoded.image),
    }
