"""Tables whose files are damaged, made again as far as that can be: from pages, from sources, from vectors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpve import images
from fpve.errors import ImageError, SourceError, StoreCorrupt
from fpve.maintenance.notes import Notes
from fpve.maintenance.rollback import only_new
from fpve.prefixes import prefix_id
from fpve.sources.names import raw_paths
from fpve.sources.places import full_path
from fpve.sources.stored import read_stored
from fpve.store import manifest as manifests
from fpve.store import means, pages, tables
from fpve.store.answers import AnswerLog
from fpve.store.files import NAME_DIGITS, at_hand, our_files, ref, sha256_of
from fpve.store.imported import is_imported
from fpve.store.manifest import Manifest, Table
from fpve.store.parquet import read_parquet
from fpve.store.snapshot import Snapshot

# 20 MB of thumbnails.
_THUMBNAILS_AT_ONCE = 4_096


def remade(snapshot: Snapshot, name: str, sound: list[Table], notes: Notes) -> list[Table]:
    """Files that hold again what damaged files of a table held, as far as that can be known.

    Args:
        snapshot: without what is damaged.
        name: of the table; not one that is derived from vectors.
        sound: its other files.
        notes: where to say it.
    """
    if name == tables.PREFIXES:
        return _prefixes(snapshot, sound, notes)
    if name == tables.THUMBNAILS:
        return _thumbnails(snapshot, sound, notes)
    if name == tables.GENERATED:
        notes.lost.append("generated: answers of language models; the next run asks again for those that images need")
        return rescued_answers(snapshot.root, sound, notes)
    if name == tables.CORRECTED:
        notes.lost.append("corrected: texts that people gave; pages hold them until the next run")
        return []
    if name == tables.LABELS:
        notes.lost.append("labels: pages hold their values until the next run, which puts the job's own in their place")
        return []
    if name == tables.QUARANTINE:
        notes.taken_out.append("quarantine: inputs that can't be encoded; the next run looks at them again")
        notes.lost.append("quarantine: when its inputs were first seen")
        return []
    notes.lost.append(f"{name}: what its damaged file held, and no other")
    return []


def whole_files(root: Path, name: str) -> Iterable[Path]:
    """Files of a table, named by a manifest or not, whose content is what their name says."""
    for path in our_files(root, f"tables/{name}"):
        here = at_hand(root, path.relative_to(root).as_posix())
        if path.suffix == ".parquet" and here.exists() and sha256_of(here)[:NAME_DIGITS] == path.stem:
            yield here


def rescued_answers(root: Path, sound: list[Table], notes: Notes) -> list[Table]:
    """Files with the answers of language models that lie in the store beside those of `sound` files.

    They are in files of older snapshots, or in such as only a damaged manifest names: each was paid for.
    """
    known = {one.file.path for one in sound}
    others = []
    for path in whole_files(root, tables.GENERATED):
        file = ref(root, path)
        if file.path not in known:
            others.append(Table(tables.GENERATED, file, len(read_parquet(path, columns=["generation_id"]))))
    found = only_new(root, others, sound, "generation_id")
    if found:
        notes.rebuilt.append(f"generated: {sum(one.rows for one in found):,} answers, which other files hold as well")
    return found


def kept_answers(root: Path, notes: Notes) -> None:
    """Keep the answers of language models for the next run, where no snapshot is left that could name them."""
    log = AnswerLog(root)
    known = set(log.read()["generation_id"].to_pylist())
    for path in whole_files(root, tables.GENERATED):
        for row in read_parquet(path).to_pylist():
            if row["generation_id"] not in known:
                log.append(row)
                known.add(row["generation_id"])
    log.keep()
    if known:
        notes.rebuilt.append(f"generated: {len(known):,} answers, which are kept for the next run")


def fitted_again(root: Path, found: Mapping[int, Manifest], file: str) -> bool:
    """Make a damaged table of means again to the bit, if the snapshot in which they were fitted is still there.

    Args:
        root: the store.
        found: its snapshots.
        file: the damaged file.

    Returns:
        Whether it is whole now, for all snapshots that name it.
    """
    users = [one for one in found.values() if any(table.file.path == file for table in one.tables)]
    refs = {one.fusion.centred for one in users}
    first = next((found.get(one.snapshot) for one in refs if one is not None), None)
    if first is None or len(refs) != 1 or first not in users:
        return False
    rest = [one for one in first.tables if one.name != tables.MEANS]
    # The mean of one block may have been there before that of the other.
    before = found.get(first.parent) if first.parent is not None else None
    for earlier in (None, before):
        known = earlier.fusion.centred if earlier is not None else None
        old = earlier.tables_named(tables.MEANS) if earlier is not None else ()
        unsettled = replace(
            first, fusion=replace(first.fusion, centred=known), tables=manifests.sorted_tables((*rest, *old))
        )
        try:
            again = means.settled(root, unsettled)
        except StoreCorrupt:
            continue
        if again == first:
            return True
    return False


def _prefixes(snapshot: Snapshot, sound: list[Table], notes: Notes) -> list[Table]:
    """Prefixes of the images, which pages hold too; not where they came from before that."""
    known = tables.read_tables(snapshot.root, tables.PREFIXES, sound, ["prefix_id"])["prefix_id"]
    now = datetime.fromisoformat(snapshot.manifest.created_at)
    found: set[str] = set()
    for collection in snapshot.manifest.collections:
        rows = pages.read_columns(snapshot.root, collection.pages, ["prefix_id", "prefix"]).drop_null()
        texts = rows.filter(pc.invert(pc.is_in(rows["prefix_id"], value_set=known.combine_chunks())))["prefix"]
        found |= set(texts.unique().to_pylist())
    notes.rebuilt.append(f"prefixes: {len(found):,} texts, from the pages")
    notes.lost.append("prefixes: where the damaged ones came from, and when, and those that no image has any more")
    made = {prefix_id(text): {"text": text, "origin": "page", "created_at": now} for text in found}
    table = pa.Table.from_pylist(
        [{"prefix_id": name, **made[name]} for name in sorted(made)], tables.SCHEMAS[tables.PREFIXES]
    )
    return [tables.write_table(snapshot.root, tables.PREFIXES, table)] if made else []


def _thumbnails(snapshot: Snapshot, sound: list[Table], notes: Notes) -> list[Table]:
    """Thumbnails of pictures that have none, made from their files; those of one file of theirs are held in memory."""
    known = tables.read_tables(snapshot.root, tables.THUMBNAILS, sound, ["content_hash"])["content_hash"]
    missing: dict[str, list[bytes]] = {}
    for collection in snapshot.manifest.collections:
        if is_imported(collection):
            # Of vectors alone there never was one.
            continue
        rows = pages.read_columns(snapshot.root, collection.pages, ["path", "content_hash"])
        rows = rows.filter(pc.invert(pc.is_in(rows["content_hash"], value_set=known.combine_chunks())))
        for path, content_hash in zip(rows["path"].to_pylist(), rows["content_hash"].to_pylist(), strict=True):
            folder = os.fsencode(collection.folder or collection.source)
            files = (full_path(folder, one) for one in raw_paths(path))
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
