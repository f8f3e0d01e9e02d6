"""What many segments cost: to open a store, to search it, to plan a run, to commit, and to merge them.

usage: .venv/bin/python scripts/bench/segments.py [SEGMENTS ...] [--rows 8]

For each number of SEGMENTS (100 1000 10000) it makes a store of so many, of `--rows` vectors each and one file of
thumbnails each, as a run leaves them that wrote so many shards; then it asks and changes that store, has `fpve compact`
merge it, and asks and changes the same images in one segment, in the same way. Prints tables in Markdown: each figure
of many segments beside that of one, and how many times as much it is.

The stores are made by the store's own writers, of invented vectors and empty files, and what they would make durable
is not: nothing else about the files differs. Runs put off the merging of small segments, which is timed on its own:
else the first run would leave few, and that is what is measured. One segment has no graph (its vectors are less than
32 MB): both sides score every vector. Each side is asked in processes of its own, once; files are in the page cache.
Times are CPU time, which other programs disturb less; to wait for the disk is not in them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from synthetic import make

IMAGE, TEXT = 32, 32
_WARM = 7
_clock = time.process_time
Answer = TypeVar("Answer")
# What a search of ten is filtered by: a fifth of the images.
_WHERE = "kind = 'cat'"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("segments", type=int, nargs="*", default=[100, 1_000, 10_000], help="numbers of segments")
    parser.add_argument("--rows", type=int, default=8, help="vectors in each segment (8)")
    parser.add_argument("--part", choices=list(_PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(_PARTS[options.part](options.job)))
        return
    for count in options.segments:
        with tempfile.TemporaryDirectory(prefix="fpve-segments-") as name:
            _measure(Path(name), count, options.rows)


def _measure(folder: Path, count: int, rows: int) -> None:
    start = time.perf_counter()
    job = _make(folder, count, rows)
    print(f"\n{count:,} segments of {rows} vectors; made in {time.perf_counter() - start:.0f} s", flush=True)
    many = _sides(job, "many")
    merged = _part("compact", job)
    few = _sides(job, "few")
    print(f"\n| | {count:,} segments | 1 segment | ratio |\n|---|---:|---:|---:|")
    for name, figure in many.items():
        other = few[name]
        ratio = f"{figure / other:.1f}" if other else ""
        print(f"| {name} | {_said(figure)} | {_said(other)} | {ratio} |")
    for name, figure in merged.items():
        print(f"| {name} | {_said(figure)} | | |")
    sys.stdout.flush()


def _sides(job: Path, draw: str) -> dict[str, float]:
    found = _part("ask", job)
    _draw(job.parent, draw)
    return found | _part("change", job)


def _part(name: str, job: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", name, "--job", str(job)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _said(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 or figure == int(figure) else f"{figure:.3g}"


# What a process of its own does with a store.


def _ask(job: Path) -> dict[str, float]:
    import duckdb  # noqa: F401 (what is loaded once is not what is measured)
    import faiss  # noqa: F401
    import numpy as np
    import pyarrow.dataset  # noqa: F401

    import fpve.api
    from fpve.store import manifest as manifests

    root = job.parent / "store"
    found: dict[str, float] = {}
    before = _anonymous()
    manifest = _timed(found, "load the manifest, ms", lambda: manifests.load(root))
    found["bytes of the manifest"] = manifests.path_of(root, manifest.snapshot).stat().st_size
    store = _timed(found, "open, ms", lambda: fpve.open(root))
    queries = np.random.default_rng(0).normal(size=(_WARM + 1, IMAGE + TEXT)).astype(np.float32)
    _timed(found, "first search, ms", lambda: store.search(vector=queries[0], k=10))
    _timed(found, "first search where, ms", lambda: store.search(vector=queries[0], k=10, where=_WHERE))
    for name, more in {"": {}, " where": {"where": _WHERE}}.items():
        for exact in (False, True):
            what = f"search{name}{', exact' if exact else ''}, ms"
            each = []
            for query in queries[1:]:
                start = _clock()
                store.search(vector=query, k=10, exact=exact, **more)
                each.append(1e3 * (_clock() - start))
            found[what] = sorted(each)[len(each) // 2]
    text = np.concatenate([np.zeros(IMAGE, np.float32), queries[0, IMAGE:]])
    _timed(found, "first search by text, ms", lambda: store.search(vector=text, image_weight=0.0, k=10))
    found["memory after searches, MB"] = _anonymous() - before
    found["memory maps"] = len(Path("/proc/self/maps").read_bytes().splitlines())
    found["open files"] = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (as many as there are)
    _timed(found, "status, ms", lambda: store.status())
    return found


def _change(job: Path) -> dict[str, float]:
    import numpy  # noqa: F401

    import fpve
    from fpve.pipeline.report import RunReport
    from fpve.store import manifest as manifests
    from fpve.store import publishing

    root = job.parent / "store"
    found: dict[str, float] = {}
    # So runs report it, too.
    time.perf_counter = _clock

    def run() -> RunReport:
        with _compaction_put_off():
            return fpve.run(job)

    picture = next((job.parent / "pictures").glob("new/*.png"))
    away = picture.rename(job.parent / "away.png")
    nothing = run()
    if nothing.published:
        sys.exit("expected a run with nothing to do, found one that published")
    found["run with nothing to do, ms"] = 1e3 * nothing.seconds["total"]
    away.rename(picture)
    one = run()
    if (one.encoded, one.published, one.compacted) != (1, True, False):
        raise SystemExit(f"expected a run that encodes one picture, found {one}")
    found["run with one new picture, ms"] = 1e3 * one.seconds["total"]
    for stage in ("plan", "encode", "fuse", "commit"):
        found[f"of it {stage}, ms"] = 1e3 * one.seconds[stage]
    found["memory of runs at most, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    newest = manifests.load(root)
    again = publishing.successor(newest, newest.snapshot, operation="repair")
    _timed(found, "publish, ms", lambda: publishing.publish(root, again))
    return found


def _compact(job: Path) -> dict[str, float]:
    import fpve

    found: dict[str, float] = {}
    done = _timed(found, "compact all, s", lambda: fpve.compact(job.parent / "store"))
    if done.segments[0] != 1:
        sys.exit(f"expected one segment, found {done}")
    found["compact all, s"] /= 1e3
    found["memory of compact at most, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


_PARTS: dict[str, Callable[[Path], dict[str, float]]] = {"ask": _ask, "change": _change, "compact": _compact}


@contextmanager
def _compaction_put_off() -> Iterator[None]:
    from fpve.maintenance import compact

    with patch.object(compact, "_MERGED_AT_ONCE", sys.maxsize):
        yield


def _timed(found: dict[str, float], name: str, call: Callable[[], Answer]) -> Answer:
    start = _clock()
    answer = call()
    found[name] = 1e3 * (_clock() - start)
    return answer


def _anonymous() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


# The store.


def _draw(folder: Path, name: str) -> None:
    import numpy as np
    from PIL import Image

    path = folder / "pictures" / "new" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    # A file that changed this moment is read again by the next run: not what is measured here.
    os.utime(path, (time.time() - 60, time.time() - 60))


def _make(folder: Path, count: int, rows: int) -> Path:
    """Make the files of `count` segments' images, and the store of the job over them; returns the job."""
    # Nothing is made durable: it takes a hundred times as long, and the files are the same.
    with patch("os.fsync"):
        return make(folder, count * rows, dims=(IMAGE, TEXT), shard=rows, thumbnails=True)


if __name__ == "__main__":
    main()
