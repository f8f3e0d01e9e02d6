"""Recall of fpve's search at eleven weights A of the image block, on three sets of vectors, against its target.

    .venv/bin/python scripts/bench/search/weights.py [--data NAME]… [--rows 100000] [--queries 1000] [--segments 1]

A = 0 ranks by prefixes alone, A = 1 by images alone; no graph over fused vectors serves both. A hit counts if it
scores at least the true tenth score less 1e-4: where prefixes are shared, thousands of rows score the same at A = 0.
Exits with 1 if a recall is below the target.

    recall     of `store.search` with vectors given, all queries in one call
    worst      the share of true hits of the worst twentieth of the queries
    searched   by which ways, and in how many segments
    one query  milliseconds of a query that is asked alone, the median of 50
    at once    queries a second, in the one call
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from data import KINDS, Data, make
from measure import K, Truth, each, header, print_table, timed
from ours import Ours, rows_of
from stores import ordinary_metadata, write_store

from fpve.errors import FpveError

TARGET = 0.98
WEIGHTS = np.linspace(0, 1, 11).round(1)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", choices=KINDS)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--segments", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder in which the stores are made; they are not kept")
    options = parser.parse_args()
    print(header(()))
    failed = 0
    for name in options.data or KINDS:
        data = make(name, rows=options.rows, queries=options.queries)
        dim = data.vectors.shape[1]
        print(f"\n{name}: {options.rows:,} x {dim}, {options.segments} segments, k = {K}, {options.queries:,} queries")
        with tempfile.TemporaryDirectory(prefix="fpve-bench-", dir=options.work) as folder:
            failed += _curve(data, options.segments, Path(folder) / "store")
    print(f"\n{failed} below {TARGET}")
    return 1 if failed else 0


def _curve(data: Data, segments: int, root: Path) -> int:
    """Print the recall at each weight, and say how many are below the target."""
    rows = len(data.vectors)
    write_store(
        root,
        data.parts(),
        kind=data.kind,
        segment_rows=-(-rows // segments),
        metadata=ordinary_metadata(rows),
    )
    ours = Ours(root)
    # Once, for what is made when it is first needed.
    ours.search(data.queries[:2], 0.5)
    table, failed = [], 0
    for weight in WEIGHTS.tolist():
        truth = Truth.of(data.vectors, data.weighted(weight))

        def search(queries: np.ndarray, weight: float = weight) -> object:
            return ours.search(queries, weight)

        found = rows_of(ours.search(data.queries, weight))
        recall, by_query = truth.recall(found), np.sort(truth.recalls(found))
        failed += recall < TARGET
        table.append(
            [
                f"{weight}",
                f"{recall:.4f}",
                f"{recall - TARGET:+.4f}{'' if recall >= TARGET else ' BELOW'}",
                f"{by_query[: max(1, len(by_query) // 20)].mean():.3f}",
                ours.ways(data.queries, weight),
                f"{each(search, data.queries, min(50, len(data.queries)))(0) * 1e3:.3f}",
                f"{len(data.queries) / timed(search, data.queries):,.0f}",
            ]
        )
    print_table(["A", "recall", "less target", "worst", "searched", "one query ms", "at once /s"], table)
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FpveError as error:
        sys.exit(f"bench: {error}")
