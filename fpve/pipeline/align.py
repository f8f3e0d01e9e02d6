"""Prefixes predicted from pictures, so that a text finds those that nobody captioned; they follow the captions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.alignment import Alignment, Fitted, Settings, fit_alignment
from fpve.errors import AlignmentError
from fpve.fusion import Blocks
from fpve.index import reindexed
from fpve.mapper import Mapper
from fpve.progress import Progress, SilentProgress
from fpve.replica import located
from fpve.selection import codes_of
from fpve.splits import components
from fpve.store import manifest as manifests
from fpve.store import means, pages, publishing, tables
from fpve.store.encoding import AlignmentRef
from fpve.store.heads import with_fitting_heads
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot

_WRITER = "fpve align"
# A map that was fitted to few captions is fitted again when there are so many times as many.
GROWTH = 1.25
# 50,000 rows of 1,664 numbers are 333 MB; more tell the map no more that it could hold.
MAX_ROWS = 50_000
# Predictions that are made and written at once: 25 MB.
_AT_ONCE = 16_384
_ARRAYS = ("image_mean", "prefix_mean", "landmarks", "targets", "coefficients")


@dataclass(frozen=True, slots=True)
class Aligned:
    """What became of a store's alignment.

    Attributes:
        predicted: how many pictures without a prefix have a predicted block now.
        rows: how many captioned pictures the map was fitted to.
        prefixes: how many distinct prefixes the store's images had then.
        held_out: how many of them were held out to measure.
        recall: by k of 1, 5 and 10: share of held-out prefixes that find a picture of theirs among the first k.
        ridge, chance: that of plain ridge regression, and of random ranks.
        snapshot: the newest snapshot afterwards.
        published: whether this made it.
    """

    predicted: int
    rows: int
    prefixes: int
    held_out: int
    recall: dict[str, float]
    ridge: dict[str, float]
    chance: dict[str, float]
    snapshot: int
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


def align(
    store: str | os.PathLike[str], *, off: bool = False, wait: bool = False, progress: Progress | None = None
) -> Aligned:
    """Predict prefix blocks for pictures without a prefix, and publish them; from now on runs predict them, too.

    The map is learnt from the pictures with a prefix, and measured on a half of them that it has not seen. A prediction
    never takes the place of a real prefix, is flagged in hits (`prefix_predicted`), and takes no part in evaluation or
    classification. Neither model runs.

    Args:
        store: path of the store.
        off: drop the predictions and the map instead.
        wait: wait for another writer of the store, instead of raising an error.
        progress: is told of the stages.

    Raises:
        StoreNotFound: there is no store.
        StoreLocked: another writer holds it, and is not waited for.
        AlignmentError: too few pictures have a prefix of their own to learn from.
        StoreCorrupt: a file of the store is damaged.
    """
    root = located(store)
    manifests.load(root)
    with writer_lock(root, _WRITER, waiting=nullcontext if wait else None):
        last = manifests.load(root)
        manifest = publishing.successor(last, last.snapshot, operation="align")
        with (progress or SilentProgress()).stage("align", 1) as stage:
            manifest = _without(manifest) if off else _as_before(_fitted(Snapshot(root, manifest)), last)
            stage.advance()
        manifest = replace(manifest, segments=reindexed(Snapshot(root, manifest), last))
        published = not manifest.says_the_same(last)
        if published:
            publishing.publish(root, manifest)
    return _result(manifest if published else last, published=published)


def with_derived(root: Path, manifest: Manifest, last: Manifest | None, *, over: Mapper | None = None) -> Manifest:
    """A manifest that is to be published, with what its vectors are searched by: means, predictions and indexes.

    Heads that learnt from vectors of other encoders, of another mode, or with other means, are not in it any more.

    Args:
        root: the store; the files that the manifest names are there.
        manifest: what is to be published; new segments have no index yet.
        last: the manifest that it follows, if there is one.
        over: builds indexes elsewhere.

    Raises:
        StoreCorrupt: a page, a segment, the means or the map is missing or damaged.
        OSError: an index can't be written.
    """
    manifest = aligned(root, with_fitting_heads(means.settled(root, manifest)))
    return replace(manifest, segments=reindexed(Snapshot(root, manifest), last, over=over))


def aligned(root: Path, manifest: Manifest) -> Manifest:
    """A manifest that is to be published, with predictions for its pictures, if its store is to have them.

    The map is fitted again when there are a quarter more prefixes than it has seen; until then it only predicts what is
    new. Indexes are to be made to fit afterwards.

    Args:
        root: the store; the files that the manifest names are there.
        manifest: what is to be published.

    Raises:
        StoreCorrupt: a page, a segment or the map is missing or damaged.
    """
    if manifest.alignment is None:
        return manifest
    snapshot = Snapshot(root, manifest)
    named = _named(snapshot)
    if _prefixes(named) >= GROWTH * manifest.alignment.prefixes or not manifest.tables_named(tables.ALIGNMENT):
        try:
            return _fitted(snapshot)
        except AlignmentError:
            # Too little is captioned by now; what there is stands, and if there is nothing, some night there will be.
            if not manifest.tables_named(tables.ALIGNMENT):
                return replace(_without(manifest), alignment=AlignmentRef())
    wanted = _uncaptioned(named)
    wanted = wanted.filter(pc.invert(pc.is_in(wanted["content_hash"], value_set=snapshot.predicted_content)))
    if not len(wanted):
        return manifest
    added = _predict(snapshot, read_alignment(snapshot), wanted)
    return replace(manifest, tables=manifests.sorted_tables((*manifest.tables, added)))


def learning_rows(snapshot: Snapshot, *, seed: int = 0) -> tuple[Blocks, NDArray[np.int64]]:
    """Unit blocks of distinct pictures with a prefix, at most MAX_ROWS, and the groups (n,) that tie them together.

    Raises:
        StoreCorrupt: a page or a segment is missing or damaged.
    """
    named = _named(snapshot)
    captioned = named.filter(named["prefix_id"].is_valid())
    places = captioned.group_by(["content_hash", "prefix_id"], use_threads=False).aggregate(
        [("segment", "first"), ("row", "first")]
    )
    if len(places) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(places), MAX_ROWS, replace=False))
        places = places.take(pa.array(chosen))
    places = places.sort_by([("segment_first", "ascending"), ("row_first", "ascending")])
    codes = [codes_of(places[name]) for name in ("content_hash", "prefix_id")]
    parts = list(_blocks(snapshot, places["segment_first"], places["row_first"].to_numpy()))
    fusion = snapshot.fusion
    empty = Blocks(np.zeros((0, fusion.image_dim), np.float32), np.zeros((0, fusion.prefix_dim), np.float32))
    image, prefix = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
    return Blocks(image, prefix), components(codes)


def read_alignment(snapshot: Snapshot) -> Alignment:
    """The map that a snapshot's predictions are made by.

    Raises:
        StoreCorrupt: it is missing or damaged.
    """
    ref = snapshot.manifest.alignment
    if ref is None:
        raise ValueError("expected a snapshot with an alignment")
    rows = snapshot.table(tables.ALIGNMENT).combine_chunks()
    shapes = dict(zip(rows["name"].to_pylist(), rows["shape"].to_pylist(), strict=True))
    arrays = {name: rows["values"][at].values.to_numpy().reshape(shapes[name]) for at, name in enumerate(shapes)}
    return Alignment(**{name: arrays[name] for name in _ARRAYS}, settings=Settings(**ref.settings), norm=ref.norm)


def _as_before(manifest: Manifest, last: Manifest) -> Manifest:
    """A manifest with the map that the last one has, if it is the same one, fitted once more."""
    if manifest.alignment is None or last.alignment is None:
        return manifest
    same = replace(manifest.alignment, snapshot=last.alignment.snapshot) == last.alignment
    return replace(manifest, alignment=last.alignment) if same else manifest


class _Map(NamedTuple):
    table: manifests.Table
    ref: AlignmentRef


def _fitted(snapshot: Snapshot) -> Manifest:
    """The manifest of a snapshot with a map that is learnt from it, and all its predictions.

    Raises:
        AlignmentError: too few pictures have a prefix of their own.
    """
    manifest = snapshot.manifest
    if not snapshot.fusion.prefix_dim:
        raise AlignmentError(
            f"{snapshot.root}: encodes no texts (encoders.text = 'none'), so that there is no prefix to learn from"
        )
    blocks, groups = learning_rows(snapshot)
    centre = snapshot.centre
    fitted = fit_alignment(*blocks, groups, centre=None if centre is None else centre.prefix)
    named = _named(snapshot)
    found = _written(snapshot, fitted, _prefixes(named))
    rest = tuple(one for one in manifest.tables if one.name not in (tables.PREDICTED, tables.ALIGNMENT))
    wanted = _uncaptioned(named)
    predicted = [_predict(snapshot, fitted.alignment, wanted)] if len(wanted) else []
    return replace(manifest, alignment=found.ref, tables=manifests.sorted_tables((*rest, found.table, *predicted)))


def _written(snapshot: Snapshot, fitted: Fitted, prefixes: int) -> _Map:
    alignment = fitted.alignment
    arrays = {name: np.asarray(getattr(alignment, name), np.float32) for name in _ARRAYS}
    rows = [{"name": name, "shape": list(one.shape), "values": one.ravel()} for name, one in sorted(arrays.items())]
    table = pa.Table.from_pylist(rows, tables.SCHEMAS[tables.ALIGNMENT])
    recall, ridge, chance = (
        {str(k): round(share, 6) for k, share in one.items()} for one in (fitted.recall, fitted.ridge, fitted.chance)
    )
    ref = AlignmentRef(
        snapshot=snapshot.manifest.snapshot,
        rows=fitted.rows,
        # All of the store's, by which it is told that there are many new ones; the map may have seen fewer.
        prefixes=prefixes,
        held_out=fitted.held_out,
        recall=recall,
        ridge=ridge,
        chance=chance,
        settings=asdict(alignment.settings),
        norm=float(alignment.norm),
    )
    return _Map(tables.write_table(snapshot.root, tables.ALIGNMENT, table), ref)


def _without(manifest: Manifest) -> Manifest:
    kept = tuple(one for one in manifest.tables if one.name not in (tables.PREDICTED, tables.ALIGNMENT))
    return replace(manifest, alignment=None, tables=kept)


def _named(snapshot: Snapshot) -> pa.Table:
    """Content, prefix and place of all images' vectors."""
    files = [page for one in snapshot.manifest.collections for page in one.pages]
    return pages.read_columns(snapshot.root, files, ["content_hash", "prefix_id", "segment", "row"])


