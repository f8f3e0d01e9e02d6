"""fpve's search under conditions that few or many rows meet, beside exact scans of the rows that meet them.

    .venv/bin/python scripts/bench/search/filters.py [--data NAME]… [--rows 100000] [--bases 8] [--batch 50]

Ten conditions: 0.01 %, 0.1 %, 1 %, 10 % and 50 % of the rows, once at random, once the farthest from the query (by
score, so that nothing near the query is allowed). What is data must be in a column: for each of a few base queries
there is one with the rank of every row, and `far3 >= 99990` are the ten farthest. A batch is a base query and others
that ask for nearly the same. Recall is that of batches, by score; where fewer than ten rows are allowed, of as many.

The rivals scan all that is allowed: given the rows' numbers or a mask of them beforehand, the fastest of NumPy (take
the rows, multiply), FAISS's `knn` on the rows taken, and IndexFlatIP with each of its selectors; and fpve itself with
`exact=True`. They are timed in turns, for each base query in several rounds.

    mask       given the mask: `Searcher.nearest` of fpve, in milliseconds (of the whole batch, where it is one)
    / scan     its time over the fastest scan's, the median, and how much more it is in milliseconds
    / exact    over fpve's own with exact=True
    search     `store.search` with `where`, vectors given: the condition, the search, and the metadata of the hits
    / both     its time over that of the condition, answered by fpve as well, and the fastest scan together
    condition  answered for the first time; fpve remembers the last ones, so that it hardly counts in the others

A ratio above 1 has a `=` where a quarter of the rounds are at most 1, that is within noise, and else a `!`.
Exits with 1 where a recall is below 0.98.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from data import KINDS, Data, Floats, Rows, make, near, weighted
from measure import K, Times, Truth, header, print_table, race, steady, timed
from ours import Ours, rows_of
from stores import write_store

from fpve.errors import FpveError

TARGET = 0.98
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
WEIGHT = 0.5
# Of the first times of scans: others run on this machine too.
_FAR = 3
_OURS, _EXACT, _SEARCH, _CONDITION = "fpve", "fpve, exact", "store.search", "condition"


@dataclass(frozen=True)
class Condition:
    """Which rows are allowed: in SQL, as numbers (r,), and as a mask (n,)."""

    where: str
    rows: Rows
    mask: np.ndarray


@dataclass
class Asked:
    """What was measured of one query, or of batches: how fpve searched, which scans are timed, and times by way."""

    searched: list[str] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)
    times: dict[str, Times] = field(default_factory=dict)


@dataclass
class Cell:
    """What was measured of one kind of condition, over all base queries: recalls, seconds to answer it first, times."""

    recalls: list[float] = field(default_factory=list)
    conditions: list[float] = field(default_factory=list)
    one: Asked = field(default_factory=Asked)
    batch: Asked = field(default_factory=Asked)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", choices=KINDS)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--bases", type=int, default=8)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--segments", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder in which the stores are made; they are not kept")
    options = parser.parse_args()
    print(header(("duckdb",)))
    failed = 0
    for name in options.data or list(KINDS)[:2]:
        data = make(name, rows=options.rows, queries=options.bases)
        print(
            f"\n{name}: {options.rows:,} x {data.vectors.shape[1]}, {options.segments} segments, A = {WEIGHT}, "
            f"k = {K}, {options.bases} base queries, batches of {options.batch}"
        )
        with tempfile.TemporaryDirectory(prefix="fpve-bench-", dir=options.work) as folder:
            failed += _cells(data, options, Path(folder) / "store")
    print(f"\n{failed} recalls below {TARGET}")
    return 1 if failed else 0


def _cells(data: Data, options: argparse.Namespace, root: Path) -> int:
    """Print the table of a set, and say how many recalls are below the target."""
    ranks = _ranks(data)
    write_store(
        root,
        data.parts(),
        kind=data.kind,
        segment_rows=-(-options.rows // options.segments),
        metadata=pa.table(ranks),
    )
    ours, scans = Ours(root), _Scans(data.vectors)
    batches = near(data.queries, data.kind, options.batch, seed=1)
    cells = {}
    for share in SHARES:
        for place in ("random", "farthest"):
            cell = cells[f"{100 * share:g} %, {place}"] = Cell()
            for number, batch in enumerate(batches):
                column = "random" if place == "random" else f"far{number}"
                _measure(cell, data, ours, scans, batch, _condition(ranks, column, share), options.rounds)
    for what in ("one", "batch"):
        title = "one query" if what == "one" else f"{options.batch} queries at once"
        head = [title, "rows", "recall", "searched", "mask ms", "/ scan", "the scan", "/ exact"]
        head += ["search ms", "/ both", "condition ms"]
        shares = [share for share in SHARES for _ in range(2)]
        print()
        print_table(
            head,
            [
                _row(name, cell, getattr(cell, what), _count(share, options.rows))
                for (name, cell), share in zip(cells.items(), shares, strict=True)
            ],
        )
    return sum(statistics.mean(cell.recalls) < TARGET for cell in cells.values())


def _ranks(data: Data) -> dict[str, Rows]:
    """Columns of ranks (n,), from 0: at random, and from the nearest to the farthest of each query."""
    count = len(data.vectors)
    found = {"random": np.random.default_rng(0).permutation(count)}
    for number, query in enumerate(data.weighted(WEIGHT)):
        rank = np.empty(count, np.int64)
        rank[np.argsort(-(data.vectors @ query), kind="stable")] = np.arange(count)
        found[f"far{number}"] = rank
    return found


def _condition(ranks: Mapping[str, Rows], column: str, share: float) -> Condition:
    rank = ranks[column]
    least = len(rank) - _count(share, len(rank))
    mask = rank >= least
    return Condition(f"{column} >= {least}", np.flatnonzero(mask), mask)


def _count(share: float, rows: int) -> int:
    return max(1, round(share * rows))


def _measure(
    cell: Cell, data: Data, ours: Ours, scans: _Scans, batch: Floats, condition: Condition, rounds: int
) -> None:
    queries = weighted(batch, data.kind, WEIGHT)
    truth = Truth.of(data.vectors, queries, condition.rows)
    cell.recalls.append(truth.recall(rows_of(ours.search(batch, WEIGHT, where=condition.where))))
    cell.conditions.append(timed(ours.searcher.matching, condition.where))
    # A batch takes long enough that little is lost to what ran before it, and not to be asked so often.
    for kept, count, calls, turns in ((cell.one, 1, 3, rounds), (cell.batch, len(batch), 1, max(1, rounds // 2))):
        asked, weighed = batch[:count], queries[:count]
        kept.searched.append(ours.ways(asked, WEIGHT, allowed=condition.mask))
        kept.scans = kept.scans or scans.worth_timing(weighed, condition)
        ways: dict[str, Callable[[], object]] = {
            _OURS: partial(ours.nearest, asked, WEIGHT, allowed=condition.mask),
            _EXACT: partial(ours.nearest, asked, WEIGHT, allowed=condition.mask, exact=True),
            **{name: partial(scans.ways[name], weighed, condition) for name in kept.scans},
            _CONDITION: partial(ours.searcher.matching, condition.where),
            _SEARCH: partial(ours.search, asked, WEIGHT, where=condition.where),
        }
        once = partial(steady, calls=calls)
        raced = race({name: lambda _, way=way, once=once: once(way) for name, way in ways.items()}, turns)
        for name, found in raced.items():
            kept.times.setdefault(name, Times()).rounds.extend(found.rounds)


class _Scans:
    """Exact scans of the rows that a condition allows, by name: of queries (m, dim), the K best rows (m, K)."""

    def __init__(self, vectors: Floats) -> None:
        import faiss

        self._vectors = vectors
        self._flat = faiss.IndexFlatIP(vectors.shape[1])
        self._flat.add(vectors)
        self.ways: dict[str, Callable[[Floats, Condition], Rows]] = {
            "NumPy": self._numpy,
            "FAISS knn": self._knn,
            "FAISS bitmap": self._bitmap,
            "FAISS numbers": self._numbers,
        }

    def worth_timing(self, queries: Floats, condition: Condition) -> list[str]:
        """Those that aren't far from the fastest: some take a hundred times as long, where many rows are allowed."""
        times = {name: steady(partial(scan, queries, condition), 1) for name, scan in self.ways.items()}
        return [name for name, seconds in times.items() if seconds <= _FAR * min(times.values())]

    def _numpy(self, queries: Floats, condition: Condition) -> Rows:
        scores = queries @ self._vectors[condition.rows].T
        k = min(K, len(condition.rows))
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return condition.rows[np.take_along_axis(best, order, axis=1)]

    def _knn(self, queries: Floats, condition: Condition) -> Rows:
        import faiss

        taken, k = self._vectors[condition.rows], min(K, len(condition.rows))
        return condition.rows[faiss.knn(queries, taken, k, metric=faiss.METRIC_INNER_PRODUCT)[1]]

    def _bitmap(self, queries: Floats, condition: Condition) -> Rows:
        import faiss

        chosen = faiss.IDSelectorBitmap(np.packbits(condition.mask, bitorder="little"))
        return self._flat.search(queries, K, params=faiss.SearchParameters(sel=chosen))[1]

    def _numbers(self, queries: Floats, condition: Condition) -> Rows:
        import faiss

        chosen = faiss.IDSelectorArray(condition.rows)
        return self._flat.search(queries, K, params=faiss.SearchParameters(sel=chosen))[1]


