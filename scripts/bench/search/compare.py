"""fpve's search beside raw FAISS, usearch, hnswlib and LanceDB: recall, one query, and many at once.

    .venv/bin/pip install '.[bench]'
    .venv/bin/python scripts/bench/search/compare.py [--data NAME]… [--rows 100000] [--queries 1000] [--rounds 7]

All have the same vectors and the same queries, in one process, and take turns. On one core only: put `taskset -c 0`
before it; all of them heed that. Of fpve it is `store.search` with vectors given: its hits come with their metadata,
those of all others are row numbers.

A hit counts if it scores at least the true tenth score less 1e-4. Every other way is set to the least effort at which
its recall is at least fpve's on the same segments; where it reaches that at no setting, the row is that of the most
effort, with a `<`, and is not timed. Times are medians over rounds, and so are ratios of times in the same round.

    one query      median milliseconds of a query that is asked alone
    at once        queries a second, where all are asked in one call (LanceDB: the first 200)
    fpve's less it milliseconds that fpve takes longer for one query
    fpve / it      fpve's time over its time: below 1 fpve is faster

The demands below the table: batches at most 1.15 times raw FAISS; one query at most 0.5 ms longer than raw FAISS on one
segment, and 2 ms longer on 100 segments than raw FAISS over the same 100 parts in a loop.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from data import KINDS, Data, Floats, Rows, make
from measure import NOT_INSTALLED, K, Times, Truth, each, header, print_table, race, together
from ours import Ours, rows_of
from peers import OTHERS, PACKAGES, RAW, FaissFlat, FaissGraph, FaissParts, Peer, is_installed, named
from stores import ordinary_metadata, write_store

from fpve.errors import FpveError

SEGMENTS = 100
# A query takes it milliseconds, at any setting.
_LANCE_QUERIES = 200
_AT_MOST_TIMES, _AT_MOST_MS = 1.15, {1: 0.5, SEGMENTS: 2.0}
_PARTS = (FaissFlat, lambda: FaissGraph("float32"), lambda: FaissGraph("QT_8bit"))
_HEAD = (
    "",
    "set to",
    "recall",
    "index s",
    "one query ms",
    "at once /s",
    "fpve's less it ms",
    "fpve / it, one",
    "fpve / it, at once",
)


@dataclass
class Way:
    """One way to search, with what was measured of it.

    Attributes:
        name: what the table calls it.
        search: finds the hits of queries (m, dim).
        queries: what it is asked, as many as one batch has.
        setting: what it was set to.
        recall: of its hits.
        reaches: whether that is what it is compared at.
        seconds: that its index took.
    """

    name: str
    search: Callable[[Floats], object]
    queries: Floats
    setting: str
    recall: float
    seconds: float
    reaches: bool = True
    one: Times = field(default_factory=Times)
    batch: Times = field(default_factory=Times)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", choices=KINDS)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--image-weight", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", type=Path, help="folder in which the stores are made; they are not kept")
    options = parser.parse_args()
    print(header(PACKAGES))
    for name in options.data or KINDS:
        data = make(name, rows=options.rows, queries=options.queries)
        dim = data.vectors.shape[1]
        print(f"\n{name}: {options.rows:,} x {dim}, A = {options.image_weight}, k = {K}, {options.queries:,} queries")
        with tempfile.TemporaryDirectory(prefix="fpve-bench-", dir=options.work) as folder:
            _compare(data, options.image_weight, options.rounds, Path(folder))
        gc.collect()


def _compare(data: Data, weight: float, rounds: int, folder: Path) -> None:
    truth = Truth.of(data.vectors, data.weighted(weight))
    single = _ours(data, weight, truth, folder / "one", segments=1)
    many = _ours(data, weight, truth, folder / "many", segments=SEGMENTS)
    rivals = {
        1: [(make_one, single) for make_one in (*RAW, *OTHERS)],
        SEGMENTS: [(lambda one=one: FaissParts(one, SEGMENTS), many) for one in _PARTS],
    }
    missing, ways = [], {1: [single], SEGMENTS: [many]}
    for segments, every in rivals.items():
        for make_one, mine in every:
            peer = make_one()
            if is_installed(peer):
                ways[segments].append(_settled(peer, data, truth, mine.recall))
            else:
                missing.append(peer.name)
    everything = [way for several in ways.values() for way in several]
    at_once = max(1, min(50, len(data.queries) // rounds))
    for way in everything:
        # Once, for what is made when it is first needed.
        way.search(way.queries[:2])
    able = [way for way in everything if way.reaches]
    one = race({way.name: each(way.search, way.queries, at_once) for way in able}, rounds)
    batch = race({way.name: together(way.search, way.queries) for way in able}, rounds)
    for way in able:
        way.one, way.batch = one[way.name], batch[way.name]
    rows = [_row(way, several[0]) for several in ways.values() for way in several]
    rows += [[name, NOT_INSTALLED, *[""] * 7] for name in missing]
    print_table(_HEAD, rows)
    for segments, several in ways.items():
        _demands(segments, several)


def _ours(data: Data, weight: float, truth: Truth, root: Path, *, segments: int) -> Way:
    rows = len(data.vectors)
    written = write_store(
        root,
        data.parts(),
        kind=data.kind,
        segment_rows=-(-rows // segments),
        metadata=ordinary_metadata(rows),
    )
    ours = Ours(root)
    recall = truth.recall(rows_of(ours.search(data.queries, weight)))
    name = f"fpve, {segments} segment{'s' if segments > 1 else ''}"
    ways = ours.ways(data.queries[:1], weight)
    return Way(name, lambda asked: ours.search(asked, weight), data.queries, ways, recall, written.indexes)


def _settled(peer: Peer, data: Data, truth: Truth, target: float) -> Way:
    """A peer with its index, set to the least effort that reaches a recall, or to the most."""
    start = time.perf_counter()
    peer.build(data.vectors)
    seconds = time.perf_counter() - start
    asked = truth.first(_LANCE_QUERIES) if peer.package == "lancedb" else truth

    @cache
    def recall(number: int) -> float:
        return asked.recall(peer.search(asked.queries, K, peer.settings[number]))

    numbers = range(len(peer.settings))
    chosen = min(bisect_left(numbers, target, key=recall), numbers[-1])
    setting = peer.settings[chosen]

    def search(queries: Floats) -> Rows:
        return peer.search(queries, K, setting)

    found = recall(chosen)
    return Way(peer.name, search, asked.queries, named(setting), found, seconds, reaches=found >= target)


def _row(way: Way, mine: Way) -> list[str]:
    cells = [
        way.name,
        way.setting,
        f"{'' if way.reaches else '< '}{way.recall:.4f}",
        f"{way.seconds:.1f}",
    ]
    if not way.reaches:
        return [*cells, *[""] * 5]
    cells += [
        f"{way.one.median * 1e3:.3f}",
        f"{1 / way.batch.median:,.0f}",
    ]
    if way is mine:
        return [*cells, "", "", ""]
    return [
        *cells,
        f"{mine.one.more_than(way.one) * 1e3:+.3f}",
        f"{mine.one.ratio_to(way.one):.2f}",
        f"{mine.batch.ratio_to(way.batch):.2f}",
    ]


def _demands(segments: int, ways: Sequence[Way]) -> None:
    """Say how fpve does beside the fastest ways that reach its recall."""
    mine, *others = ways
    groups = {"raw FAISS": [way for way in others if way.name.startswith("FAISS")]}
    if segments == 1:
        groups["other libraries"] = [way for way in others if not way.name.startswith("FAISS")]
    for group, every in groups.items():
        able = [way for way in every if way.reaches]
        if not able:
            print(f"{mine.name}: none of {group} reaches its recall of {mine.recall:.4f}")
            continue
        batch = min(able, key=lambda way: way.batch.median)
        one = min(able, key=lambda way: way.one.median)
        ratio, more = mine.batch.ratio_to(batch.batch), mine.one.more_than(one.one) * 1e3
        told, told_one = "", ""
        if group == "raw FAISS":
            told, told_one = _verdict(ratio, _AT_MOST_TIMES), _verdict(more, _AT_MOST_MS[segments])
        print(
            f"{mine.name}, beside {group}: at once {ratio:.2f} times {batch.name}{told}; "
            f"one query {mine.one.ratio_to(one.one):.2f} times {one.name}, {more:+.3f} ms{told_one}"
        )


def _verdict(found: float, at_most: float) -> str:
    return f" (at most {at_most}: {'yes' if found <= at_most else 'NO'})"


if __name__ == "__main__":
    try:
        main()
    except FpveError as error:
        sys.exit(f"bench: {error}")