def _prefixes(named: pa.Table) -> int:
    """How many distinct prefixes images have."""
    return int(pc.count_distinct(named["prefix_id"]).as_py())


def _uncaptioned(named: pa.Table) -> pa.Table:
    """Content and place of the pictures that an image without a prefix has, each once, in the order of their places."""
    bare = named.filter(named["prefix_id"].is_null())
    found = bare.group_by("content_hash", use_threads=False).aggregate([("segment", "first"), ("row", "first")])
    return found.sort_by([("segment_first", "ascending"), ("row_first", "ascending")])


def _predict(snapshot: Snapshot, alignment: Alignment, wanted: pa.Table) -> manifests.Table:
    """Write predictions for pictures, as `_uncaptioned` names them."""
    schema = tables.SCHEMAS[tables.PREDICTED]

    def parts() -> Iterator[pa.Table]:
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted.slice(start, _AT_ONCE)
            blocks = list(_blocks(snapshot, part["segment_first"], part["row_first"].to_numpy()))
            image = np.concatenate([one.image for one in blocks])
            vectors = alignment.predict(image) * np.float32(alignment.norm)
            offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
            lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
            yield pa.table([part["content_hash"], lists], schema=schema)

    return tables.write_table(snapshot.root, tables.PREDICTED, parts())


def _blocks(snapshot: Snapshot, segment: pa.ChunkedArray, row: NDArray[np.int64]) -> Iterator[Blocks]:
    """Unit blocks of vector rows, which are in the order of their segments: those of one segment at a time."""
    known = {one.name: one for one in snapshot.manifest.segments}
    names = segment.combine_chunks()
    for name in names.unique().to_pylist():
        mine = pc.equal(names, name).to_numpy(zero_copy_only=False)
        yield snapshot.fusion.units(snapshot.segment_rows(known[name], row[mine]).vectors)


def _result(manifest: Manifest, *, published: bool) -> Aligned:
    ref = manifest.alignment or AlignmentRef()
    return Aligned(
        predicted=sum(one.rows for one in manifest.tables_named(tables.PREDICTED)),
        rows=ref.rows,
        prefixes=ref.prefixes,
        held_out=ref.held_out,
        recall=ref.recall,
        ridge=ref.ridge,
        chance=ref.chance,
        snapshot=manifest.snapshot,
        published=published,
    )
