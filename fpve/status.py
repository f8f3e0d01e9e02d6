"""A store in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fpve.store import tables
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
        images, vectors, prefixes, quarantined: numbers of rows; images can share vectors, and vectors can be dead.
        dim: length of a vector: image block and prefix block.
        encoders: name and fingerprint of each block's encoder.
        fusion: mode, and the default weight of the image block.
        bytes: size of the files that the snapshot names.
        columns: metadata columns and their types.
    """

    store: str
    snapshot: int
    created_at: str
    images: int
    vectors: int
    prefixes: int
    quarantined: int
    dim: int
    encoders: dict[str, str]
    fusion: dict[str, str | float]
    bytes: int
    columns: dict[str, str]
    collections: tuple[CollectionStatus, ...]

    def to_dict(self) -> dict[str, Any]:
        """The status as JSON has it."""
        return asdict(self)


def status_of(snapshot: Snapshot) -> Status:
    """The figures of one snapshot."""
    manifest = snapshot.manifest
    files = [
        *(page.file for one in manifest.collections for page in one.pages),
        *(segment.file for segment in manifest.segments),
        *(table.file for table in manifest.tables),
    ]
    counts = snapshot.images.group_by("collection").aggregate([("prefix_id", "count")])
    with_prefix = dict(zip(counts["collection"].to_pylist(), counts["prefix_id_count"].to_pylist(), strict=True))
    return Status(
        store=str(snapshot.root),
        snapshot=manifest.snapshot,
        created_at=manifest.created_at,
        images=manifest.rows,
        vectors=sum(segment.rows for segment in manifest.segments),
        prefixes=sum(table.rows for table in manifest.tables_named(tables.PREFIXES)),
        quarantined=sum(table.rows for table in manifest.tables_named(tables.QUARANTINE)),
        dim=snapshot.fusion.dim,
        encoders={name: str(one) for name, one in manifest.encoders.items()},
        fusion={"mode": manifest.fusion.mode, "image_weight": manifest.fusion.image_weight},
        bytes=sum(file.bytes for file in files),
        columns={column.name: column.type for column in manifest.columns},
        collections=tuple(
            CollectionStatus(one.name, one.rows, with_prefix.get(one.name, 0), one.source, one.job)
            for one in manifest.collections
        ),
    )
