"""`fpve serve` under load, while a writer publishes: requests a second and latencies, beside the plainest service.

    .venv/bin/python scripts/bench/serve/load.py [STORE] [--rows 100000] [--seconds 5] [--rounds 3] [--connections 8]

It needs wrk (apt-get install wrk), which asks over so many connections, one request after the other on each. The store
is a copy of STORE, or a synthetic one of --rows images, whose texts are encoded by a fake in no time. All the while
`fpve.label` publishes a new snapshot each second.

    text search   50 hits of a text that nobody asked for before
    thumbnail     the JPEG of one of 10,000 images, at random
    browse        100 images of all, from a place at random, with all of their metadata
    README        the same by the web service that README.md shows (rival.py); StaticFiles: thumbnails that are files

Ways take turns, and ratios are of the same round, so what else the machine does counts for all; medians of the rounds.
Before, both are asked the same questions, and must say the same. Exits with 1 if they don't, or if any request failed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

# The store and the table are those of other benchmarks, servers are started as tests do.
sys.path.append(str(Path(__file__).resolve().parents[3] / "tests"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "curation"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "search"))

from collection import plant
from measure import header, print_table
from scale import make
from serving import Server, serving, started

import fpve

K, PAGE, THUMBNAILS = 50, 100, 10_000
# Texts that both are asked before.
ASKED = ("a red boat", "an old stamp with a king", "prefix 12")
# Between two snapshots; a writer that takes longer goes on at once.
EVERY = 1.0
HERE = Path(__file__).parent
HEAD = ("", "requests/s", "p50 ms", "p99 ms", "errors", "ratio", "p50 ratio", "p99 ratio")


@dataclass(frozen=True)
class Way:
    """A way to ask something.

    Attributes:
        what: is asked.
        name: of the way.
        address: of the server.
        paths: a file of paths, of which each request takes one.
    """

    what: str
    name: str
    address: str
    paths: Path


@dataclass
class Writer:
    """Who publishes meanwhile.

    Attributes:
        store: where.
        image_id: whose label changes.
        published: how many snapshots it has made.
        failure: why it ended before it was to.
    """

    store: Path
    image_id: str
    published: int = 0
    failure: Exception | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def publish(self) -> None:
        """Make one snapshot."""
        file = self.store.parent / "labels.csv"
        file.write_text(f'image_id,seen\n"{self.image_id}",round {self.published}\n', encoding="utf-8")
        fpve.label(self.store, file)
        self.published += 1

    def run(self) -> None:
        """Make one after the other."""
        while not self.ended.wait(EVERY):
            try:
                self.publish()
            except Exception as error:  # noqa: BLE001 (whatever it is, the figures are worth nothing)
                self.failure = error
                return


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=5, help="of each way in each round (5)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("expected wrk, found none: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="fpve-load-") as folder:
        scratch = Path(folder)
        store = scratch / "store"
        if options.store is None:
            make(store, plant(options.rows))
        else:
            shutil.copytree(options.store, store)
        return _measure(store, scratch, options)


def _measure(store: Path, scratch: Path, options: argparse.Namespace) -> int:
    ids = _thumbnails(store, scratch / "files")
    writer = Writer(store, ids[0])
    # The column is there from the first.
    writer.publish()
    print(header(("fastapi", "uvicorn")))
    with fpve.open(store) as opened:
        print(f"{len(opened.images):,} images, {options.connections} connections, {options.seconds} s a round")
    with (
        serving(store) as ours,
        started([sys.executable, str(HERE / "rival.py"), str(store), str(scratch / "files")]) as rival,
    ):
        problems = _compare(ours, rival, ids)
        ways = _ways(ours, rival, ids, store, scratch)
        found: dict[Way, list[dict[str, float]]] = {way: [] for way in ways}
        memory = {"fpve serve": 0.0, "README": 0.0}
        with _writing(writer), _watching(ours) as seen:
            for number in range(-1, options.rounds):
                for way in ways:
                    # The first round is for warmth.
                    seconds = options.seconds if number >= 0 else 1
                    told = _wrk(way, seconds, options.connections, number)
                    if number >= 0:
                        found[way].append(told)
                    if told["errors"]:
                        problems.append(f"{way.what}, {way.name}: {told['errors']:.0f} requests failed")
                for name, server in (("fpve serve", ours), ("README", rival)):
                    memory[name] = max(memory[name], _resident(server.pid))
        if writer.failure is not None:
            problems.append(f"the writer failed: {writer.failure}")
    print_table(HEAD, [_line(way, found) for way in ways])
    print(f"\n{writer.published} snapshots were published, and {len(seen)} of them seen by fpve serve")
    print("resident MiB, mapped files included: " + ", ".join(f"{name} {one:,.0f}" for name, one in memory.items()))
    print("\n".join(f"FAILED {one}" for one in problems))
    return 1 if problems else 0


def _thumbnails(store: Path, folder: Path) -> list[str]:
    """The ids of some images, whose thumbnails are then files of a folder, named by their numbers."""
    folder.mkdir()
    with fpve.open(store) as opened:
        every = opened.images["image_id"].to_pylist()
        ids = sorted(random.Random(0).sample(every, min(THUMBNAILS, len(every))))
        found = opened.thumbnails(ids)
    known = [one for one in ids if found.get(one)]
    for number, image_id in enumerate(known):
        (folder / f"{number}.jpg").write_bytes(found[image_id])
    if not known:
        sys.exit(f"{store}: expected a store with thumbnails, found none")
    return known


def _ways(ours: Server, rival: Server, ids: list[str], store: Path, scratch: Path) -> list[Way]:
    with fpve.open(store) as opened:
        starts = range(0, len(opened.images), PAGE)

    def listed(name: str, paths: list[str]) -> Path:
        file = scratch / f"{name}.txt"
        file.write_text("\n".join(paths), encoding="utf-8")
        return file

    return [
        Way("text search", "fpve serve", ours.address, listed("search", [f"/api/search?text=WORDS&k={K}"])),
        Way("text search", "README", rival.address, listed("search-rival", [f"/search?text=WORDS&k={K}"])),
        Way(
            "thumbnail",
            "fpve serve",
            ours.address,
            listed("pictures", [f"/api/thumbnails/{quote(one)}" for one in ids]),
        ),
        Way(
            "thumbnail", "README", rival.address, listed("pictures-rival", [f"/thumbnails/{quote(one)}" for one in ids])
        ),
        Way("thumbnail", "StaticFiles", rival.address, listed("files", [f"/files/{at}.jpg" for at in range(len(ids))])),
        Way(
            "browse",
            "fpve serve",
            ours.address,
            listed("browse", [f"/api/images?offset={at}&limit={PAGE}" for at in starts]),
        ),
        Way(
            "browse",
            "README",
            rival.address,
            listed("browse-rival", [f"/images?offset={at}&limit={PAGE}" for at in starts]),
        ),
    ]


def _compare(ours: Server, rival: Server, ids: list[str]) -> list[str]:
    """What both do not say alike."""

    def hits(url: str, **parameters: Any) -> list[str]:
        answer = httpx.get(url, params=parameters, timeout=60).raise_for_status().json()
        return [one["image_id"] for one in (answer if isinstance(answer, list) else answer["hits"])]

    problems = [
        f"{text!r} is answered in two ways"
        for text in ASKED
        if hits(ours.url("/api/search"), text=text, k=K) != hits(rival.url("/search"), text=text, k=K)
    ]
    for number, image_id in enumerate(ids[:3]):
        paths = (
            ours.url(f"/api/thumbnails/{quote(image_id)}"),
            rival.url(f"/thumbnails/{quote(image_id)}"),
            rival.url(f"/files/{number}.jpg"),
        )
        if len({httpx.get(path).raise_for_status().content for path in paths}) != 1:
            problems.append(f"the thumbnail of {image_id} is not the same everywhere")
    return problems


def _wrk(way: Way, seconds: int, connections: int, seed: int) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "requests.lua")]
    done = subprocess.run(
        [*command, way.address, "--", str(way.paths), str(seed)], capture_output=True, text=True, check=True
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told | {"rate": told["requests"] / told["seconds"]}


def _line(way: Way, found: dict[Way, list[dict[str, float]]]) -> list[str]:
    """A row of the table; ratios are to fpve serve's, so that more is slower for latencies and faster for rates."""
    mine = found[way]
    first = next(one for one in found if one.what == way.what)
    figures = {name: statistics.median(one[name] for one in mine) for name in ("rate", "p50", "p99")}
    cells = [f"{way.what}, {way.name}", f"{figures['rate']:,.0f}", f"{figures['p50']:.1f}", f"{figures['p99']:.1f}"]
    cells.append(f"{sum(one['errors'] for one in mine):.0f}")
    if way is first:
        return [*cells, "", "", ""]
    ratios = (statistics.median(a[name] / b[name] for a, b in zip(mine, found[first], strict=True)) for name in figures)
    return [*cells, *(f"{one:.2f}" for one in ratios)]


@contextmanager
def _writing(writer: Writer) -> Iterator[None]:
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        yield
    finally:
        writer.ended.set()
        thread.join()


@contextmanager
def _watching(server: Server) -> Iterator[set[int]]:
    """The snapshots that a server tells of, while it is asked twice a second."""
    seen: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY / 2):
            seen.add(httpx.get(server.url("/api/status"), timeout=60).json()["snapshot"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _resident(pid: int) -> float:
    """MiB that a process and those that it has started have resident."""
    total, every = 0, [pid]
    while every:
        one = Path(f"/proc/{every.pop()}")
        try:
            status = (one / "status").read_text()
            every += [
                int(child) for task in (one / "task").iterdir() for child in (task / "children").read_text().split()
            ]
        except FileNotFoundError:
            continue
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return total / 1024


if __name__ == "__main__":
    sys.exit(main())
