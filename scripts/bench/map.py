"""The plane of 100,000 images, beside scikit-learn's PCA, and UMAP that finds the neighbours itself.

    .venv/bin/python scripts/bench/map.py [--data NAME] [--rows 100000] [--method pca|umap]… [--work FOLDER]

The store is synthetic. Each way runs in a process of its own, after one of 600 rows that compiles what is compiled.
The others get the same vectors as a matrix, and are not charged for reading it. Some fifteen minutes on two cores.

    seconds            of the projection alone
    memory             MiB of its own that the process grows by at most, the matrix of the others among it
    kept               share of the 15 nearest images, of 500 at random, that are among the 150 nearest in the plane
    agrees             how far the places are from scikit-learn's at most, in widths of the plane, up to sign
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

# Stores and timing are those of the benchmarks of search.
sys.path.append(str(Path(__file__).resolve().parent / "search"))

from data import KINDS, Floats, make
from measure import header, print_table, timed
from resident import PeakAnonymous, anonymous
from stores import ordinary_metadata, write_store

from fpve.curation.projection import project
from fpve.errors import FpveError
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot

WARM = 600
ASKED, NEAR, WITHIN = 500, 15, 150
HEAD = ("", "seconds", "memory MiB", "kept", "agrees")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=KINDS, default="halves-896")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--method", action="append", choices=["pca", "umap"])
    parser.add_argument("--work", type=Path, help="folder in which the store is made; it is not kept")
    options = parser.parse_args()
    print(header(("scikit-learn", "umap-learn", "numba")))
    data = make(options.data, rows=options.rows, queries=1)
    with tempfile.TemporaryDirectory(prefix="fpve-bench-", dir=options.work) as folder:
        root = Path(folder) / "store"
        metadata = ordinary_metadata(options.rows)
        write_store(root, data.parts(), kind=data.kind, segment_rows=options.rows, metadata=metadata)
        print(f"{options.data}, {options.rows:,} rows\n")
        rows = []
        for method in options.method or ["pca", "umap"]:
            theirs = "scikit-learn, PCA" if method == "pca" else "umap-learn, from vectors"
            planes = []
            for name, way in ((f"fpve, {method}", ours), (theirs, others)):
                # A new process each time: what the last one has taken is not its memory.
                context = multiprocessing.get_context("spawn")
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    seconds, mib, plane = pool.submit(way, root, method).result()
                planes.append(plane)
                cells = [name, f"{seconds:.1f}", f"{mib:,.0f}", f"{kept(data.vectors, plane):.3f}"]
                rows.append([*cells, f"{apart(*planes):.1e}" if method == "pca" and len(planes) == 2 else ""])
        print_table(HEAD, rows)


def ours(root: Path, method: str) -> tuple[float, float, Floats]:
    """Seconds and MiB that it takes from an open store, and the plane."""
    searcher = Searcher(Snapshot.open(root))
    rows = np.arange(searcher.rows)
    project(searcher, rows[:WARM], method=method)
    return cost(lambda: project(searcher, rows, method=method), anonymous())


def others(root: Path, method: str) -> tuple[float, float, Floats]:
    """Seconds and MiB that a library takes with a matrix of the vectors, and the plane."""
    from sklearn.decomposition import PCA

    before = anonymous()
    searcher = Searcher(Snapshot.open(root))
    matrix = searcher.vectors_of(np.arange(searcher.rows))
    if method == "pca":
        return cost(lambda: PCA(2).fit_transform(matrix), before)
    warnings.simplefilter("ignore")
    from umap import UMAP

    def place(vectors: Floats) -> Floats:
        return UMAP(n_neighbors=NEAR, metric="cosine", init="pca", random_state=0, n_jobs=1).fit_transform(vectors)

    place(matrix[:WARM])
    return cost(lambda: place(matrix), before)


def cost(way: Callable[[], Floats], before: float) -> tuple[float, float, Floats]:
    """Seconds of one call, how many MiB of memory more than before there are at most, and what it returns."""
    found: list[Floats] = []
    with PeakAnonymous() as peak:
        seconds = timed(lambda: found.append(way()))
    return seconds, peak.mib - before, found[0]


def kept(vectors: Floats, plane: Floats) -> float:
    """The share of near images that are near in the plane."""
    asked = np.random.default_rng(0).permutation(len(vectors))[:ASKED]
    shares = []
    for one in asked:
        scores = vectors @ vectors[one]
        scores[one] = np.inf
        far = np.linalg.norm(plane - plane[one], axis=1)
        near = np.argpartition(-scores, NEAR)[: NEAR + 1]
        within = np.argpartition(far, WITHIN)[: WITHIN + 1]
        shares.append((len(np.intersect1d(near, within)) - 1) / NEAR)
    return float(np.mean(shares))


def apart(one: Floats, other: Floats) -> float:
    """How far places are from each other at most, in widths of the plane, up to the signs of its axes."""
    signs = np.sign((one * other).sum(axis=0))
    return float(np.abs(one - other * signs).max() / np.ptp(other))


if __name__ == "__main__":
    try:
        main()
    except FpveError as error:
        sys.exit(f"bench: {error}")
