"""A store to export, and files of vectors to import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fpve
from fpve.config import Job

Write = Callable[..., Path]


@pytest.fixture
def store(job: Job) -> fpve.Store:
    """Twelve pictures, six of them with a prefix, in a store that is open."""
    fpve.run(job)
    return fpve.open(job.store)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a Parquet file of vectors: `write(values, name=…, ids=…, column=[…])`."""

    def write(
        values: np.ndarray | list, *, name: str = "made.parquet", ids: list | None = None, **columns: list
    ) -> Path:
        ids = [f"{at:02d}" for at in range(len(values))] if ids is None else ids
        rows = values.tolist() if isinstance(values, np.ndarray) else values
        table = pa.table({"image_id": ids, "vector": pa.array(rows, pa.list_(pa.float32())), **columns})
        pq.write_table(table, tmp_path / name)
        return tmp_path / name

    return write
