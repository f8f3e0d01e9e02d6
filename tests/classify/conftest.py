"""A store with labels of all kinds."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import KINDS, draw, make_job

import fpve
from fpve.config import Job


@pytest.fixture(scope="package")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """90 images, captioned but for every fifth: kind, tags (lists), weight (with NaN), only (one class), sku (each)."""
    root = tmp_path_factory.mktemp("classify")
    source = root / "pictures"
    rows = []
    for number in range(90):
        kind = KINDS[number % 3]
        draw(source / f"{number:02d}.png", number % 61)
        rows.append(
            {
                "path": f"{number:02d}.png",
                "caption": None if number % 5 == 0 else f"{kind} in place {number % 13}",
                "kind": None if number % 10 == 7 else kind,
                "tags": None if number % 9 == 0 else [kind, "even"] if number % 2 == 0 else [],
                "weight": float("nan") if number % 2 else float(number % 3),
                "only": "same",
                "sku": f"S{number:03d}",
                "rare": "single" if number == 4 else kind,
            }
        )
    source.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), source / "metadata.parquet")
    job = make_job(root / "store", source, metadata=source / "metadata.parquet")
    fpve.run(job)
    return job


@pytest.fixture(scope="package")
def store(job: Job) -> fpve.Store:
    """The store, open."""
    return fpve.open(job.store)
