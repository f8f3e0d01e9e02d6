"""Giving images the prefix that a person wrote, without running their job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fpve.analytics import rows_where
from fpve.engines.work import Target
from fpve.errors import PrefixError
from fpve.pipeline.align import with_derived
from fpve.pipeline.fuse import fuse
from fpve.pipeline.needs import without_vector
from fpve.pipeline.predict import with_predictions
from fpve.pipeline.vectors import Vectors
from fpve.planning.models import recipe_of
from fpve.prefixes import prefix_id, prefix_ids, without_blanks
from fpve.progress import SilentProgress
from fpve.queries import open_text_encoder
from fpve.replica import located
from fpve.store import manifest as manifests
from fpve.store import publishing, tables
from fpve.store.lock import writer_lock
from fpve.store.manifest import Collection, Manifest, Segment, Table
from fpve.store.pages import read_columns, read_pages, write_pages
from fpve.store.pending import Shard, adopt_rows, discard
from fpve.store.snapshot import Snapshot

_WRITER = "fpve prefix set"


@dataclass(frozen=True, slots=True)
class Corrected:
    """What became of prefixes.

    Attributes:
        matched: images for which the condition holds.
        changed: of them, those whose prefix is another now.
        fused: vectors that were made from stored features.
        snapshot: the newest snapshot afterwards.
        published: whether this made it.
    """

    matched: int
    changed: int
    fused: int
    snapshot: int
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)


def set_prefix(
    store: str | os.PathLike[str], *, where: str, text: str | None = None, undo: bool = False, wait: bool = False
) -> Corrected:
    """Give images a prefix that wins over their job's rules, in every run, until `undo`.

    Their vectors are made from stored features: no picture is opened. The table `corrected` says which images have such
    a prefix, since when, and what it took the place of.

    Args:
        store: path of the store.
        where: an SQL condition over the columns of `images`: to which. Undoing reaches images that are gone as well, of
            which nothing but the `image_id` is known.
        text: the prefix.
        undo: put back, instead, what the images had before; the next run says what the rules say by then.
        wait: wait for another writer of the store, instead of raising an error.

    Raises:
        StoreNotFound: there is no store.
        StoreLocked: another writer holds it, and is not waited for.
        QueryError: the condition is none.
        PrefixError: nothing of the text can be seen, or the store has no prefixes at all.
        EncoderMismatch: the text model is not the one that made the store.
    """
    root = located(store)
    manifests.load(root)
    wanted = _wanted(text, undo=undo)
    with writer_lock(root, _WRITER, waiting=nullcontext if wait else None):
        snapshot = Snapshot.open(root)
        if "text" not in snapshot.manifest.encoders:
            raise PrefixError(f"{root}: encodes no texts (encoders.text = 'none'), so that no image can have a prefix")
        corrected = snapshot.table(tables.CORRECTED)
        # Of what they hold some is written again: which prefixes images had, and whose vectors they need.
        there = snapshot.checked_images()
        # What was said of images that are gone can be taken back, too.
        images = _with_gone(there, corrected) if undo else there
        rows = rows_where(images, where)
        changes = _changes(corrected, images.select(["image_id", "prefix"]).take(pa.array(rows)), wanted)
        if not len(changes.images):
            return Corrected(len(rows), 0, 0, snapshot.manifest.snapshot, published=False)
        manifest, fused = _publish(snapshot, there, changes)
    return Corrected(len(rows), len(changes.images), fused, manifest.snapshot, published=True)


def _with_gone(images: pa.Table, corrected: pa.Table) -> pa.Table:
    """Image rows, and rows of which nothing but the id is known for corrected images that are not there."""
    gone = corrected["image_id"].filter(pc.invert(pc.is_in(corrected["image_id"], value_set=_ids(images))))
    rows = [gone if field.name == "image_id" else pa.nulls(len(gone), field.type) for field in images.schema]
    return pa.concat_tables([images, pa.table(rows, names=images.schema.names)], promote_options="permissive")


def _ids(images: pa.Table) -> pa.Array:
    return images["image_id"].combine_chunks()


def _wanted(text: str | None, *, undo: bool) -> str | None:
    """The text as prefixes hold it; None for undoing."""
    if (text is None) != undo:
        raise PrefixError(
            "prefix: expected either a text to set, or undo, found " + ("neither" if not undo else "both")
        )
    if text is None:
        return None
    seen = without_blanks(pa.array([text], pa.string()))[0].as_py()
    if seen is None:
        raise PrefixError(f"prefix: expected words, found {text!r}, of which nothing can be seen")
    return str(seen)


@dataclass(frozen=True, slots=True)
class _Changes:
    """Images that get another prefix.

    Attributes:
        images: (m rows) `image_id` and the new `prefix`, null for none.
        corrected: the table of corrections afterwards.
        is_new: whether the new prefixes are those of a person.
    """

    images: pa.Table
    corrected: pa.Table
    is_new: bool


def _changes(old: pa.Table, images: pa.Table, text: str | None) -> _Changes:
    ids = images["image_id"].combine_chunks()
    mine = pc.is_in(old["image_id"], value_set=ids)
    if text is None:
        back = old.filter(mine)
        changed = pa.table({"image_id": back["image_id"], "prefix": back["before"]})
        return _Changes(changed, old.filter(pc.invert(mine)), is_new=False)
    at = pc.index_in(ids, old["image_id"].combine_chunks())
    then = old["text"].combine_chunks().take(at)
    # An image whose job gives it the same text is held to it all the same: the job may say another one tomorrow. After
    # a rollback one that is held to it may have another.
    same = pc.and_(pc.equal(then, text), pc.equal(images["prefix"].combine_chunks(), text))
    keep = pc.invert(pc.fill_null(same, False))
    images, at = images.filter(keep), at.filter(keep)
    before = pc.if_else(at.is_valid(), old["before"].combine_chunks().take(at), images["prefix"].combine_chunks())
    now = pa.scalar(datetime.now(UTC), old.schema.field("at").type)
    fresh = pa.table(
        [images["image_id"], pa.repeat(text, len(images)), before, pa.repeat(now, len(images))], schema=old.schema
    )
    rest = old.filter(pc.invert(pc.is_in(old["image_id"], value_set=images["image_id"].combine_chunks())))
    changed = pa.table({"image_id": images["image_id"], "prefix": pa.repeat(text, len(images))})
    return _Changes(changed, pa.concat_tables([rest, fresh]).sort_by("image_id"), is_new=True)


def _publish(snapshot: Snapshot, images: pa.Table, changes: _Changes) -> tuple[Manifest, int]:
    root, last = snapshot.root, snapshot.manifest
    at = pc.index_in(changes.images["image_id"].combine_chunks(), images["image_id"].combine_chunks())
    # A correction that is undone may be of an image that is gone.
    there = changes.images.filter(at.is_valid())
    prefix = there["prefix"].combine_chunks()
    named = pa.table(
        {
            "image_id": there["image_id"],
            "content_hash": images["content_hash"].take(at.drop_null()),
            "prefix_id": prefix_ids(prefix),
            "prefix": prefix,
        }
    )
    vectors = Vectors(root, recipe_of(snapshot), snapshot.fusion, snapshot)
    fused = _fuse(snapshot, named, vectors)
    place = vectors.locate(named["content_hash"], named["prefix_id"])
    shards = [one for one in vectors.sources(set(place["segment"].unique().to_pylist())) if isinstance(one, Shard)]
    segments: dict[str, Segment] = {one.name: one for one in last.segments}
    for shard in shards:
        segments.setdefault(shard.name, adopt_rows(root, shard))
    named = named.append_column("segment", place["segment"]).append_column("row", place["row"])
    rest = tuple(one for one in last.tables if one.name != tables.CORRECTED)
    manifest = publishing.successor(
        last,
        last.snapshot,
        operation="prefix",
        collections=tuple(_moved(root, last, one, named) for one in last.collections),
        segments=tuple(segments[name] for name in sorted(segments)),
        tables=manifests.sorted_tables((*rest, *_tables(root, snapshot, changes))),
        summary={"prefix_changed": len(named)},
    )
    manifest = with_predictions(root, with_derived(root, manifest, last), last)
    publishing.publish(root, manifest)
    for shard in shards:
        discard(shard)
    return manifest, fused


def _fuse(snapshot: Snapshot, named: pa.Table, vectors: Vectors) -> int:
    """Make the vectors that there are not yet; how many these are."""
    missing = without_vector(
        named.select(["content_hash", "prefix_id", "prefix"]), vectors.locate(named["content_hash"], named["prefix_id"])
    )
    if not len(missing):
        return 0
    encoder = None
    if missing["prefix"].null_count < len(missing):
        encoder = open_text_encoder(snapshot.manifest.encoders["text"])
    target = Target(snapshot.root, recipe_of(snapshot), snapshot.fusion)
    return fuse(missing, vectors, target, encoder, SilentProgress()).rows


def _moved(root: Path, manifest: Manifest, collection: Collection, named: pa.Table) -> Collection:
    """A collection whose rows have the prefixes that images were given, and say where their vectors are now."""
    pages = list(collection.pages)
    for number, page in reversed(list(enumerate(collection.pages))):
        ids = read_columns(root, [page], ["image_id"])["image_id"].combine_chunks()
        at = pc.index_in(ids, named["image_id"].combine_chunks())
        if at.null_count == len(at):
            continue
        rows = read_pages(root, [page], manifest.columns)
        chosen = at.is_valid()
        for name in ("prefix", "prefix_id", "segment", "row"):
            column = pc.if_else(chosen, named[name].combine_chunks().take(at), rows[name].combine_chunks())
            field = rows.schema.field(name)
            rows = rows.set_column(rows.schema.get_field_index(name), field, column.cast(field.type))
        pages[number : number + 1] = write_pages(root, collection.name, rows, (page,))
    return replace(collection, pages=tuple(pages))


def _tables(root: Path, snapshot: Snapshot, changes: _Changes) -> Iterator[Table]:
    """The corrections, and the prefix if no image ever had it."""
    if len(changes.corrected):
        yield tables.write_table(root, tables.CORRECTED, changes.corrected)
    known = set(snapshot.table(tables.PREFIXES, ["prefix_id"])["prefix_id"].to_pylist())
    text = changes.images["prefix"][0].as_py() if changes.is_new else None
    if text is not None and prefix_id(text) not in known:
        row = {
            "prefix_id": prefix_id(text),
            "text": text,
            "origin": "corrected",
            "created_at": datetime.now(UTC),
        }
        yield tables.write_table(root, tables.PREFIXES, pa.Table.from_pylist([row], tables.SCHEMAS[tables.PREFIXES]))
