"""Going back to an older snapshot, by publishing it once more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import StoreCorrupt, StoreNotFound
from fpve.index import indexed
from fpve.replica import located
from fpve.store import manifest as manifests
from fpve.store import publishing
from fpve.store.files import is_there
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest, Segment, Table
from fpve.store.searched import searched_alike
from fpve.store.snapshot import Snapshot
from fpve.store.tables import CORRECTED, GENERATED, LABELS, PREFIXES, THUMBNAILS, read_tables, write_table


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback published.

    Attributes:
        snapshot: the new snapshot's number.
        to: that of the snapshot whose content it holds once more.
        encodes_again: whether another image encoder made the newest snapshot, so that the next run of a job that names
            that encoder encodes every picture again.
    """

    snapshot: int
    to: int
    encodes_again: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


def rollback(path: str | os.PathLike[str], to: int | None = None) -> RolledBack:
    """Publish a new snapshot that holds what snapshot `to` held, by default what the store held before its last change.

    What `compact` published, be it by a run, is no change; and after a rollback the next one goes further back. Nothing
    is deleted, so a rollback can be rolled back: name the snapshot. A damaged newest snapshot is gone back from in the
    same way.

    Labels stay, and so do texts that people gave to images: the tables are those of the newest snapshot, and the next
    run lays them over metadata and prefixes, which until then are as they were. `fpve label --undo` takes labels back.
    Answers of language models stay as well, so that none is asked for again.

    The next run brings the store up to date with its sources again. Vectors that were made since snapshot `to` are kept
    for it, unless the encoders or the fusion have changed since: going back beyond a change of the image encoder means
    that the next run encodes everything again. They are centred as those of snapshot `to`, and compared by its
    predictions.

    Raises:
        StoreNotFound: there is no store, or no whole snapshot to go back to.
        StoreCorrupt: a file of that snapshot is not there any more.
        StoreLocked: another writer holds the store, has published meanwhile, or deletes files in its bucket.
    """
    root = located(path)
    if not manifests.numbers(root):
        raise manifests.no_store(root)
    with writer_lock(root, "fpve rollback"):
        found, damaged = manifests.load_all(root)
        newest = max({*found, *damaged})
        target = _target(root, found, newest, to)
        last = found[max(found)]
        manifest = publishing.successor(found[target], newest, operation="rollback", summary={"to": target})
        if _made_alike(last, manifest):
            manifest = _with_vectors_of(last, manifest, root)
        manifest = _with_what_was_said(last, manifest, root)
        publishing.publish(root, manifest)
    encodes_again = last.encoders["image"].fingerprint != manifest.encoders["image"].fingerprint
    return RolledBack(manifest.snapshot, target, encodes_again)


def content_of(found: Mapping[int, Manifest], number: int) -> int:
    """The number of the snapshot that first held what one holds: compaction and rollback publish nothing new."""
    while (manifest := found.get(number)) is not None:
        if manifest.operation == "compact" and manifest.parent is not None:
            number = manifest.parent
        elif manifest.operation == "rollback":
            number = manifest.summary["to"]
        else:
            break
    return number


def _target(root: Path, found: Mapping[int, Manifest], newest: int, to: int | None) -> int:
    """The number of the snapshot to go back to: `to`, or the newest before what the newest one holds."""
    content = content_of(found, newest)
    target = max((one for one in found if one < content), default=None) if to is None else to
    if target is not None and target in found and target != newest:
        return target
    older = ", ".join(str(one) for one in sorted(found) if one < (content if to is None else newest)) or "none"
    asked = "an older snapshot" if to is None else f"snapshot {to}"
    held = f", which holds what {content} held" if content != newest and to is None else ""
    raise StoreNotFound(f"{root}: can't go back to {asked}; the newest is {newest}{held}, before it there is {older}")


def _made_alike(newer: Manifest, older: Manifest) -> bool:
    """Whether the vectors of one can be those of the other."""
    theirs, ours = ([one.fingerprint for one in each.encoders.values()] for each in (newer, older))
    return theirs == ours and newer.fusion.mode == older.fusion.mode


def _with_vectors_of(newer: Manifest, manifest: Manifest, root: Path) -> Manifest:
    """A manifest that also names what a newer one has of vectors, thumbnails and prefixes, as far as it is there."""
    # All that the older one needs; `publish` says what of that is gone.
    segments = {one.name: one for one in manifest.segments}
    others = [one for one in newer.segments if one.name not in segments and is_there(root, one.file)]
    if not searched_alike(newer, manifest):
        others = _indexed(Snapshot(root, manifest), others)
    segments |= {one.name: one for one in others}
    added = [
        *only_new(root, newer.tables_named(THUMBNAILS), manifest.tables_named(THUMBNAILS), "content_hash"),
        *only_new(root, newer.tables_named(PREFIXES), manifest.tables_named(PREFIXES), "prefix_id"),
    ]
    return replace(
        manifest,
        segments=tuple(segments[name] for name in sorted(segments)),
        tables=manifests.sorted_tables((*manifest.tables, *added)),
    )


def _indexed(snapshot: Snapshot, segments: Iterable[Segment]) -> list[Segment]:
    """Segments with the indexes that a snapshot's means and predictions need; without those that are damaged."""
    found = []
    for one in segments:
        try:
            found.append(indexed(snapshot, one))
        except StoreCorrupt:
            continue
    return found


def only_new(root: Path, theirs: Iterable[Table], ours: Iterable[Table], key: str) -> list[Table]:
    """Files with what a newer snapshot's files of a table have beyond ours, each key once; a damaged one has nothing.

    A file that was merged since holds again what ours hold, and would stay beside them.
    """
    known = pa.concat_arrays([pa.array([], pa.string()), *(_keys(root, one, key) for one in ours)])
    added = []
    for one in theirs:
        keys = _keys(root, one, key) if is_there(root, one.file) else known
        new = pc.invert(pc.is_in(keys, value_set=known))
        if not pc.any(new).as_py():
            continue
        try:
            whole = pc.all(new).as_py()
            added.append(one if whole else write_table(root, one.name, read_tables(root, one.name, [one]).filter(new)))
        except StoreCorrupt:
            continue
        known = pa.concat_arrays([known, keys])
    return added


def _keys(root: Path, table: Table, key: str) -> pa.Array:
    try:
        return read_tables(root, table.name, [table], [key])[key].combine_chunks()
    except StoreCorrupt:
        return pa.array([], pa.string())


def _with_what_was_said(newer: Manifest, manifest: Manifest, root: Path) -> Manifest:
    """A manifest with a newer one's labels, corrected prefixes and answers of language models: no source gives them.

    Labels and corrections are the newer one's, unless these are gone; answers are those of both.
    """
    for name in (LABELS, CORRECTED):
        files = newer.tables_named(name)
        if all(is_there(root, one.file) for one in files):
            others = (one for one in manifest.tables if one.name != name)
            manifest = replace(manifest, tables=manifests.sorted_tables((*others, *files)))
    answers = only_new(root, newer.tables_named(GENERATED), manifest.tables_named(GENERATED), "generation_id")
    return replace(manifest, tables=manifests.sorted_tables((*manifest.tables, *answers)))
