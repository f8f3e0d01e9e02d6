"""A million vectors: what it takes to build their store, and to search it, in memory and time.

    .venv/bin/python scripts/bench/search/million.py [--rows 1000000] [--data synthetic-896] [--segments 1] [--work DIR]

The vectors are made in a stream and never all in memory; --work is a folder with room for the store (of a million: its
rows 3.6 GB, and its indexes). Each of these is a process of its own:

- the build: `rows.parquet`, pages and tables by the store's own writers, then the indexes, with the peak of all that
  was resident (VmHWM) and of anonymous memory (RssAnon, looked at 200 times a second), against 8 GiB;
- a first query after the store was dropped from the system's cache, and one that finds it there: from the start of the
  process to the hits, and without the start of Python and the imports;
- searches at some weights: milliseconds of a query that is asked alone, queries a second in one call, and the peak of
  anonymous memory, against 2 GiB.

Recall is by score, of hits that are scored anew: the stream is made once more, after the searches. Exits with 1 where
more memory was taken, or a recall is below 0.98.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data import KINDS, Floats, Fused, Rows, Stream, weighted
from measure import TOLERANCE, K, header, print_table, timed
from resident import PeakAnonymous, peak

from fpve.errors import FpveError

TARGET = 0.98
BUILD_MIB, SEARCH_MIB = 8 * 1024, 2 * 1024
_SINGLE = 50


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=KINDS, default="synthetic-896")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--segments", type=int, default=1)
    parser.add_argument("--image-weight", type=float, action="append", help="0, 0.5 and 1")
    parser.add_argument("--work", type=Path, help="folder in which the store is made; it is not kept")
    parser.add_argument("--child", choices=_CHILDREN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.image_weight = options.image_weight or [0.0, 0.5, 1.0]
    if options.child:
        json.dump(_CHILDREN[options.child](options), sys.stdout)
        return 0
    with tempfile.TemporaryDirectory(prefix="fpve-bench-", dir=options.work) as folder:
        options.work = Path(folder)
        return _measure(options)


def _measure(options: argparse.Namespace) -> int:
    print(header(()))
    kind, store = KINDS[options.data], options.work / "store"
    print(
        f"\n{options.data}: {options.rows:,} x {kind.image_dim + kind.prefix_dim}, {options.segments} segments, k = {K}"
    )
    built, _ = _child("build", options)
    sizes = _sizes(store)
    print_table(
        ["build", "", "of it"],
        [
            ["making the vectors", f"{built['made']:.1f} s", "not counted below"],
            ["rows", f"{built['rows']:.1f} s", ""],
            ["images and tables", f"{built['images']:.1f} s", ""],
            ["indexes", f"{built['indexes']:.1f} s", ""],
            ["all", f"{built['rows'] + built['images'] + built['indexes']:.1f} s", ""],
            ["peak, resident", f"{built['peak']:,.0f} MiB", _verdict(built["peak"], BUILD_MIB)],
            ["peak, anonymous", f"{built['anonymous']:,.0f} MiB", _verdict(built["anonymous"], BUILD_MIB)],
            *([name, f"{size / options.rows:,.0f} bytes a row", f"{size:,} bytes"] for name, size in sizes.items()),
        ],
    )
    _drop_from_cache(store)
    first = {"not in the system's cache": _child("first", options), "in its cache": _child("first", options)}
    searched, _ = _child("search", options)
    print()
    print_table(
        ["first query of a process", "from its start s", "opening and query s", "anonymous MiB"],
        [
            [name, f"{seconds:.2f}", f"{found['query']:.3f}", f"{found['anonymous']:,.0f}"]
            for name, (found, seconds) in first.items()
        ],
    )
    recalls = _recalls(options)
    print()
    print_table(
        ["A", "recall", "searched", "one query ms", "at once /s"],
        [
            [
                f"{weight}",
                f"{recall:.4f}{'' if recall >= TARGET else ' BELOW'}",
                one["ways"],
                f"{one['single'] * 1e3:.2f}",
                f"{one['rate']:,.0f}",
            ]
            for weight, one, recall in zip(options.image_weight, searched["weights"], recalls, strict=True)
        ],
    )
    print(
        f"{len(searched['weights'])} times {_SINGLE} single queries and a batch of {options.queries:,}: anonymous at "
        f"most {searched['anonymous']:,.0f} MiB {_verdict(searched['anonymous'], SEARCH_MIB)}, with what the process "
        f"maps of files {searched['peak']:,.0f} MiB"
    )
    within = max(built["peak"], built["anonymous"]) <= BUILD_MIB and searched["anonymous"] <= SEARCH_MIB
    return 0 if within and min(recalls) >= TARGET else 1


def _child(name: str, options: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """What a process of its own found, and the seconds from its start to its end."""
    command = [sys.executable, __file__, "--child", name, "--work", str(options.work), "--data", options.data]
    command += ["--rows", str(options.rows), "--queries", str(options.queries), "--segments", str(options.segments)]
    for weight in options.image_weight:
        command += ["--image-weight", str(weight)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}")
    return json.loads(done.stdout), seconds


def _build(options: argparse.Namespace) -> dict[str, float]:
    from stores import ordinary_metadata, write_store

    stream, made = Stream(options.data, options.rows), 0.0

    def parts() -> Iterator[Fused]:
        nonlocal made
        source = stream.parts()
        while True:
            start = time.perf_counter()
            part = next(source, None)
            made += time.perf_counter() - start
            if part is None:
                return
            yield part

    with PeakAnonymous() as most:
        written = write_store(
            options.work / "store",
            parts(),
            kind=stream.kind,
            segment_rows=-(-options.rows // options.segments),
            metadata=ordinary_metadata(options.rows),
        )
    return {
        "made": made,
        "rows": written.rows - made,
        "images": written.images,
        "indexes": written.indexes,
        "peak": peak(),
        "anonymous": most.mib,
    }


def _first(options: argparse.Namespace) -> dict[str, float]:
    """What a person waits for: one query, and its hits with their metadata."""
    query = Stream(options.data, options.rows).queries(1)
    import fpve

    with PeakAnonymous() as most:
        start = time.perf_counter()
        with fpve.open(options.work / "store") as store:
            hits = store.search(vectors=query, image_weight=0.5, k=K)[0]
            names = [hit.image_id for hit in hits]
        seconds = time.perf_counter() - start
    if len(names) != min(K, options.rows):
        raise SystemExit(f"expected {K} hits, found {names}")
    return {"query": seconds, "anonymous": most.mib}


def _search(options: argparse.Namespace) -> dict[str, Any]:
    from ours import Ours, rows_of

    queries = Stream(options.data, options.rows).queries(options.queries)
    ours, found, weights = Ours(options.work / "store"), {}, []
    with PeakAnonymous() as most:
        for number, weight in enumerate(options.image_weight):
            ours.search(queries[:2], weight)
            single = statistics.median(
                timed(ours.search, queries[place : place + 1], weight) for place in range(min(_SINGLE, len(queries)))
            )
            start = time.perf_counter()
            hits = ours.search(queries, weight)
            seconds = time.perf_counter() - start
            found[str(number)] = rows_of(hits)
            ways = ours.ways(queries[:1], weight)
            weights.append({"single": single, "rate": len(queries) / seconds, "ways": ways})
    np.savez(options.work / "found.npz", **found)
    return {"weights": weights, "anonymous": most.mib, "peak": peak()}


_CHILDREN = {"build": _build, "first": _first, "search": _search}


def _recalls(options: argparse.Namespace) -> list[float]:
    """The recall at each weight: the stream once more, and never more of it than a part."""
    stream = Stream(options.data, options.rows)
    asked = stream.queries(options.queries)
    with np.load(options.work / "found.npz") as kept:
        found = [kept[str(number)] for number in range(len(options.image_weight))]
    queries = [weighted(asked, stream.kind, weight) for weight in options.image_weight]
    best = [np.full((len(asked), K), -np.inf, np.float32) for _ in queries]
    scored = [np.full(rows.shape, -np.inf, np.float32) for rows in found]
    start = 0
    for part in stream.parts():
        for number, rows in enumerate(found):
            scores = queries[number] @ part.vectors.T
            best[number] = _largest(best[number], scores)
            here = (rows >= start) & (rows < start + len(part.vectors))
            scored[number][here] = scores[np.nonzero(here)[0], rows[here] - start]
        start += len(part.vectors)
    return [_recall(*one) for one in zip(found, scored, best, strict=True)]


def _largest(best: Floats, scores: Floats) -> Floats:
    """The K largest of two sets of scores (m, …), not in order."""
    top = np.partition(scores, max(scores.shape[1] - K, 0), axis=1)[:, -K:]
    return np.partition(np.hstack([best, top]), -K, axis=1)[:, -K:]


def _recall(rows: Rows, scores: Floats, best: Floats) -> float:
    order = np.argsort(rows, axis=1)
    new = np.diff(np.take_along_axis(rows, order, axis=1), axis=1, prepend=-1) > 0
    kth = best.min(axis=1, keepdims=True)
    good = new & (np.take_along_axis(scores, order, axis=1) >= kth - TOLERANCE)
    return float(good.mean())


def _sizes(store: Path) -> dict[str, int]:
    """Bytes of the store by what they are."""
    found = dict.fromkeys(("vectors, rows.parquet", "vectors, derived", "images and tables", "all"), 0)
    for file in store.rglob("*"):
        if file.is_file():
            in_vectors = file.relative_to(store).parts[0] == "vectors"
            rows = "vectors, rows.parquet" if file.name == "rows.parquet" else "vectors, derived"
            for name in (rows if in_vectors else "images and tables", "all"):
                found[name] += file.stat().st_size
    return found


def _drop_from_cache(store: Path) -> None:
    """Have the system forget what it has cached of a store's files: a wish that it grants where nobody maps them."""
    for file in store.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def _verdict(mib: float, at_most: int) -> str:
    return f"(at most {at_most:,}: {'yes' if mib <= at_most else 'NO'})"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FpveError as error:
        sys.exit(f"bench: {error}")
