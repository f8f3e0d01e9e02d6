"""Tables for tests, published by hand: predictions as of a run that has fitted an alignment, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from fpve.index import reindexed
from fpve.store import manifest as manifests
from fpve.store import publishing, tables
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot


def guesses(snapshot: Snapshot, seed: int = 3) -> dict[str, np.ndarray]:
    """Blocks of lengths from 0.2 to 1 for the content of all images without a prefix."""
    rng = np.random.default_rng(seed)
    bare = sorted({row["content_hash"] for row in snapshot.images.to_pylist() if row["prefix"] is None})
    dim = snapshot.fusion.prefix_dim
    blocks = rng.normal(size=(len(bare), dim))
    blocks *= rng.uniform(0.2, 1, size=(len(bare), 1)) / np.linalg.norm(blocks, axis=1, keepdims=True)
    return dict(zip(bare, blocks.astype(np.float32), strict=True))


def predict(store: Path, found: Mapping[str, np.ndarray]) -> Manifest:
    """Publish a snapshot with these predictions, by content, in the place of others."""
    last = manifests.load(store)
    rows = [{"content_hash": name, "vector": vector.tolist()} for name, vector in found.items()]
    table = tables.write_table(store, tables.PREDICTED, pa.Table.from_pylist(rows, tables.SCHEMAS[tables.PREDICTED]))
    others = [one for one in last.tables if one.name != tables.PREDICTED]
    made = publishing.successor(
        last, last.snapshot, operation="run", tables=manifests.sorted_tables((*others, *([table] if rows else ())))
    )
    made = replace(made, segments=reindexed(Snapshot(store, made), last))
    publishing.publish(store, made)
    return made


def answer(name: str) -> dict[str, object]:
    """A row of the table of answers."""
    return {
        "generation_id": name,
        "prompt": f"what is {name}?",
        "prompt_hash": name,
        "answer": f"it is {name}",
        "model": "fake:1",
        "parameters": "{}",
        "created_at": datetime(2025, 1, 1, tzinfo=UTC),
    }


def correction(image_id: str, text: str) -> dict[str, object]:
    """A row of the table of corrected prefixes."""
    return {"image_id": image_id, "text": text, "at": datetime(2025, 1, 1, tzinfo=UTC)}


def add_rows(store: Path, name: str, rows: list[dict[str, object]], *, beside: bool = True) -> Manifest:
    """Publish a snapshot with one more file of a table, or with this one in the place of the others."""
    last = manifests.load(store)
    table = tables.write_table(store, name, pa.Table.from_pylist(rows, tables.SCHEMAS[name]))
    others = [one for one in last.tables if beside or one.name != name]
    made = publishing.successor(
        last, last.snapshot, operation="label", tables=manifests.sorted_tables((*others, table))
    )
    publishing.publish(store, made)
    return made
