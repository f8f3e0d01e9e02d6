"""What opening SQL costs, whatever the size of the store, and its queries beside those of DuckDB over the same files.

usage: .venv/bin/python scripts/bench/sql.py [--rows 1000 1000000] [--rounds 5]

For each number of images it makes a synthetic store of tiny vectors. `new process` is the wall time of `fpve sql STORE
QUERY` from start to end, most of which is Python's imports: it is there to show that it does not grow. The other
figures are of one process that has its libraries: `Store.sql` with a new connection each time, and a new DuckDB that
reads the Parquet files of the same snapshot by read_parquet, in turns. All are medians; files are in the page cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
from synthetic import make

import fpve
from fpve.store import manifest as manifests

REPOSITORY = Path(__file__).parents[2]
QUERIES = {
    "SELECT 1": "SELECT 1",
    "count": "SELECT count(*) FROM {images}",
    "group by": "SELECT kind, count(*), avg(bytes) FROM {images} GROUP BY kind",
    "one image_id": "SELECT caption FROM {images} WHERE image_id = 'c/folder0000/picture_0000500.jpg'",
    "order by": "SELECT image_id FROM {images} ORDER BY content_hash LIMIT 10",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 1_000_000], help="numbers of images")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    options = parser.parse_args()
    print(f"{'':24}{'new process':>14}{'Store.sql':>14}{'DuckDB':>14}{'ratio':>8}")
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="fpve-sql-") as folder:
            measure(make(Path(folder) / "bench", rows).parent / "store", rows, options.rounds)


def measure(root: Path, rows: int, rounds: int) -> None:
    """Print a line for each query."""
    store = fpve.open(root)
    manifest = manifests.load(root)
    pages = [str(root / page.file.path) for one in manifest.collections for page in one.pages]
    plain = f"read_parquet({pages!r})"
    for name, query in QUERIES.items():
        ours, theirs = query.format(images="images"), query.format(images=plain)
        whole = [_seconds(partial(_process, root, ours)) for _ in range(rounds)]
        pairs = [(_seconds(partial(store.sql, ours)), _seconds(partial(_duckdb, theirs))) for _ in range(rounds)]
        mine, other = (1e3 * statistics.median(one) for one in zip(*pairs, strict=True))
        print(
            f"{rows:>9,} {name:14}{1e3 * statistics.median(whole):>11.0f} ms{mine:>11.1f} ms{other:>11.1f} ms"
            f"{mine / other:>8.2f}"
        )


def _process(root: Path, query: str) -> None:
    command = [sys.executable, "-m", "fpve", "sql", str(root), query]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, env=environment, capture_output=True, check=True)


def _duckdb(query: str) -> None:
    duckdb.connect().sql(query).to_arrow_table()


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
