"""A store whose metadata are of every type, with values that are hard to quote, to compare and to count."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from samples import draw, make_job

import fpve

COUNT = 60
TEXTS = ("cat", "Cat", "O'Brien", 'say "hi"', "日本語", "a -- b", "x; y", "NULL", "\\", "%", "é", "e\u0301", None)
FLOATS = (0.1, 0.30000000000000004, 1e300, -5.5, 2.0, float("nan"), float("inf"), float("-inf"), None)
INTEGERS = (*range(-20, 20, 3), 2**53 + 1, -(2**63), 2**63 - 1, None)
ODD = "odd \"name\" -- 'x'"
BEGINNING = datetime(2021, 11, 5, 13, 30, 15, 250_000, tzinfo=UTC)


def make(root: Path) -> Path:
    """Make a store of 60 pictures below a folder; returns its path."""
    choose = random.Random(7)
    names = [f"{number:02d}.png" for number in range(COUNT)]
    for number, name in enumerate(names):
        draw(root / "pictures" / name, number)

    def some(values: tuple[object, ...]) -> list[object]:
        return [choose.choice(values) for _ in range(COUNT)]

    columns = {
        "path": names,
        "caption": [f"picture {number}" for number in range(COUNT)],
        "kind": some(TEXTS),
        "price": pa.array(some(FLOATS), pa.float64()),
        "number": pa.array(some(INTEGERS), pa.int64()),
        "rating": pa.array(some((1, 2, 3, None)), pa.int64()),
        "ok": some((True, False, None)),
        "taken": pa.array(
            [
                None if number % 7 == 0 else BEGINNING + timedelta(hours=choose.randint(0, 9_000))
                for number in range(COUNT)
            ],
            pa.timestamp("us", tz="UTC"),
        ),
        "day": some((None, *(date(2024, 2, 1) + timedelta(days=4 * step) for step in range(9)))),
        "tags": pa.array(some((["a", "b"], ["a", "a"], ["O'x", None], [None], [], None, ["b"])), pa.list_(pa.string())),
        "sizes": pa.array(some(([1, 2], [2, 2**60], [], None)), pa.list_(pa.int64())),
        "weights": pa.array(some(([0.5], [float("nan"), 1.5], None)), pa.list_(pa.float64())),
        ODD: some(("x", "y", None)),
    }
    pq.write_table(pa.table(columns), root / "pictures" / "metadata.parquet")
    fpve.run(make_job(root / "store", root / "pictures", metadata=root / "pictures" / "metadata.parquet"))
    return root / "store"
