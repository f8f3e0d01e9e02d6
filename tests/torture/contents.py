"""What a store says: everything in a snapshot, whether its files are whole, and which there are."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import ipc

from fpve.store.manifest import Manifest, Segment
from fpve.store.snapshot import Snapshot

# A feature that is recovered from a vector and fused again loses a unit in the last place each time.
TOLERANCE = 1e-5
# Columns that are labelled, and the type of their values; the first is one that no job has.
LABELS: dict[str, Callable[[str], object]] = {"quality": str, "kind": str, "price": float}


Row = dict[str, Any]
Vector = NDArray[np.float32]


@dataclass
class State:
    """What one snapshot says: image rows, the vector of each, quarantine, prefixes and thumbnails in use.

    Attributes:
        images: rows without what is null, for a column that is not there says the same.
        labels: by image_id and column.
        doubled: how many vectors are there once more. That wastes space until `compact`, and is no difference: a shard
            that a killed run published, but did not discard, is taken up again if one of its rows is needed.
    """

    images: dict[str, Row] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)
    quarantine: dict[str, Row] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    thumbnails: dict[str, bytes] = field(default_factory=dict)
    labels: dict[tuple[str, str], str] = field(default_factory=dict)
    doubled: int = 0

    def differences(self, other: State) -> list[str]:
        """What is not the same in another state, a line for each thing; empty if nothing is."""
        found = []
        for name in ("images", "quarantine", "prefixes", "thumbnails", "labels"):
            mine, theirs = getattr(self, name), getattr(other, name)
            found += [
                f"{name} {key}: {_short(mine.get(key))} is not {_short(theirs.get(key))}"
                for key in sorted(mine.keys() | theirs.keys())
                if mine.get(key) != theirs.get(key)
            ]
        for key in sorted(self.vectors.keys() & other.vectors.keys()):
            off = float(np.abs(self.vectors[key] - other.vectors[key]).max())
            if not off <= TOLERANCE:
                found.append(f"vector of {key}: off by {off:g}")
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and not self.differences(other)

    __hash__ = None  # type: ignore[assignment]


class Torn(Exception):
    """A store contradicts itself."""


def read_state(store: Path, at: int | None = None) -> State:
    """Everything that a snapshot says, with each vector taken from where its image row says it is.

    Raises:
        Torn: rows are there twice, or point to the vectors of others.
    """
    snapshot = Snapshot.open(store, at)
    state = State()
    segments = {one.name: pq.read_table(store / one.file.path) for one in snapshot.manifest.segments}
    keys = {name: table.select(["content_hash", "prefix_id"]).to_pylist() for name, table in segments.items()}
    vectors = {name: np.array(table["vector"].to_pylist(), np.float32) for name, table in segments.items()}
    for collection in snapshot.manifest.collections:
        for row in snapshot.read_collection(collection).to_pylist():
            image_id, segment, at_row = row["image_id"], row.pop("segment"), row.pop("row")
            if image_id in state.images:
                raise Torn(f"{image_id} is there twice")
            if keys[segment][at_row] != {"content_hash": row["content_hash"], "prefix_id": row["prefix_id"]}:
                raise Torn(f"{image_id} points to the vector of another")
            state.images[image_id] = without_null(row)
            state.vectors[image_id] = vectors[segment][at_row]
    for row in snapshot.table("quarantine").to_pylist():
        if row["image_id"] in state.quarantine:
            raise Torn(f"{row['image_id']} is in quarantine twice")
        state.quarantine[row["image_id"]] = {name: row[name] for name in ("path", "content_hash", "reason")}
    for row in snapshot.table("labels").to_pylist():
        state.labels[row["image_id"], row["column"]] = row["value"]
    _read_in_use(snapshot, state)
    every = [(one["content_hash"], one["prefix_id"]) for table in keys.values() for one in table]
    state.doubled = len(every) - len(set(every))
    return state


def labelled(before: State, file: Path, *, undo: bool) -> State:
    """What a state becomes by a file of labels; a cell that is taken back is empty until the next run."""
    after = replace(before, images={name: dict(row) for name, row in before.images.items()}, labels={**before.labels})
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            image_id = row.pop("image_id")
            for name, value in row.items():
                known = before.labels.get((image_id, name))
                if not value or (undo and known is None):
                    continue
                if undo:
                    del after.labels[image_id, name]
                    after.images[image_id].pop(name, None)
                else:
                    after.labels[image_id, name] = value
                    after.images[image_id][name] = LABELS[name](value)
    return after


def _read_in_use(snapshot: Snapshot, state: State) -> None:
    """Add the prefixes and thumbnails that images name; a store may hold others of images that are gone."""
    prefixes = [(row["prefix_id"], row["text"]) for row in snapshot.table("prefixes").to_pylist()]
    if len(prefixes) != len(dict(prefixes)):
        raise Torn("a prefix is there twice")
    used = {row.get("prefix_id") for row in state.images.values()}
    state.prefixes = {name: text for name, text in prefixes if name in used}
    used = {row["content_hash"] for row in state.images.values()}
    thumbnails = snapshot.table("thumbnails").to_pylist()
    state.thumbnails = {row["content_hash"]: row["jpeg"] for row in thumbnails if row["content_hash"] in used}


def damage(store: Path) -> list[str]:
    """What is wrong with the files of any snapshot, found without the library; empty if nothing is."""
    found = []
    digests: dict[str, str | None] = {}
    for path in sorted((store / "snapshots").glob("*.json")):
        try:
            manifest = json.loads(path.read_bytes())
        except ValueError as error:
            found.append(f"{path.name}: {error}")
            continue
        pages = [page for one in manifest["collections"] for page in one["pages"]]
        for entry in [*pages, *manifest["segments"], *manifest["tables"]]:
            name = entry["file"]["path"]
            if name not in digests:
                file = store / name
                digests[name] = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
            if digests[name] != entry["file"]["sha256"]:
                found.append(f"{path.name}: {name} is {'damaged' if digests[name] else 'missing'}")
        for segment in manifest["segments"]:
            folder = (store / segment["file"]["path"]).parent
            found += [
                f"{path.name}: {segment['name']}/{name} is missing"
                for name in segment["derived"]
                if not (folder / name).exists()
            ]
        found += [f"{path.name}: {name} is missing" for name in _copies(pages) if not (store / name).exists()]
    return found


def in_copies(store: Path) -> list[str]:
    """Where the copy of a page does not hold what the page holds."""
    pages = [page for one in Snapshot.open(store).manifest.collections for page in one.pages]
    found = []
    for page in pages:
        with ipc.open_file((store / page.file.path).with_suffix(".arrow")) as copy:
            same = copy.read_all().equals(pq.read_table(store / page.file.path))
        found += [] if same else [f"{page.file.path}: its copy is not of its rows"]
    return found


def in_index(store: Path) -> list[str]:
    """Where a segment's FAISS file does not hold what is to be searched of its Parquet file."""
    import faiss

    found = []
    manifest = Snapshot.open(store).manifest
    for segment in manifest.segments:
        folder = (store / segment.file.path).parent
        index = faiss.read_index(str(folder / next(name for name in segment.derived if name.endswith(".faiss"))))
        expected = searched_by_hand(store, manifest, segment)
        if not np.allclose(index.reconstruct_n(0, index.ntotal), expected, rtol=0, atol=TOLERANCE):
            found.append(f"{segment.name}: its index is not of its vectors")
    return found


