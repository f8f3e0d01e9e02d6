"""What it costs to encode on Ray instead of in this process, and whether the store is the same.

    .venv/bin/python scripts/bench/ray_encoding.py FOLDER [--encoder fixed|real] [--pictures 1024]
                                             [--shard-rows 256] [--cost-ms 5] [--rounds 3]

FOLDER has pictures of any kind; changed copies of them are encoded, in a Ray of this machine that is begun once:

- fixed: an encoder of the user's own that takes `--cost-ms` of a core for each picture, beside decoding;
- real: the packaged encoders, with a prefix for each picture.

Each is encoded by the local engine with one thread and by one worker of one CPU, whose ratio is the engine's overhead
(1.00 is none), then by the local engine with two threads and by two workers of one CPU. `stage` is all of the stage
`encode`: with Ray the workers' begin is in it, their imports, and a model for each. `images/s` is without that: from
when each worker, or thread, could have finished a shard until everything is written. Engines take turns, and the best
of the rounds counts: others on the machine only ever take time. The smallest cosine of a vector to
that of the first store is printed; below 0.99999 the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from copies import make_copies

import fpve
from fpve.config import CollectionConfig, EncoderConfig, Encoders, Job
from fpve.encoders.runtimes.machine import cpu_name
from fpve.engines.cluster import engine as ray_engine
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.cluster.connection import connected
from fpve.engines.cluster.engine import RayEngine
from fpve.engines.local import LocalEngine
from fpve.engines.work import Engine
from fpve.progress import SilentProgress

LEAST_COSINE = 0.99999
_FIXED = """
import time
import numpy as np

class Fixed:
    dim = 64
    version = "1"
    batch_size = 8
    def prepare(self, image):
        return np.asarray(image.resize((16, 16)))
    def encode(self, batch):
        rows = batch.reshape(len(batch), -1)
        end = time.thread_time() + {seconds} * len(batch)
        while time.thread_time() < end:
            np.sqrt(np.arange(10_000.0))
        return rows[:, :64].astype(np.float32) + 1
"""


class Watch(SilentProgress):
    """Times the stage `encode`.

    Attributes:
        stage_seconds: all of it.
        seconds: of it, from when `begun` pictures were done until the end.
        pictures: how many were done within these.
    """

    def __init__(self, begun: int, *, written: bool) -> None:
        self._begun = begun
        # Whether what is done is written too; else it is when the stage ends.
        self._written = written
        self.stage_seconds = self.seconds = 0.0
        self.pictures = 0

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Any]:
        """Time a stage."""
        if name != "encode":
            with SilentProgress().stage(name, total) as stage:
                yield stage
            return
        moments: list[tuple[float, int]] = []
        start, done = time.perf_counter(), 0

        class Stage:
            def advance(self, count: int = 1) -> None:
                nonlocal done
                done += count
                moments.append((time.perf_counter(), done))

            def limited_by(self, part: str) -> None:
                pass

        yield Stage()
        end = time.perf_counter()
        self.stage_seconds = end - start
        first, before = next(one for one in moments if one[1] >= self._begun)
        self.seconds, self.pictures = (moments[-1][0] if self._written else end) - first, done - before


def main() -> int:
    """Measure, print the table, compare the stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--shard-rows", type=int, default=256)
    parser.add_argument("--cost-ms", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", choices=["fixed", "real"], action="append")
    options = parser.parse_args()
    # So that nothing but finished shards counts.
    ray_engine._TOLD_EVERY = float("inf")
    if options.pictures < 4 * options.shard_rows:
        raise SystemExit("expected at least four shards of pictures")
    with tempfile.TemporaryDirectory(prefix="fpve-bench-") as scratch:
        work = Path(scratch)
        (work / "fixed_cost.py").write_text(_FIXED.format(seconds=options.cost_ms / 1000), encoding="utf-8")
        make_copies(options.folder, work / "pictures", options.pictures)
        print(f"{cpu_name()}\n{options.pictures} pictures, shards of {options.shard_rows} with Ray", flush=True)
        fixed = Encoders(EncoderConfig("python:fixed_cost:Fixed", path=work), EncoderConfig("none"))
        with connected(Cluster("local")):
            print(f"{'encoder':<9}{'engine':<24}{'stage s':>9}{'images/s':>10}{'ratio':>7}")
            least = [
                _measure(name, encoders, work, options.shard_rows, options.rounds)
                for name, encoders in (("fixed", fixed), ("real", Encoders()))
                if name in (options.encoder or ("fixed", "real"))
            ]
    print(f"smallest cosine to the first store's vectors: {min(least):.7f}")
    return 0 if min(least) >= LEAST_COSINE else 1


def _measure(name: str, encoders: Encoders, work: Path, rows: int, rounds: int) -> float:
    """Print the lines of an encoder; the smallest cosine between its stores."""
    first, least = None, 1.0
    for count in (1, 2):
        engines: dict[str, Engine] = {
            f"local, {count} threads": LocalEngine(count),
            f"ray, {count} workers of 1 CPU": RayEngine(Cluster(workers=count), shard_rows=rows),
        }
        stages = dict.fromkeys(engines, float("inf"))
        rates = dict.fromkeys(engines, 0.0)
        for turn in range(rounds):
            for what, engine in engines.items():
                prefix = () if encoders.text.is_none else "a picture among others"
                collection = CollectionConfig("c", work / "pictures", prefix=prefix)  # type: ignore[arg-type]
                store = work / name / f"{what} {turn}"
                job = Job(store=store, name="bench", encoders=encoders, collections=(collection,))
                watch = Watch(rows * count, written=isinstance(engine, RayEngine))
                fpve.run(job, engine=engine, progress=watch)
                stages[what] = min(stages[what], watch.stage_seconds)
                rates[what] = max(rates[what], watch.pictures / watch.seconds)
                found = _vectors(store)
                first = found if first is None else first
                least = min(least, float(min(found[one] @ first[one] for one in first)))
        base = next(iter(rates.values()))
        for what, rate in rates.items():
            print(f"{name:<9}{what:<24}{stages[what]:>9.1f}{rate:>10.1f}{base / rate:>7.2f}", flush=True)
    return least


def _vectors(store: Path) -> dict[str, Any]:
    """The unit vectors of a store by image_id."""
    rows = fpve.open(store).sql("SELECT image_id, vector FROM vectors").to_pylist()
    found = {row["image_id"]: np.array(row["vector"]) for row in rows}
    return {name: vector / np.linalg.norm(vector) for name, vector in found.items()}


if __name__ == "__main__":
    sys.exit(main())
