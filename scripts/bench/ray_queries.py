"""Batches of queries and indexes by workers of a Ray cluster beside this process; and one query, by its memory.

    .venv/bin/python scripts/bench/ray_queries.py [--rows 100000] [--segments 25] [--queries 1000] [--workers 1]…
    .venv/bin/python scripts/bench/ray_queries.py --memory

The store is one of `search/stores.py`: fused vectors of two blocks, nothing encoded. Ray is begun on this machine, with
half a CPU, and one thread, for each worker where there are two kinds of them. Here all cores search. All take turns in
rounds, and the best one counts, for others on the machine only ever take time: more of Ray's workers than of this
process, as they have a niceness of 15. What is begun once, workers and their indexes, is a line of its own. It fails if
a row or a score is not that of a search here, to the last bit.

With `--memory` one query is asked in a process of its own, which may map less memory to write to (RLIMIT_DATA) than the
indexes have bytes. Said is what it has beyond Python and the libraries, of anonymous memory, which can't be dropped
and read again. It fails if the process does.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "search"))

from data import make
from resident import anonymous
from stores import ordinary_metadata, write_store

from fpve.engines.cluster.cluster import Cluster
from fpve.engines.cluster.mapper import RayMapper
from fpve.fusion import Blocks
from fpve.index import reindexed
from fpve.neighbours import Neighbours
from fpve.search import Searcher
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot

K, WEIGHT = 10, 0.5
# Python and its libraries map about 300 MB to write to, most of which they never do; this is what a query may have.
_MAY_HAVE = 330_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--segments", type=int, default=25)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask is not None:
        _ask(options.ask)
        return
    with tempfile.TemporaryDirectory(prefix="fpve-bench-") as folder:
        root = Path(folder) / "store"
        data = make("synthetic-896", rows=options.rows, queries=options.queries)
        segment_rows = -(-options.rows // options.segments)
        metadata = ordinary_metadata(options.rows)
        write_store(root, data.parts(), kind=data.kind, segment_rows=segment_rows, metadata=metadata)
        np.save(Path(folder) / "queries.npy", data.queries)
        if options.memory:
            _memory(root)
        else:
            print(f"{options.rows:,} x {data.vectors.shape[1]}, {options.segments} segments, {os.cpu_count()} CPUs")
            _batches(root, data.queries, options.workers or [1, 2], options.rounds)
            _indexes(root, options.workers or [1, 2], options.rounds)


def _batches(root: Path, queries: np.ndarray, workers: list[int], rounds: int) -> None:
    here = Searcher(Snapshot.open(root))
    blocks = here.split(queries)

    def search(searcher: Searcher) -> Neighbours:
        return searcher.nearest(blocks, image_weight=WEIGHT, k=K)

    true = search(here)
    ways: dict[str, Callable[[], Neighbours]] = {"here": lambda: search(here)}
    print(f"\n{len(queries):,} queries, k = {K}, A = {WEIGHT}")
    mappers = []
    for count in workers:
        # One Ray: the first begins it, the others are connected with it.
        start = time.perf_counter()
        mapper = RayMapper(Cluster(address="local" if not mappers else None, workers=count, cpus=1 / len(workers)))
        mappers.append(mapper)
        there = Searcher(Snapshot.open(root), over=mapper)
        found = search(there)
        print(f"{count} workers: {time.perf_counter() - start:.1f} s until the first batch is answered")
        if not all(np.array_equal(mine, other) for mine, other in zip(found, true, strict=True)):
            sys.exit("bench: what workers found is not what is found here")
        ways[f"{count} workers"] = lambda there=there: search(there)
    _race(ways, rounds)
    for mapper in reversed(mappers):
        mapper.close()


def _indexes(root: Path, workers: list[int], rounds: int) -> None:
    manifest = manifests.load(root)
    bare = replace(manifest, segments=tuple(replace(one, derived=(), ann=None) for one in manifest.segments))
    print("\nindexes of all segments, built anew")
    mappers = {}
    for count in workers:
        mapper = RayMapper(Cluster(address="local" if not mappers else None, workers=count, cpus=1 / len(workers)))
        mappers[f"{count} workers"] = mapper
        # So that none begins in the first round.
        list(mapper.map(abs, range(4 * count)))

    def build(mapper: RayMapper | None) -> None:
        if reindexed(Snapshot(root, bare), over=mapper) != manifest.segments:
            sys.exit("bench: what workers built is not what is built here")

    ways: dict[str, Callable[[], None]] = {"here": lambda: build(None)}
    ways |= {name: lambda one=one: build(one) for name, one in mappers.items()}
    _race(ways, rounds)
    for mapper in reversed(mappers.values()):
        mapper.close()


def _race(ways: dict[str, Callable[[], object]], rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    for name, mine in times.items():
        each = ", ".join(f"{one:.2f}" for one in mine)
        print(f"{name:12} {min(mine):7.2f} s   {min(mine) / min(times['here']):.2f} times here   ({each})")


def _memory(root: Path) -> None:
    manifest = manifests.load(root)
    size = sum((root / name).stat().st_size for one in manifest.segments for name in one.derived_files)
    if size < _MAY_HAVE:
        sys.exit(f"bench: expected more than {_MAY_HAVE:,} bytes of indexes, found {size:,}: ask for more rows")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (_MAY_HAVE, _MAY_HAVE))

    vectors = sum(one.rows for one in manifest.segments)
    print(f"{vectors:,} vectors, {size / 1e6:,.0f} MB of indexes; a query may map {_MAY_HAVE / 1e6:g} MB to write to")
    sys.stdout.flush()
    words = [sys.executable, __file__, "--ask", str(root)]
    # Threads have stacks and arenas of their own, which count though they are not used.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    sys.exit(subprocess.run(words, preexec_fn=limit, env=environment).returncode)


def _ask(root: Path) -> None:
    """Ask single queries in this process, and say what memory of its own it has."""
    queries = np.load(root.parent / "queries.npy")
    import faiss  # noqa: F401 (not to be counted)

    before = anonymous()
    searcher = Searcher(Snapshot.open(root))
    blocks = searcher.split(queries[:5])

    def ask(number: int, *, exact: bool) -> None:
        one = Blocks(blocks.image[number : number + 1], blocks.prefix[number : number + 1])
        found = searcher.nearest(one, image_weight=WEIGHT, k=K, exact=exact)
        searcher.hits(found)

    for what, exact in (("one query", False), ("four more, every vector scored", True)):
        start = time.perf_counter()
        for number in range(1, 5) if exact else range(1):
            ask(number, exact=exact)
        more = anonymous() - before
        rows = len(searcher.snapshot.rows)
        print(
            f"{what}: {time.perf_counter() - start:.2f} s; {more:,.0f} MiB of its own beyond the libraries' "
            f"{before:,.0f}, {more * 2**20 / rows:.0f} bytes an image"
        )


if __name__ == "__main__":
    main()
