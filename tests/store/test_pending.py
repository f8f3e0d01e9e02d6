"""Finished shards: what has the name of one already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fpve.fusion import Fusion
from fpve.store import tables
from fpve.store.pending import Recipe, Shard, finished_shards, write_shard
from fpve.store.segments import rows_table

_RECIPE = Recipe("image", None, "balanced")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of a store."""
    return tmp_path


def _written(root: Path) -> Shard:
    """The same shard each time."""
    fused = Fusion(4, 0, "balanced").fuse(np.eye(3, 4, dtype=np.float32), None)
    pictures = pa.Table.from_pylist([], tables.SCHEMAS[tables.THUMBNAILS])
    return write_shard(root, _RECIPE, rows_table(["a", "b", "c"], [None] * 3, fused), pictures)


def test_what_another_worker_finished_stays(root: Path) -> None:
    """A shard that is there already is the same one, of which somebody may have told: it is not gone for a moment."""
    first = _written(root)
    number = first.rows_file.stat().st_ino
    assert _written(root) == first
    assert first.rows_file.stat().st_ino == number
    assert list(finished_shards(root, {})) == [first]
    assert [path.name for path in (root / "pending").iterdir()] == [first.name]


@pytest.mark.parametrize("file", ["rows.parquet", "thumbnails.parquet", "shard.json"])
def test_what_was_damaged_is_replaced(root: Path, file: str) -> None:
    """Under its name lies a shard that is whole, be it that what lay there was not."""
    first = _written(root)
    path = first.path / file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert list(finished_shards(root, {})) == []
    assert _written(root) == first
    assert list(finished_shards(root, {})) == [first]
