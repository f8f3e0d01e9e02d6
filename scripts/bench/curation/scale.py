"""Curation of 100,000 images: time, memory, and how much of what is wrong is found, beside exact search by FAISS.

    .venv/bin/python scripts/bench/curation/scale.py [--rows 100000] [--work DIR] [--only NAME]…

It makes a synthetic store (see collection.py; some minutes), and asks each of `duplicates`, `outliers`, `mislabeled`
and `sample` in a process of its own. Before it, in that process, FAISS's flat index does the part that anybody has to
do who has no index: it scores all pairs. The store's files are in the page cache.

    fpve s       seconds of the call, opening the store and reading its thumbnails included
    FAISS s      seconds of the exact search of the same neighbours, without anything that is made of them
    ratio        the former over the latter
    memory MiB   of its own, that the process grows by at most during the call
    found        what share of what was planted is in the answer, and what share of the answer was planted
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Stores and timing are those of the benchmarks of search.
sys.path.append(str(Path(__file__).resolve().parents[1] / "search"))

from collection import KIND, Planted, plant
from data import weighted
from measure import header
from resident import PeakAnonymous, anonymous
from stores import number_of, write_store

import fpve
from fpve.curation.duplicates import THRESHOLD
from fpve.memory import give_back
from fpve.store import manifest as manifests
from fpve.store import publishing, tables
from fpve.store.snapshot import Snapshot

NAMES = ("duplicates", "outliers", "mislabeled", "sample")
_SEGMENT = 50_000
_SAMPLE = 1_000
_AT_ONCE = 1_024
_HEAD = ("fpve s", "FAISS s", "ratio", "memory MiB")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--work", type=Path, help="folder for the store, which is kept there and taken if it is there")
    parser.add_argument("--only", action="append", choices=NAMES)
    parser.add_argument("--ask", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask is not None:
        print(json.dumps(_asked(options.work, options.rows, options.ask)))
        return
    with tempfile.TemporaryDirectory(prefix="fpve-curation-") as folder:
        root = (options.work or Path(folder)) / f"store-{options.rows}"
        if not root.exists():
            make(root, plant(options.rows))
        print(header(()))
        print(f"{options.rows:,} images, {KIND.image_dim} + {KIND.prefix_dim} numbers")
        print(f"{'':12}" + "".join(f"{name:>12}" for name in _HEAD) + "   found")
        for name in options.only or NAMES:
            command = [sys.executable, __file__, "--ask", name, "--rows", str(options.rows), "--work", str(root)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            figures = [found["seconds"], found["exact"], found["seconds"] / found["exact"], found["memory"]]
            print(f"{name:12}" + "".join(f"{one:12,.2f}" for one in figures) + f"   {found['found']}", flush=True)


def make(root: Path, planted: Planted) -> None:
    """Write the store of a collection, with thumbnails."""
    labels = pa.array([f"class {one}" for one in planted.labels.tolist()])
    metadata = pa.table({"label": labels})
    write_store(root, planted.parts(), kind=KIND, segment_rows=_SEGMENT, metadata=metadata)
    snapshot = Snapshot.open(root)
    hashes = snapshot.rows.column("content_hash")
    side = pa.repeat(pa.scalar(64, pa.int32()), len(hashes))
    rows = pa.table(
        {"content_hash": hashes, "width": side, "height": side, "jpeg": pa.array(list(planted.thumbnails()))}
    )
    table = tables.write_table(root, tables.THUMBNAILS, rows.sort_by("content_hash"))
    manifest = replace(snapshot.manifest, snapshot=2, parent=1, tables=(*snapshot.manifest.tables, table))
    publishing.publish(root, replace(manifest, tables=manifests.sorted_tables(manifest.tables)))


def _asked(root: Path, rows: int, name: str) -> dict[str, Any]:
    """One command in this process, after the exact search."""
    planted = plant(rows)
    exact = _exact(planted, name)
    gc.collect()
    give_back()
    before = anonymous()
    with PeakAnonymous() as peak:
        start = time.perf_counter()
        store = fpve.open(root)
        if name == "duplicates":
            found = store.duplicates().to_arrow()
        elif name == "outliers":
            found = store.outliers().to_arrow()
        elif name == "mislabeled":
            found = store.mislabeled(label="label").to_arrow()
        else:
            found = store.sample(_SAMPLE).to_arrow()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "exact": exact, "memory": peak.mib - before, "found": _judged(planted, name, found)}


def _exact(planted: Planted, name: str) -> float:
    """Seconds that FAISS's flat index takes for the same neighbours; of a sample those of one pass over all vectors."""
    import faiss

    vectors = np.ascontiguousarray(planted.fused.vectors[:, : KIND.image_dim] * np.float32(np.sqrt(2)))
    if name == "mislabeled":
        vectors = weighted(planted.fused.vectors * np.float32(np.sqrt(2)), KIND, 0.5)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    start = time.perf_counter()
    if name == "sample":
        # Each of those that are chosen is compared with all.
        index.search(vectors[:_SAMPLE], 1)
    for at in range(0, len(vectors) if name != "sample" else 0, _AT_ONCE):
        part = vectors[at : at + _AT_ONCE]
        if name == "duplicates":
            index.range_search(part, THRESHOLD)
        else:
            index.search(part, 11 if name == "outliers" else 21)
    return time.perf_counter() - start


def _judged(planted: Planted, name: str, found: pa.Table) -> str:
    """How much of what was planted was found, in words."""
    if name == "sample":
        return f"farthest of the others at {found['distance'][-1].as_py():.3f}"
    if name == "duplicates":
        gone = found.filter(pc.equal(found["action"], "remove"))
        kept = found.filter(pc.equal(found["action"], "keep"))
        centre = np.zeros(int(max(found["cluster"].to_pylist(), default=0)) + 1, np.int64)
        centre[kept["cluster"].to_numpy()] = number_of(kept["image_id"])
        of = {
            frozenset(pair)
            for pair in zip(
                number_of(gone["image_id"]).tolist(), centre[gone["cluster"].to_numpy()].tolist(), strict=True
            )
        }
        copies = np.flatnonzero(planted.source != np.arange(len(planted.source)))
        family = planted.source
        right = sum(family[one] == family[other] for one, other in of)
        # Of each family one stays.
        return f"{right / len(copies):.4f} of {len(copies):,} copies, {right / max(1, len(of)):.4f} of those listed"
    wanted = planted.odd if name == "outliers" else planted.flipped
    listed = number_of(found["image_id"])
    first = listed[: len(wanted)]
    share, precision = np.isin(wanted, listed).mean(), np.isin(first, wanted).mean()
    return f"{share:.4f} of {len(wanted):,}, {precision:.4f} of the first {len(first):,} of {len(listed):,} listed"


if __name__ == "__main__":
    main()
