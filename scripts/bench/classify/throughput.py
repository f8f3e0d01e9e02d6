"""Classify every image of a store of 100,000 by id, beside a search for as many neighbours of the same images.

    .venv/bin/python scripts/bench/classify/throughput.py [--data NAME]… [--rows 100000] [--queries 100000] [--rounds 2]

The store is synthetic, with 100 classes drawn by chance in two label columns: one has a value in each row, the other
in a half of them. `store.classify(ids=batch)` and `store.search(ids=batch)` are asked the same batches of 1,000 with
k = 20, and searches go among the labelled images too (`where`). They take turns batch by batch, so that what else the
machine does slows both down, and answer with Arrow tables. Half an hour on two cores. The demand: classification
takes at most 1.2 times the search.

    search, classify   seconds for all queries; medians over rounds
    ratio              the median of the ratios in the same round, and the least and the largest
    bare votes         the same of `temperature=0.07`, which is not calibrated
    first call         seconds of the first classification of a batch, which calibrates, less those of a later one
    memory             MiB of memory of its own that the process grows by at most, in one classification of a batch and
                       in the first, which calibrates
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Stores and timing are those of the benchmarks of search.
sys.path.append(str(Path(__file__).resolve().parents[1] / "search"))

from data import KINDS, make
from measure import Times, header, timed
from resident import PeakAnonymous, anonymous
from stores import ordinary_metadata, write_store

import fpve
from fpve.errors import FpveError

K = 20
BATCH = 1_000
ALL, HALF = "label", "half"
AT_MOST = 1.2
HEAD = ("labelled", "search s", "classify s", "ratio", "bare votes", "first call s", "memory MiB")
WIDTH, CELL = 28, 20


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", choices=KINDS)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder in which the stores are made; they are not kept")
    options = parser.parse_args()
    print(header(()))
    print(f"{'':{WIDTH}}" + "".join(f"{name:>{CELL}}" for name in HEAD))
    failed = 0
    for name in options.data or ["halves-896"]:
        data = make(name, rows=options.rows, queries=1)
        with tempfile.TemporaryDirectory(prefix="fpve-bench-", dir=options.work) as folder:
            root = Path(folder) / "store"
            write_store(root, data.parts(), kind=data.kind, segment_rows=options.rows, metadata=labelled(options.rows))
            store = fpve.open(root)
            for label in (ALL, HALF):
                cells, ratio = measure(store, label, options.queries, options.rounds)
                row = "".join(f"{cell:>{CELL}}" for cell in cells)
                print(f"{f'{name}, {options.rows:,} rows':{WIDTH}}{row}", flush=True)
                failed += ratio > AT_MOST
    print(f"\nat most {AT_MOST} times a search: {'NO' if failed else 'yes'}")
    return 1 if failed else 0


def measure(store: fpve.Store, label: str, queries: int, rounds: int) -> tuple[list[str], float]:
    """The figures of one label, and the ratio that is demanded."""
    ids = store.images["image_id"].to_pylist()
    asked = [ids[at] for at in np.random.default_rng(0).permutation(len(ids))[:queries]]
    batches = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
    share = 1 - store.images[label].null_count / len(ids)
    where = None if share == 1 else f"{label} IS NOT NULL"

    def search(batch: Sequence[str]) -> object:
        return store.search(ids=batch, k=K, where=where)

    def classify(batch: Sequence[str]) -> object:
        return store.classify(ids=batch, label=label, k=K).to_arrow()

    def bare(batch: Sequence[str]) -> object:
        return store.classify(ids=batch, label=label, k=K, temperature=0.07).to_arrow()

    search(batches[0])
    bare(batches[0])
    first, grown_first = costs(classify, batches[0])
    later, grown = costs(classify, batches[0])
    times = race({"search": search, "classify": classify, "bare": bare}, batches, rounds)
    cells = [
        f"{share:.0%}",
        *(f"{times[name].median:.1f}" for name in ("search", "classify")),
        ratios(times["classify"], times["search"]),
        ratios(times["bare"], times["search"]),
        f"{first - later:.1f}",
        f"{grown:.0f}, {grown_first:.0f}",
    ]
    return cells, times["classify"].ratio_to(times["search"])


def race(
    ways: dict[str, Callable[[Sequence[str]], object]], batches: list[Sequence[str]], rounds: int
) -> dict[str, Times]:
    """Seconds of all batches, round by round. The ways take turns batch by batch, each as often first as the others."""
    times = {name: Times() for name in ways}
    for _ in range(rounds):
        seconds = dict.fromkeys(ways, 0.0)
        for number, batch in enumerate(batches):
            names = list(ways)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                seconds[name] += timed(ways[name], batch)
        for name, one in seconds.items():
            times[name].rounds.append(one)
    return times


def costs(way: Callable[[Sequence[str]], object], batch: Sequence[str]) -> tuple[float, float]:
    """Seconds of one call, and MiB of memory that it takes at most."""
    before = anonymous()
    with PeakAnonymous() as peak:
        seconds = timed(way, batch)
    return seconds, peak.mib - before


def ratios(one: Times, other: Times) -> str:
    every = one.ratios_to(other)
    return f"{one.ratio_to(other):.2f} ({min(every):.2f} to {max(every):.2f})"


def labelled(rows: int) -> pa.Table:
    """Ordinary metadata, with a second label that only a half of the rows have, drawn by chance."""
    metadata = ordinary_metadata(rows)
    keep = pa.array(np.random.default_rng(1).random(rows) < 1 / 2)
    return metadata.append_column(HALF, pc.if_else(keep, metadata[ALL], pa.scalar(None, pa.string())))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FpveError as error:
        sys.exit(f"bench: {error}")
