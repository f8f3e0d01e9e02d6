"""What is searched, derived from what is stored: vector rows, centred where the store is, with predicted prefixes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.fusion import Centre, Floats, Fusion
from fpve.store import segments
from fpve.store.files import NAME_DIGITS, at_hand, checked
from fpve.store.manifest import Manifest, Segment
from fpve.store.snapshot import Snapshot
from fpve.store.tables import MEANS, PREDICTED


def searched_fusion(snapshot: Snapshot) -> Fusion:
    """How a snapshot's own indexes are made, and its queries: its fusion with its centre."""
    stored = snapshot.fusion
    return Fusion(stored.image_dim, stored.prefix_dim, stored.mode, snapshot.centre)


def searched_vectors(
    snapshot: Snapshot, segment: Segment, fusion: Fusion, *, predicted: bool = True, verified: bool = False
) -> Iterator[Floats]:
    """The searched vectors (n, dim) of each row group of a segment, one after the other, from Parquet.

    Args:
        snapshot: whose segment.
        segment: its rows.
        fusion: mode and centre of what is searched; the snapshot's own or others.
        predicted: whether rows without a prefix get the block that was predicted for their picture.
        verified: whether its file has just been compared with its checksum.

    Raises:
        StoreCorrupt: the rows, or the predictions, are missing or damaged.
    """
    with snapshot.reading():
        path = at_hand(snapshot.root, segment.file.path) if verified else checked(snapshot.root, segment.file)
    stored = snapshot.fusion
    for content_hash, rows in segments.read_parts(path):
        guessed = None
        if predicted and snapshot.has_predictions:
            places = _predicted_at(snapshot.predicted.content_hash, content_hash, rows.prefix_norm)
            if np.any(places >= 0):
                guessed = np.zeros((len(places), stored.prefix_dim), np.float32)
                guessed[places >= 0] = snapshot.predicted.vectors[places[places >= 0]]
        yield fusion.searched(stored.rescale(rows, fusion.mode), guessed)


def searched_alike(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests have the same means and predictions, so that an index for one is right for the other."""
    return all(one.tables_named(name) == other.tables_named(name) for name in (MEANS, PREDICTED))


def digest_of(snapshot: Snapshot, segment: Segment, centre: Centre | None, *, predicted: bool = True) -> str:
    """What tells a segment's searched vectors from others of the same rows; empty where they are the rows themselves.

    It covers the means, and those predictions that a row of the segment takes: others may come and go.
    """
    digest = hashlib.sha256(f"centre:{centre.version};".encode() if centre is not None else b"")
    plain = centre is None
    if predicted and snapshot.has_predictions:
        keys = snapshot.segment_keys(segment)
        bare = pc.equal(keys["prefix_norm"], 0)
        # Most segments of a captioned collection take none: only names are read for them.
        if pc.any(pc.and_(bare, pc.is_in(keys["content_hash"], value_set=snapshot.predicted_content))).as_py():
            content = keys["content_hash"].combine_chunks()
            places = _predicted_at(snapshot.predicted.content_hash, content, keys["prefix_norm"].to_numpy())
            rows = np.flatnonzero(places >= 0)
            digest.update(rows.tobytes())
            digest.update(snapshot.predicted.vectors[places[rows]].tobytes())
            plain = False
    return "" if plain else digest.hexdigest()[:NAME_DIGITS]


def _predicted_at(known: pa.Array, content_hash: pa.Array, prefix_norm: Floats) -> NDArray[np.int64]:
    """(n,) which prediction each row takes; -1 where it has a prefix, or there is no prediction for its picture."""
    found = pc.fill_null(pc.index_in(content_hash, value_set=known, skip_nulls=True), -1).to_numpy()
    places: NDArray[np.int64] = np.where(prefix_norm == 0, found, -1).astype(np.int64)
    return places
