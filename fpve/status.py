"""A store in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from fpve.replica import shown
from fpve.search import DEFAULT_K
from fpve.store import manifest as manifests
from fpve.store import pages, tables
from fpve.store.encoding import FusionRef
from fpve.store.files import sizes
from fpve.store.heads import HeadRef
from fpve.store.manifest import Manifest
from fpve.store.predict import PredictRef
from fpve.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    """One collection in figures."""

    name: str
    images: int
    with_prefix: int
    source: str
    job: str


@dataclass(frozen=True, slots=True)
class Status:
    """A store in figures.

    Attributes:
        store: its path.
        snapshot, created_at: which snapshot is open, and when it was published (UTC).
        snapshots: how many there are to go back to, this one included.
        images, vectors, prefixes, quarantined: numbers of rows; images can share vectors.
        dead_vectors: how many of the vectors no image names; `compact` drops them.
        segments: into how many files vectors are divided.
        dim: length of a vector: image block and prefix block.
        encoders: name and fingerprint of each block's encoder.
        fusion: `mode`, and `image_weight`, the default weight of the image block; where it was chosen by a label column
            also `label`, and `weight_low`, `weight_high` and `accuracy`, as far as there was enough to choose by;
            where searched vectors are centred also `centre_pictures` and `centre_prefixes`, of how many the means are.
        alignment: of a store that predicts prefixes, `predicted`, `rows`, `prefixes`, `recall_10` and `ridge_10`; else
            empty.
        heads: classifiers that learnt a label column: `label`, `kind`, `classes`, `rows`, of how many images in which
            `snapshot`, and `accuracy` on held-out ones, as far as there were enough; `accuracy_without` their prefix.
        predictions: labels that jobs predict: `label`, `job`, `head`, of how many `images`; and the `reason` of a rule
            that predicts nothing.
        index: how it is searched: `target_recall`; `approximate_vectors`, how many are in segments with an ANN index;
            where there are any, the lowest recall that was measured in them for ten hits: `recall_image` for queries by
            the picture alone (A = 1), where there are prefixes `recall_both` (A = 0.5) and `recall_prefix` (A = 0), and
            of all tested weights `recall_lowest`; 1 where the search is exact; and `bytes` of all indexes, which are
            mapped, not loaded.
        bytes: size of the files that the snapshot names.
        columns: metadata columns and their types.
    """

    store: str
    snapshot: int
    created_at: str
    snapshots: int
    images: int
    vectors: int
    dead_vectors: int
    segments: int
    prefixes: int
    quarantined: int
    dim: int
    encoders: dict[str, str]
    fusion: dict[str, str | float]
    alignment: dict[str, float]
    heads: tuple[dict[str, str | float], ...]
    predictions: tuple[dict[str, str | int], ...]
    index: dict[str, float]
    bytes: int
    columns: dict[str, str]
    collections: tuple[CollectionStatus, ...]

    def to_dict(self) -> dict[str, Any]:
        """The status as JSON has it."""
        return asdict(self)


def status_of(snapshot: Snapshot) -> Status:
    """The figures of one snapshot."""
    manifest = snapshot.manifest
    with_prefix: dict[str, int] = {}
    named = []
    for collection in manifest.collections:
        with snapshot.reading():
            rows = pages.read_columns(snapshot.root, collection.pages, ["prefix_id", "segment", "row"])
        with_prefix[collection.name] = len(rows) - rows["prefix_id"].null_count
        named.append(rows.select(["segment", "row"]))
    alive = pa.concat_tables(named).group_by(["segment", "row"]).aggregate([]).num_rows if named else 0
    vectors = sum(segment.rows for segment in manifest.segments)
    return Status(
        store=shown(snapshot.root),
        snapshot=manifest.snapshot,
        created_at=manifest.created_at,
        snapshots=len(manifests.numbers(snapshot.root)),
        images=manifest.rows,
        vectors=vectors,
        dead_vectors=vectors - alive,
        segments=len(manifest.segments),
        prefixes=sum(table.rows for table in manifest.tables_named(tables.PREFIXES)),
        quarantined=sum(table.rows for table in manifest.tables_named(tables.QUARANTINE)),
        dim=snapshot.fusion.dim,
        encoders={name: str(one) for name, one in manifest.encoders.items()},
        fusion=fusion_of(manifest.fusion),
        alignment=_alignment(manifest),
        heads=tuple(map(_head, manifest.heads)),
        predictions=tuple(map(_prediction, manifest.predict)),
        index=index_of(snapshot),
        bytes=manifest.bytes,
        columns={column.name: column.type for column in manifest.columns},
        collections=tuple(
            CollectionStatus(one.name, one.rows, with_prefix[one.name], one.source, one.job)
            for one in manifest.collections
        ),
    )


def fusion_of(ref: FusionRef) -> dict[str, str | float]:
    """How blocks are joined, as `Status.fusion` says it."""
    said: dict[str, str | float] = {"mode": ref.mode, "image_weight": ref.image_weight}
    if ref.auto is not None:
        chosen = {"weight_low": ref.auto.low, "weight_high": ref.auto.high, "accuracy": ref.auto.accuracy}
        said |= {"label": ref.auto.label} | {name: value for name, value in chosen.items() if value is not None}
    if ref.centred is not None:
        said |= {"centre_pictures": ref.centred.pictures, "centre_prefixes": ref.centred.prefixes}
    return said


def index_of(snapshot: Snapshot) -> dict[str, float]:
    """How a snapshot is searched, as `Status.index` says it."""
    segments = snapshot.manifest.segments
    approximate = [one.ann for one in segments if one.ann is not None]
    said: dict[str, float] = {
        "target_recall": snapshot.manifest.target_recall,
        "approximate_vectors": sum(one.rows for one in segments if one.ann is not None),
    }
    if approximate:
        said["recall_lowest"] = min(min(ref.recall(DEFAULT_K)) for ref in approximate)
        said["recall_image"] = min(ref.recall(DEFAULT_K)[-1] for ref in approximate)
    if approximate and snapshot.has_prefixes:
        said["recall_both"] = min(ref.recall(DEFAULT_K)[ref.weights.index(0.5)] for ref in approximate)
        said["recall_prefix"] = min(ref.recall(DEFAULT_K)[0] for ref in approximate)
    files = {name for segment in segments for name in segment.derived_files}
    return said | {"bytes": sum(sizes(snapshot.root, "vectors", files))}


def _alignment(manifest: Manifest) -> dict[str, float]:
    ref = manifest.alignment
    if ref is None:
        return {}
    said: dict[str, float] = {
        "predicted": sum(table.rows for table in manifest.tables_named(tables.PREDICTED)),
        "rows": ref.rows,
        "prefixes": ref.prefixes,
    }
    recall = {"recall_10": ref.recall.get("10"), "ridge_10": ref.ridge.get("10")}
    return said | {name: value for name, value in recall.items() if value is not None}


def _head(ref: HeadRef) -> dict[str, str | float]:
    said: dict[str, str | float] = {
        "label": ref.label,
        "kind": ref.kind,
        "classes": ref.classes,
        "rows": ref.rows,
        "snapshot": ref.snapshot,
    }
    return said | {name: ref.metrics[name] for name in ("accuracy", "accuracy_without") if name in ref.metrics}


def _prediction(ref: PredictRef) -> dict[str, str | int]:
    said: dict[str, str | int] = {
        "label": ref.rule.label,
        "job": ref.job,
        "head": ref.rule.head,
        "images": ref.rows,
    }
    return said if ref.reason is None else said | {"reason": ref.reason}
