"""Stores for benchmarks of search, written by the store's own writers from a stream of fused vectors: no pictures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from data import Fused, Kind

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.fusion import FusedRows
from fpve.index import reindexed
from fpve.prefixes import prefix_ids
from fpve.store import publishing, segments, tables
from fpve.store.encoding import EncoderRef, FusionRef
from fpve.store.manifest import Collection, Manifest, Segment
from fpve.store.pages import write_pages
from fpve.store.schema import Column, page_schema, type_name
from fpve.store.snapshot import Snapshot

_COLLECTION = "c"
_WHEN = datetime(2025, 1, 1, tzinfo=UTC)


class Written(NamedTuple):
    """Seconds that it took to write a store: its rows (with the time that the stream took), its images, its indexes."""

    rows: float
    images: float
    indexes: float


def write_store(root: Path, parts: Iterable[Fused], *, kind: Kind, segment_rows: int, metadata: pa.Table) -> Written:
    """Write a store of fused vectors, of which only one part is held at a time.

    Args:
        root: where to; there is nothing yet.
        parts: the vectors, in order: that of number n belongs to the image `c/0000000n`.
        kind: lengths of the blocks.
        segment_rows: after how many vectors the next segment begins.
        metadata: a row for each vector; its columns are the store's.
    """
    root.mkdir(parents=True)
    start = time.perf_counter()
    entries, images = _write_segments(root, parts, kind, segment_rows)
    rows_written = time.perf_counter()
    manifest = _write_images(root, images, kind, metadata)
    manifest = replace(manifest, segments=tuple(sorted(entries, key=lambda one: one.name)))
    images_written = time.perf_counter()
    publishing.publish(root, replace(manifest, segments=reindexed(Snapshot(root, manifest))))
    return Written(rows_written - start, images_written - rows_written, time.perf_counter() - images_written)


def number_of(image_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The numbers (n,) of the vectors of images."""
    return np.array([int(one.rpartition("/")[2]) for one in image_ids.to_pylist()], np.int64)


def ordinary_metadata(rows: int) -> pa.Table:
    """Columns such as images have: a label, a year, a price."""
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "label": pa.array([f"label {one}" for one in range(100)]).take(pa.array(rng.integers(0, 100, rows))),
            "price": rng.random(rows) * 100,
            "year": rng.integers(1840, 2025, rows),
        }
    )


def _write_segments(
    root: Path, parts: Iterable[Fused], kind: Kind, segment_rows: int
) -> tuple[list[Segment], list[pa.Table]]:
    """The segments, and the image rows that name their vectors, without metadata."""
    entries: list[Segment] = []
    images: list[pa.Table] = []

    def tables_of(pieces: Iterable[tuple[int, int, Fused]]) -> Iterator[pa.Table]:
        for number, first, piece in pieces:
            names = [f"{one:07d}" for one in range(first, first + len(piece.vectors))]
            hashes = [hashlib.sha256(name.encode()).hexdigest() for name in names]
            texts = pa.array([f"prefix {one}" for one in piece.prefixes.tolist()])
            ids = prefix_ids(texts)
            known = {"path": names, "content_hash": hashes, "prefix_id": ids, "prefix": texts}
            row = np.arange(first, first + len(names)) - number * segment_rows
            images.append(pa.table({**known, "row": row, "number": np.full(len(names), number)}))
            ones = np.ones(len(names), np.float32)
            yield segments.rows_table(hashes, ids.to_pylist(), FusedRows(piece.vectors, ones, ones))

    for _, pieces in groupby(_cut(parts, segment_rows), key=lambda piece: piece[0]):
        entries.append(segments.write_segment(root, tables_of(pieces), kind.image_dim + kind.prefix_dim))
    return entries, [
        part.append_column("segment", pa.array([one.name for one in entries]).take(part["number"].combine_chunks()))
        for part in images
    ]


def _cut(parts: Iterable[Fused], segment_rows: int) -> Iterator[tuple[int, int, Fused]]:
    """The parts, cut where segments begin: the segment's number, the first vector's number, the vectors."""
    first = 0
    for part in parts:
        done = 0
        while done < len(part.vectors):
            end = done + segment_rows - first % segment_rows
            piece = Fused(*(column[done:end] for column in part))
            yield first // segment_rows, first, piece
            done += len(piece.vectors)
            first += len(piece.vectors)


def _write_images(root: Path, parts: list[pa.Table], kind: Kind, metadata: pa.Table) -> Manifest:
    """A manifest with all but the segments."""
    images = pa.concat_tables(parts).combine_chunks()
    count = len(images)
    columns = tuple(Column(name, type_name(metadata.schema.field(name).type)) for name in sorted(metadata.column_names))
    arrays = {
        **{name: images[name] for name in ("path", "content_hash", "prefix_id", "prefix", "segment", "row")},
        **{column.name: metadata[column.name] for column in columns},
        "image_id": pa.array([f"{_COLLECTION}/{name}" for name in images["path"].to_pylist()]),
        "collection": pa.repeat(_COLLECTION, count),
        "bytes": pa.repeat(0, count),
        "width": pa.repeat(pa.scalar(40, pa.int32()), count),
        "height": pa.repeat(pa.scalar(30, pa.int32()), count),
    }
    schema = page_schema(columns)
    pages = write_pages(root, _COLLECTION, pa.table([arrays[name] for name in schema.names], schema=schema), old=())
    known = images.select(["prefix_id", "prefix"]).group_by("prefix_id").aggregate([("prefix", "min")])
    prefixes = pa.table(
        {
            "prefix_id": known["prefix_id"],
            "text": known["prefix_min"],
            "origin": pa.repeat("template", len(known)),
            "template": pa.repeat("{caption}", len(known)),
            "generation_id": pa.nulls(len(known), pa.string()),
            "created_at": pa.repeat(pa.scalar(_WHEN), len(known)),
        }
    )
    return Manifest(
        snapshot=1,
        parent=None,
        created_at=_WHEN.isoformat(timespec="seconds"),
        written_by="a benchmark",
        encoders=_encoders(kind),
        fusion=FusionRef("balanced", 0.5),
        columns=columns,
        # Nobody looks for the pictures; the path must be an absolute one.
        collections=(
            Collection(_COLLECTION, str(root.resolve() / "none"), "bench", ({"text": "{caption}"},), columns, pages),
        ),
        segments=(),
        tables=(tables.write_table(root, tables.PREFIXES, prefixes),),
    )


def _encoders(kind: Kind) -> dict[str, EncoderRef]:
    image, text = (EncoderConfig(f"fake:{dim}") for dim in (kind.image_dim, kind.prefix_dim))
    models = {"image": open_image_encoder(image), "text": open_text_encoder(text)}
    return {block: EncoderRef({"name": one.name}, one.fingerprint, one.dim) for block, one in models.items()}
