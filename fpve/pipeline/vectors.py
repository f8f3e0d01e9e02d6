"""Where vectors and features already are: in segments of the last snapshot, or in shards that wait to be published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.fusion import Floats, FusedRows, Fusion
from fpve.planning.models import recipe_of
from fpve.store import segments
from fpve.store.imported import are_vectors
from fpve.store.manifest import Segment
from fpve.store.pages import by_segment, read_columns
from fpve.store.pending import Recipe, Shard, finished_shards
from fpve.store.snapshot import Snapshot
from fpve.store.tables import THUMBNAILS


class Vectors:
    """The vector rows that a run can use instead of making them.

    Most nights change little, so rows that images of the last snapshot have are looked at first, and pages name these;
    the names of dead rows and of those in finished shards are read only if these do not suffice. Of a segment of which
    images name every row nothing is read but the features that are asked for: there may be thousands.
    """

    def __init__(self, root: Path, recipe: Recipe, fusion: Fusion, previous: Snapshot | None) -> None:
        self._root = root
        self._recipe = recipe
        self._fusion = fusion
        theirs = recipe_of(previous) if previous is not None else None
        # With the same vision model the features in old vectors are of use, whatever they were fused with.
        self._features_from = previous if theirs is not None and theirs.image == recipe.image else None
        self._vectors_from = previous if theirs == recipe else None
        self._all: pa.Table | None = None
        # Shards that pictures' features were taken from, and that their thumbnails are in.
        self._lent: set[str] = set()
        self._finished: dict[str, Shard] = {}
        self._looked = False
        self._written: set[str] = set()

    @property
    def keeps_features(self) -> bool:
        """Whether every picture of the last snapshot is encoded already."""
        return self._features_from is not None

    @property
    def keeps_vectors(self) -> bool:
        """Whether every image of the last snapshot has its vector already, as long as its prefix is the same."""
        return self._vectors_from is not None

    def changed(self, written: Iterable[str] = ()) -> None:
        """Look for shards again: there are new ones, among them those that were `written` under these names."""
        self._all, self._looked = None, False
        self._written.update(written)

    def unencoded(self, content_hashes: pa.Array) -> pa.Array:
        """(n,) for which content hashes no picture has been encoded; null is one of them."""
        known = pc.drop_null(content_hashes)
        if not len(known):
            return pa.repeat(True, len(content_hashes))
        alive = _one(self._alive["content_hash"]) if self.keeps_features else None
        if alive is None or not pc.all(pc.is_in(known, value_set=alive)).as_py():
            alive = _one(self._pictures()["content_hash"])
        return pc.invert(pc.is_in(content_hashes, value_set=alive, skip_nulls=True))

    def encoded_hashes(self) -> frozenset[str]:
        """All content hashes of encoded pictures."""
        return frozenset(self._pictures()["content_hash"].to_pylist())

    def locate(self, content_hash: pa.Array, prefix_id: pa.Array) -> pa.Table:
        """For each of n named vectors its `segment` and `row`; null where it has yet to be made."""
        if not len(content_hash):
            return _PLACES.empty_table()
        wanted = _names(content_hash, prefix_id)
        if self.keeps_vectors:
            found = pc.index_in(wanted, _names(self._alive["content_hash"], self._alive["prefix_id"]))
            if not found.null_count:
                # Pages know no nulls in these columns; collections are put together whichever way they were found.
                return self._alive.select(_PLACES.names).take(found).cast(_PLACES)
        rows = self._every_row()
        rows = rows.filter(rows["as_it_is"])
        return rows.select(_PLACES.names).take(pc.index_in(wanted, _names(rows["content_hash"], rows["prefix_id"])))

    def features(self, content_hashes: pa.Array) -> Iterator[tuple[str, Floats]]:
        """Recover the raw features (image_dim,) of pictures, each once; unknown ones are passed over."""
        pictures = self._pictures()
        wanted = content_hashes.unique()
        # Every row of a picture holds the same feature: the first will do.
        rows = pictures.take(pc.drop_null(pc.index_in(wanted, _one(pictures["content_hash"]))))
        for name, numbers in by_segment(rows):
            mine = rows.take(pa.array(numbers))
            self._lent.add(name)
            fusion, chosen = self._read(name, mine["row"].to_numpy())
            yield from zip(mine["content_hash"].to_pylist(), fusion.unfuse(chosen).image, strict=True)

    def embeddings(self, prefix_ids: pa.Array) -> dict[str, Floats]:
        """Recover the raw embeddings (prefix_dim,) of prefixes by their ids; those that no vector has are left out."""
        rows = self._every_row()
        if self._features_from is not None and recipe_of(self._features_from).text != self._recipe.text:
            # Of another text model only what was made since is of use.
            rows = rows.filter(
                pc.invert(pc.is_in(rows["segment"], value_set=pa.array(list(self._segments), pa.string())))
            )
        # Nobody knows what embedded the prefixes of vectors that were imported.
        rows = rows.filter(pc.invert(are_vectors(rows["content_hash"])))
        rows = rows.take(pc.drop_null(pc.index_in(prefix_ids.unique(), _one(rows["prefix_id"]), skip_nulls=True)))
        found: dict[str, Floats] = {}
        for name, numbers in by_segment(rows):
            mine = rows.take(pa.array(numbers))
            fusion, chosen = self._read(name, mine["row"].to_numpy())
            found.update(zip(mine["prefix_id"].to_pylist(), fusion.unfuse(chosen).prefix, strict=True))
        return found

    def sources(self, names: set[str]) -> list[Segment | Shard]:
        """The published segments and the shards of these names, and the shards that pictures were taken from."""
        published, shards = self._segments, self._shards()
        return [published.get(name) or shards[name] for name in sorted(names | (self._lent & set(shards)))]

    @cached_property
    def _alive(self) -> pa.Table:
        """Names and places of the vectors that images of the last snapshot have."""
        collections = self._features_from.manifest.collections if self._features_from is not None else ()
        return read_columns(self._root, [page for one in collections for page in one.pages], _NAMED)

    def _every_row(self) -> pa.Table:
        """Names and places of all rows, whether they have an image block, and whether they can be used as they are."""
        if self._all is None:
            parts = [
                _places(shard.name, shard.read_keys(), True)
                for shard in self._shards().values()
                if shard.name not in self._segments
            ]
            self._all = pa.concat_tables([self._published, *parts]).combine_chunks()
        return self._all

    @cached_property
    def _published(self) -> pa.Table:
        """The rows of the last snapshot's segments that are of use, as `_every_row` has them."""
        previous, as_they_are = self._features_from, self._vectors_from is not None
        if previous is None:
            return _ROWS.empty_table()
        whole = self._named_wholly()
        alive = self._alive.filter(pc.is_in(self._alive["segment"], value_set=pa.array(list(whole), pa.string())))
        parts = [
            _places(name, previous.segment_keys(segment), as_they_are)
            for name, segment in self._segments.items()
            if name not in whole
        ]
        if parts:
            rows = pa.concat_tables(parts)
            usable = pc.is_in(rows["content_hash"], value_set=self._seen(previous))
            parts = [rows.filter(pc.or_(usable, are_vectors(rows["content_hash"])))]
        # Whatever an image names was made of its picture.
        count = len(alive)
        known = [alive["content_hash"].is_valid(), pa.repeat(as_they_are, count)]
        return pa.concat_tables([pa.table([*alive.select(_NAMED).columns, *known], schema=_ROWS), *parts])

    def _named_wholly(self) -> dict[str, Segment]:
        """The last snapshot's segments of which images name every row."""
        starts = np.cumsum([0, *(segment.rows for segment in self._segments.values())])
        number = pc.index_in(self._alive["segment"], value_set=pa.array(list(self._segments), pa.string()))
        named = np.zeros(starts[-1], bool)
        named[starts[number.to_numpy()] + self._alive["row"].to_numpy()] = True
        upto = np.concatenate([[0], np.cumsum(named)])
        is_whole = upto[starts[1:]] - upto[starts[:-1]] == np.diff(starts)
        return {
            name: one for (name, one), whole in zip(self._segments.items(), is_whole.tolist(), strict=True) if whole
        }

    def _seen(self, previous: Snapshot) -> pa.Array:
        """Content whose size and thumbnail are known: a picture that comes back without them is encoded again.

        Imported vectors have none to come back without.
        """
        thumbnails = previous.table(THUMBNAILS, ["content_hash"])["content_hash"]
        return pa.concat_arrays([_one(self._alive["content_hash"]), _one(thumbnails)])

    def _pictures(self) -> pa.Table:
        rows = self._every_row()
        return rows.filter(rows["has_image"])

    @cached_property
    def _segments(self) -> dict[str, Segment]:
        """The last snapshot's segments by their names."""
        previous = self._features_from
        return {} if previous is None else {one.name: one for one in previous.manifest.segments}

    def _shards(self) -> dict[str, Shard]:
        if not self._looked:
            found = finished_shards(self._root, self._finished, self._written)
            self._finished = {shard.name: shard for shard in found if shard.recipe == self._recipe}
            self._looked = True
        return self._finished

    def _read(self, name: str, rows: NDArray[np.int64]) -> tuple[Fusion, FusedRows]:
        segment = self._segments.get(name)
        if segment is not None and self._features_from is not None:
            return self._features_from.fusion, self._features_from.segment_rows(segment, rows)
        return self._fusion, segments.read_chosen(self._shards()[name].rows_file, rows)


_ROWS = pa.schema(
    [
        pa.field("content_hash", pa.string()),
        pa.field("prefix_id", pa.string()),
        pa.field("segment", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("has_image", pa.bool_()),
        pa.field("as_it_is", pa.bool_()),
    ]
)
_PLACES = pa.schema([_ROWS.field("segment"), _ROWS.field("row")])
# What pages say of them, too.
_NAMED = ["content_hash", "prefix_id", "segment", "row"]


def _places(name: str, keys: pa.Table, as_they_are: bool) -> pa.Table:
    count = len(keys)
    arrays = [
        keys["content_hash"],
        keys["prefix_id"],
        pa.array([name] * count, pa.string()),
        pa.array(np.arange(count)),
        pc.greater(keys["image_norm"], 0),
        pa.array(np.full(count, as_they_are)),
    ]
    return pa.table(arrays, schema=_ROWS)


def _names(content_hash: pa.ChunkedArray, prefix_id: pa.ChunkedArray) -> pa.Array:
    """Names of vectors as one column of strings; neither part has a `|` in it."""
    return _one(pc.binary_join_element_wise(pc.fill_null(content_hash, ""), pc.fill_null(prefix_id, ""), "|"))


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
