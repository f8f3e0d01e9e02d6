"""Where vectors and features already are: in segments of the last snapshot, or in shards that wait to be published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.fusion import Floats, FusedRows, Fusion
from fpve.store import segments
from fpve.store.manifest import Segment
from fpve.store.pending import Recipe, Shard
from fpve.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Place:
    """A set of vector rows that can be looked up.

    Attributes:
        source: a segment of the last snapshot, or a finished shard.
        keys: names and norms of its rows.
        fusion: how they were made.
        as_they_are: whether this run can use the vectors themselves, or only the features in them.
        read: reads the vectors.
    """

    source: Segment | Shard
    keys: pa.Table
    fusion: Fusion
    as_they_are: bool
    read: Callable[[], FusedRows]


class Vectors:
    """All vector rows that a run can use instead of making them."""

    def __init__(self, recipe: Recipe, fusion: Fusion) -> None:
        self._recipe = recipe
        self._fusion = fusion
        self._places: dict[str, Place] = {}

    def take_up_segments(self, snapshot: Snapshot) -> None:
        """Add the segments of a snapshot, as far as this run's vision model made them."""
        theirs = recipe_of(snapshot)
        if theirs.image != self._recipe.image:
            return
        for segment in snapshot.manifest.segments:
            self._places[segment.name] = Place(
                segment,
                snapshot.segment_keys(segment),
                snapshot.fusion,
                as_they_are=theirs == self._recipe,
                read=lambda segment=segment: snapshot.segment_rows(segment),  # type: ignore[misc]
            )

    def take_up_shards(self, shards: Iterable[Shard]) -> None:
        """Add the finished shards of this run's own recipe."""
        for shard in shards:
            if shard.recipe == self._recipe and shard.name not in self._places:
                self._places[shard.name] = Place(
                    shard,
                    segments.read_keys(shard.rows_file),
                    self._fusion,
                    as_they_are=True,
                    read=lambda shard=shard: segments.read_fused(shard.rows_file),  # type: ignore[misc]
                )

    def locate(self, content_hash: pa.Array, prefix_id: pa.Array) -> pa.Table:
        """For each of n named vectors its `segment` and `row`; null where it has yet to be made."""
        wanted = _keys(content_hash, prefix_id)
        names: pa.Array = pa.nulls(len(wanted), pa.string())
        rows: pa.Array = pa.nulls(len(wanted), pa.int64())
        for name, place in self._places.items():
            if place.as_they_are and rows.null_count:
                found = pc.index_in(wanted, _keys(place.keys["content_hash"], place.keys["prefix_id"]))
                fresh = pc.and_(pc.is_valid(found), pc.is_null(rows))
                names = pc.if_else(fresh, pa.scalar(name), names)
                rows = pc.if_else(fresh, found.cast(pa.int64()), rows)
        return pa.table({"segment": names, "row": rows})

    def pictures(self) -> pa.Array:
        """Content hashes of pictures whose features can be recovered."""
        hashes = [_pictures(place)["content_hash"] for place in self._places.values()]
        chunks = [chunk for column in hashes for chunk in column.chunks]
        return pa.chunked_array(chunks, pa.string()).unique()

    def features(self, content_hashes: pa.Array) -> Iterator[tuple[str, Floats]]:
        """Recover the raw features (image_dim,) of pictures, each once; unknown ones are passed over."""
        waiting = content_hashes.unique()
        for place in self._places.values():
            pictures = _pictures(place)
            pictures = pictures.filter(pc.is_in(pictures["content_hash"], value_set=waiting))
            if not len(pictures):
                continue
            hashes = pictures["content_hash"].combine_chunks()
            distinct = hashes.unique()
            # Every row of a picture holds the same feature: take its first.
            rows = pictures["row"].take(pc.index_in(distinct, hashes)).to_numpy()
            fused = place.read()
            yield from zip(
                distinct.to_pylist(),
                place.fusion.unfuse(FusedRows(*(column[rows] for column in fused))).image,
                strict=True,
            )
            waiting = waiting.filter(pc.invert(pc.is_in(waiting, value_set=distinct)))

    def sources(self, names: set[str]) -> list[Segment | Shard]:
        """The segments and shards of these names, by name."""
        return [self._places[name].source for name in sorted(names)]


def recipe_of(snapshot: Snapshot) -> Recipe:
    """What made the vectors of a snapshot."""
    encoders = snapshot.manifest.encoders
    text = encoders["text"].fingerprint if "text" in encoders else None
    return Recipe(encoders["image"].fingerprint, text, snapshot.manifest.fusion.mode)


def _pictures(place: Place) -> pa.Table:
    """Content hashes of a place's rows that have an image block, with their row numbers."""
    rows = pa.table({"content_hash": place.keys["content_hash"], "row": pa.array(np.arange(len(place.keys)))})
    return rows.filter(pc.greater(place.keys["image_norm"], 0))


def _keys(content_hash: pa.ChunkedArray, prefix_id: pa.ChunkedArray) -> pa.Array:
    """Names of vectors as one column of strings; neither part has a `|` in it."""
    joined = pc.binary_join_element_wise(pc.fill_null(content_hash, ""), pc.fill_null(prefix_id, ""), "|")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