def _row(name: str, cell: Cell, asked: Asked, rows: int) -> list[str]:
    times = asked.times
    fastest = min(asked.scans, key=lambda way: times[way].median)
    scan = times[fastest]
    both = Times([one + other for one, other in zip(times[_CONDITION].rounds, scan.rounds, strict=True)])
    recall = statistics.mean(cell.recalls)
    return [
        name,
        f"{rows:,}",
        f"{recall:.4f}{'' if recall >= TARGET else ' BELOW'}",
        statistics.mode(asked.searched),
        f"{times[_OURS].median * 1e3:.3f}",
        f"{_ratio(times[_OURS], scan)} {times[_OURS].more_than(scan) * 1e3:+.3f} ms",
        fastest,
        _ratio(times[_OURS], times[_EXACT]),
        f"{times[_SEARCH].median * 1e3:.2f}",
        _ratio(times[_SEARCH], both),
        f"{cell.conditions[0] * 1e3:.1f}",
    ]


def _ratio(mine: Times, other: Times) -> str:
    ratios = mine.ratios_to(other)
    median = statistics.median(ratios)
    mark = "" if median <= 1 else "=" if np.quantile(ratios, 0.25) <= 1 else "!"
    return f"{median:.2f}{mark}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FpveError as error:
        sys.exit(f"bench: {error}")
