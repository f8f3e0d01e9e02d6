"""A store with metadata of every type, and nulls in it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import KINDS, draw, make_job

import fpve
from fpve.config import Job

COUNT = 300


def metadata() -> pa.Table:
    """The metadata of COUNT pictures: every seventh has no price, every fifth no caption, every eleventh no date."""
    draws = np.random.default_rng(7)
    numbers = range(COUNT)
    kinds = [KINDS[number % 3] if number % 10 else "fish" for number in numbers]
    start = date(2023, 11, 20)
    return pa.table(
        {
            "path": [f"{number % 4}/{number:03d}.png" for number in numbers],
            "caption": [f"{kind} number {at % 40}" if at % 5 else None for at, kind in enumerate(kinds)],
            "kind": kinds,
            "price": [
                None if at % 7 == 0 else round(float(one), 2) for at, one in enumerate(draws.gamma(2, 20, COUNT))
            ],
            "stock": pa.array(draws.integers(0, 50, COUNT), pa.int64()),
            "tags": [[f"tag{one}" for one in range(at % 4)] if at % 9 else None for at in numbers],
            "marks": pa.array([[float(at), at / 2] for at in numbers], pa.list_(pa.float64())),
            "taken": pa.array([start + timedelta(days=at) if at % 11 else None for at in numbers], pa.date32()),
            "sold_at": pa.array(
                [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=7 * at) for at in numbers],
                pa.timestamp("us", tz="UTC"),
            ),
            "sale": [at % 3 == 0 for at in numbers],
        }
    )


@pytest.fixture(scope="module")
def rich_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job of 300 pictures, run once."""
    folder = tmp_path_factory.mktemp("rich")
    pictures = folder / "pictures"
    rows = metadata()
    for number, path in enumerate(rows["path"].to_pylist()):
        # Every twentieth picture is a copy of the one before.
        draw(pictures / path, number - (number % 20 == 19))
    table = folder / "metadata.parquet"
    pq.write_table(rows, table)
    job = make_job(folder / "store", pictures, metadata=table)
    fpve.run(job)
    return job


@pytest.fixture(scope="module")
def rich(rich_job: Job) -> fpve.Store:
    """The store of 300 pictures."""
    return fpve.open(Path(rich_job.store))