def searched_by_hand(store: Path, manifest: Manifest, segment: Segment) -> Vector:
    """What is searched of a segment's rows (n, dim), in balanced: centred by means, with predictions where there are.

    Computed with NumPy from Parquet alone.
    """
    derived: dict[str, list[Row]] = {"means": [], "predicted": []}
    for table in manifest.tables:
        if table.name in derived:
            derived[table.name] += pq.read_table(store / table.file.path).to_pylist()
    means = {row["block"]: np.array(row["mean"], np.float64) for row in derived["means"]}
    predicted = {row["content_hash"]: np.array(row["vector"], np.float64) for row in derived["predicted"]}
    dim = manifest.encoders["image"].dim
    found = []
    for row in pq.read_table(store / segment.file.path).to_pylist():
        blocks = {"image": np.array(row["vector"][:dim]), "prefix": np.array(row["vector"][dim:])}
        length = {name: float(row[f"{name}_norm"] > 0) for name in blocks}
        if not length["prefix"] and row["content_hash"] in predicted:
            blocks["prefix"] = predicted[row["content_hash"]]
            length["prefix"] = float(np.linalg.norm(blocks["prefix"]))
        parts = [_moved(block, length[name], means.get(name)) for name, block in blocks.items()]
        found.append(np.concatenate(parts) / np.sqrt(2))
    return np.array(found, np.float32)


def _moved(block: NDArray[np.float64], length: float, mean: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """A block of a given length in its direction less the mean; zero if it has no length."""
    if not length:
        return np.zeros_like(block)
    direction = block / np.linalg.norm(block) - (0 if mean is None else mean)
    return length * direction / np.linalg.norm(direction)


def named_files(store: Path) -> set[str]:
    """Paths of all files that the snapshots name, themselves included, relative to the store."""
    found = set()
    for path in (store / "snapshots").glob("*.json"):
        found.add(path.relative_to(store).as_posix())
        manifest = json.loads(path.read_bytes())
        pages = [page for one in manifest["collections"] for page in one["pages"]]
        found |= {one["file"]["path"] for one in [*pages, *manifest["segments"], *manifest["tables"]]}
        for segment in manifest["segments"]:
            folder = Path(segment["file"]["path"]).parent
            found |= {(folder / name).as_posix() for name in segment["derived"]}
        found |= set(_copies(pages))
    return found


def _copies(pages: list[Row]) -> list[str]:
    """Paths of the copies of pages that a manifest names, and of their checksums."""
    stems = [page["file"]["path"].removesuffix(".parquet") for page in pages]
    return [stem + suffix for stem in stems for suffix in (".arrow", ".arrow.sha256")]


def without_null(row: Row) -> Row:
    """A row without its nulls, for a column that is not there says the same."""
    return {name: value for name, value in row.items() if value is not None}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:297]}..."
