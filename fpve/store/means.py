"""The means by which searched vectors are centred: fitted over a store's own blocks, frozen until these have grown."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.fusion import Centre, Floats
from fpve.store import manifest as manifests
from fpve.store import pages, segments, tables
from fpve.store.encoding import CentreRef
from fpve.store.files import NAME_DIGITS, checked
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot

# A mean of few blocks is made of these blocks themselves: less it, two are opposite, and none says what it said.
MIN_BLOCKS = 100
# A mean that was fitted to the first pictures of a store, all of one kind maybe, is worse than none for the rest: it is
# fitted again when there are so many times as many blocks. Measured on stores that grew class by class.
GROWTH = 1.5
# Each block with what names it in an image row.
_NAMES = {"image": "content_hash", "prefix": "prefix_id"}


class Mean(NamedTuple):
    """The mean (d,) float32 of so many distinct unit blocks."""

    rows: int
    values: Floats


def fit(snapshot: Snapshot, least: Mapping[str, int] | None = None) -> dict[str, Mean]:
    """The means of the blocks `image` and `prefix` over a snapshot's living rows, as far as it has enough of them.

    Each picture counts once by its content, and each prefix once by its text, however many images have it. Vectors are
    read from Parquet, of which only one part is held at a time.

    Args:
        snapshot: over whose rows.
        least: of which blocks, and how many of each there must be; by default MIN_BLOCKS of both.

    Raises:
        StoreCorrupt: a page or a segment is missing or damaged.
    """
    least = dict.fromkeys(_NAMES, MIN_BLOCKS) if least is None else least
    wanted = [name for name, count in least.items() if _may_have(snapshot, name, count)]
    alive = _alive(snapshot) if wanted else None
    places = {name: _first_of_each(alive, _NAMES[name]) for name in wanted} if alive is not None else {}
    sums = {name: _Sum() for name, place in places.items() if len(place) >= least[name]}
    for segment in snapshot.manifest.segments if sums else ():
        rows = {name: _rows_in(places[name], segment.name) for name in sums}
        if not any(len(one) for one in rows.values()):
            continue
        start = 0
        for vectors in segments.read_vectors(checked(snapshot.root, segment.file)):
            units = snapshot.fusion.units(vectors)._asdict()
            for name, one in rows.items():
                sums[name].add(units[name][one[(one >= start) & (one < start + len(vectors))] - start])
            start += len(vectors)
    return {name: one.mean() for name, one in sums.items() if one.rows >= least[name]}


class _Sum:
    """The sum of unit blocks; missing ones don't count."""

    def __init__(self) -> None:
        self.rows = 0
        self._total: NDArray[np.float64] | None = None

    def add(self, units: Floats) -> None:
        self.rows += int(np.any(units, axis=1).sum())
        total = units.sum(axis=0, dtype=np.float64)
        self._total = total if self._total is None else self._total + total

    def mean(self) -> Mean:
        if self._total is None:
            raise ValueError("expected at least one block")
        return Mean(self.rows, (self._total / self.rows).astype(np.float32))


def centre_of(means: dict[str, Mean]) -> Centre | None:
    """The means as vectors are centred by them; None where there are none."""
    if not means:
        return None
    image, prefix = (means[name].values if name in means else None for name in _NAMES)
    digest = hashlib.sha256()
    for name in sorted(means):
        digest.update(f"{name}:".encode() + means[name].values.tobytes())
    return Centre(digest.hexdigest()[:NAME_DIGITS], image, prefix)


def settled(root: Path, manifest: Manifest) -> Manifest:
    """A manifest that is about to be published, with the means that its fusion asks for, as far as they can be had.

    What was fitted stays, until there are half as many blocks again as it was fitted to: a snapshot with another mean
    has another version, and indexes of its own. A block that has no mean yet gets one from the first snapshot that has
    enough of it. In `concat`, which is the bare formula, nothing is centred. Indexes are to be made to fit afterwards.

    Args:
        root: the store; the files that the manifest names are there.
        manifest: what is to be published; its `fusion.centred` and its table of means are those of its vectors.
    """
    fusion = manifest.fusion
    rest = tuple(one for one in manifest.tables if one.name != tables.MEANS)
    if not fusion.centre or fusion.mode != "balanced":
        return replace(manifest, fusion=replace(fusion, centred=None), tables=rest)
    known = fusion.centred
    rows = {"image": known.pictures, "prefix": known.prefixes} if known else {}
    snapshot = Snapshot(root, manifest)
    found = fit(snapshot, {name: math.ceil(max(MIN_BLOCKS, GROWTH * rows.get(name, 0))) for name in _NAMES})
    if not found:
        return manifest if known else replace(manifest, tables=rest)
    created = datetime.fromisoformat(manifest.created_at)
    times = dict.fromkeys(found, created)
    for row in snapshot.table(tables.MEANS).to_pylist() if known else []:
        found.setdefault(row["block"], Mean(row["rows"], np.array(row["mean"], np.float32)))
        times.setdefault(row["block"], row["fitted_at"])
    centre = centre_of(found)
    version = centre.version if centre is not None else ""
    made: list[dict[str, Any]] = [
        {"block": name, "version": version, "rows": mean.rows, "mean": mean.values, "fitted_at": times[name]}
        for name, mean in sorted(found.items())
    ]
    table = tables.write_table(root, tables.MEANS, pa.Table.from_pylist(made, tables.SCHEMAS[tables.MEANS]))
    pictures, prefixes = (found[name].rows if name in found else 0 for name in _NAMES)
    centred = CentreRef(version, pictures, prefixes, manifest.snapshot)
    return replace(manifest, fusion=replace(fusion, centred=centred), tables=manifests.sorted_tables((*rest, table)))


def _may_have(snapshot: Snapshot, name: str, count: int) -> bool:
    """Whether there may be so many of a block: what the manifest says of it, before any page is read."""
    manifest = snapshot.manifest
    if name == "image":
        return manifest.rows >= count
    return sum(table.rows for table in manifest.tables_named(tables.PREFIXES)) >= count


def _alive(snapshot: Snapshot) -> pa.Table:
    """Names and places of the vectors that images have."""
    files = [page for one in snapshot.manifest.collections for page in one.pages]
    return pages.read_columns(snapshot.root, files, [*_NAMES.values(), "segment", "row"])


def _first_of_each(alive: pa.Table, column: str) -> pa.Table:
    """One place of each distinct name: always the same one, whatever the order of the pages."""
    known = alive.filter(alive[column].is_valid()).sort_by([("segment", "ascending"), ("row", "ascending")])
    _, first = np.unique(known[column].combine_chunks().dictionary_encode().indices.to_numpy(), return_index=True)
    return known.take(pa.array(first))


def _rows_in(place: pa.Table, segment: str) -> NDArray[np.int64]:
    """The row numbers, ascending, of the places that are in a segment."""
    rows: NDArray[np.int64] = place.filter(pc.equal(place["segment"], segment))["row"].to_numpy()
    return rows
