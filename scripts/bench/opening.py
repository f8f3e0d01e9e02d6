"""The first query in a new process: what opening a store costs, and how much of it is in memory.

usage: .venv/bin/python scripts/bench/opening.py [--rows 1000 100000 1000000] [--copies no]

For each number of images it makes a synthetic store of tiny vectors, and asks it in processes of their own; with
`--copies no` the copies of pages are deleted first, as in a store of an earlier version. The store's files are in the
page cache. Times are CPU time, which other programs disturb less: with one thread it is what passes on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from synthetic import make

_PROCESSES = 5
# What a new process does; the second search tells what of the first one is paid once.
_ASK = """
import json, sys, time
def anonymous():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
import numpy as np, faiss, pyarrow.dataset, fpve.api
vector = np.random.default_rng(0).normal(size=16).astype(np.float32)
before, found, clock = anonymous(), {}, time.process_time
def timed(name, call):
    start = clock()
    answer = call()
    found[name] = 1e3 * (clock() - start)
    return answer
store = timed("open", lambda: fpve.open(sys.argv[1]))
hits = timed("first search", lambda: store.search(vector=vector, k=10))
timed("second search", lambda: store.search(vector=vector, k=10))
timed("by id", lambda: store.search(id=hits[0].image_id, k=10))
found["MB in memory"] = anonymous() - before
import duckdb
timed("where", lambda: store.search(vector=vector, k=10, where="kind = 'cat'"))
timed("open + images", lambda: fpve.open(sys.argv[1]).images)
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="numbers of images")
    parser.add_argument("--copies", choices=["yes", "no"], default="yes", help="whether pages have copies (yes)")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="fpve-opening-") as folder:
            store = make(Path(folder) / "bench", rows).parent / "store"
            copies = list(store.glob("images/*/*.arrow"))
            size = sum(path.stat().st_size for path in copies)
            if options.copies == "no":
                for path in copies:
                    path.unlink()
            figures = [_ask(store) for _ in range(_PROCESSES)]
        print(f"{rows:,} images, copies of {size / rows:.0f} bytes an image")
        for name in figures[0]:
            unit = "" if name.startswith("MB") else " ms"
            print(f"  {name:16} {statistics.median(one[name] for one in figures):8.1f}{unit}")


def _ask(store: Path) -> dict[str, float]:
    command = [sys.executable, "-c", _ASK, str(store)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


if __name__ == "__main__":
    main()
