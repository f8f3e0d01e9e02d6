"""Stores for benchmarks, made by the store's own writers, with no picture encoded: empty files, invented hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from fpve.config import load_job, rule_settings
from fpve.fusion import Fusion
from fpve.index import build_exact
from fpve.planning.models import open_models, recipe_for
from fpve.prefixes import prefix_ids
from fpve.store import manifest as manifests
from fpve.store import publishing, segments, tables
from fpve.store.encoding import EncoderRef, FusionRef
from fpve.store.manifest import Collection, Manifest
from fpve.store.pages import write_pages
from fpve.store.pending import adopt_rows, adopt_thumbnails, discard, write_shard
from fpve.store.scanstate import write_scan_state
from fpve.store.schema import Column, page_schema

DIMS = (8, 8)
_PER_FOLDER = 1_000
_SHARD = 65_536
_KINDS = ("cat", "dog", "bird", "horse", "fish")
_JOB = """
store = "store"
encoders = {{ image = "fake:{image}", text = "fake:{text}" }}
[[collections]]
name = "c"
source = "pictures"
metadata = "metadata.csv"
prefix = "{{caption}}"
"""


def make(
    folder: Path, count: int, *, dims: tuple[int, int] = DIMS, shard: int = _SHARD, thumbnails: bool = False
) -> Path:
    """Make `count` empty .jpg files, metadata with two columns, and the store of the job over them; returns the job.

    Args:
        folder: where to.
        count: how many files.
        dims: lengths of the image block and the prefix block.
        shard: how many vectors are in a segment.
        thumbnails: whether each segment comes with a file of thumbnails.
    """
    names = [f"folder{number // _PER_FOLDER:04d}/picture_{number:07d}.jpg" for number in range(count)]
    pictures = folder / "pictures"
    for start in range(0, count, _PER_FOLDER):
        (pictures / names[start]).parent.mkdir(parents=True)
        for name in names[start : start + _PER_FOLDER]:
            os.close(os.open(pictures / name, os.O_CREAT))
    times = [os.stat(pictures / name).st_mtime_ns for name in names]  # noqa: PTH116 (a million times)
    metadata = pa.table(
        {
            "path": names,
            "caption": [f"a {_KINDS[number % 5]}, number {number}" for number in range(count)],
            "kind": [_KINDS[number % 5] for number in range(count)],
        }
    )
    pacsv.write_csv(metadata, folder / "metadata.csv")
    path = folder / "job.toml"
    path.write_text(_JOB.format(image=dims[0], text=dims[1]), encoding="utf-8")
    _write_store(path, metadata, times, dims=dims, size=shard, thumbnails=thumbnails)
    return path


def _write_store(
    path: Path, metadata: pa.Table, times: list[int], *, dims: tuple[int, int], size: int, thumbnails: bool
) -> None:
    job = load_job(path)
    root, count = job.store, len(metadata)
    root.mkdir()
    ids = [f"c/{name}" for name in metadata["path"].to_pylist()]
    hashes = pa.array([hashlib.sha256(one.encode()).hexdigest() for one in ids])
    texts = metadata["caption"].combine_chunks()
    prefixes = prefix_ids(texts)
    models = open_models(job)
    recipe = recipe_for(job, models)
    entries, place, pictures = [], [], []
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        blocks = np.random.default_rng(start).normal(size=(part.stop - start, sum(dims))).astype(np.float32)
        fused = Fusion(*dims, job.fusion.mode).fuse(blocks[:, : dims[0]], blocks[:, dims[0] :])
        rows = segments.rows_table(hashes[part].to_pylist(), prefixes[part].to_pylist(), fused)
        shard = write_shard(root, recipe, rows, _thumbnails(hashes[part] if thumbnails else hashes[:0]))
        segment = adopt_rows(root, shard)
        pictures += [adopt_thumbnails(root, shard)] if thumbnails else []
        derived = build_exact(fused.vectors, segments.folder(root, segment))
        discard(shard)
        entries.append(type(segment)(segment.name, segment.file, segment.rows, derived))
        place += [segment.name] * len(blocks)
    source = job.collections[0]
    columns = (Column("caption", "string"), Column("kind", "string"))
    arrays = {
        "image_id": pa.array(ids),
        "collection": pa.repeat("c", count),
        "path": metadata["path"],
        "content_hash": hashes,
        "bytes": pa.repeat(0, count),
        "width": pa.repeat(pa.scalar(40, pa.int32()), count),
        "height": pa.repeat(pa.scalar(30, pa.int32()), count),
        "prefix_id": prefixes,
        "prefix": texts,
        "segment": pa.array(place),
        "row": pa.array(np.arange(count) % size),
        "caption": texts,
        "kind": metadata["kind"],
    }
    schema = page_schema(columns)
    pages = write_pages(root, "c", pa.table([arrays[name] for name in schema.names], schema=schema), ())
    refs = {
        block: EncoderRef({"name": config.name}, model.fingerprint, model.dim)
        for block, config, model in (
            ("image", job.encoders.image, models.image),
            ("text", job.encoders.text, models.text),
        )
    }
    known = pa.table(
        {
            "prefix_id": prefixes,
            "text": texts,
            "origin": pa.repeat("template", count),
            "template": pa.repeat("{caption}", count),
            "generation_id": pa.nulls(count, pa.string()),
            "created_at": pa.nulls(count, pa.timestamp("us", tz="UTC")).fill_null(0),
        }
    )
    manifest = Manifest(
        snapshot=1,
        parent=None,
        created_at="2025-01-01T00:00:00+00:00",
        written_by="a benchmark",
        encoders=refs,
        fusion=FusionRef("balanced", 0.5),
        columns=columns,
        collections=(Collection("c", str(source.source), job.name, rule_settings(source.prefix), columns, pages),),
        segments=tuple(sorted(entries, key=lambda one: one.name)),
        tables=manifests.sorted_tables((tables.write_table(root, tables.PREFIXES, known), *pictures)),
    )
    publishing.publish(root, manifest)
    state = pa.table(
        {
            "image_id": arrays["image_id"],
            "size": pa.repeat(0, count),
            "mtime_ns": pa.array(times, pa.int64()),
            "content_hash": hashes,
            "origin": pa.nulls(count, pa.string()),
        }
    )
    write_scan_state(root, "c", os.fsencode(os.path.realpath(source.source)), state)


def _thumbnails(hashes: pa.Array) -> pa.Table:
    """Rows of thumbnails that are none, for pictures that were never drawn."""
    schema = tables.SCHEMAS[tables.THUMBNAILS]
    values = {"content_hash": hashes, "jpeg": pa.repeat(b"", len(hashes)), "width": 40, "height": 30}
    columns = [
        values[field.name] if isinstance(values[field.name], pa.Array) else pa.repeat(values[field.name], len(hashes))
        for field in schema
    ]
    return pa.table([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
