"""The engine on a Ray cluster of three nodes: the store is the local engine's, whatever dies meanwhile."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from cluster_runs import TESTS, Counted, draw_many, images_of, told_job, until, vector_names, wait_for
from PIL import Image
from s3 import S3, environment
from samples import FAKE, KINDS

import fpve
from fpve.cli import cli
from fpve.config import CollectionConfig, Job, Limits
from fpve.engines import shards
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.cluster.connection import connected
from fpve.engines.cluster.engine import RayEngine
from fpve.errors import ClusterError
from fpve.events import LOGGER

pytestmark = [
    # Ray Data's settings warn of some of themselves, and its own processes leave files open at the end.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MEMORY = 80 * 2**20


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each node has a folder of caches of its own: a replica of each store in a bucket."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def node(caches: Path, s3_server: S3) -> Callable[[], dict[str, Any]]:
    """What another node is: one of one CPU, which knows where S3 is."""
    numbers = count()

    def another() -> dict[str, Any]:
        known = {**environment(s3_server), "FPVE_CACHE": str(caches / str(next(numbers)))}
        return {"num_cpus": 1, "object_store_memory": MEMORY, "env_vars": known}

    return another


@pytest.fixture(scope="module")
def nodes(node: Callable[[], dict[str, Any]]) -> Iterator[Any]:
    """Three nodes, to which this process is connected."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={**node(), "include_dashboard": False, "no_monitor": True})
    try:
        for _ in range(2):
            nodes.add_node(**node())
        with connected(Cluster(nodes.address)) as workers:
            assert workers == 3
            yield nodes
    finally:
        nodes.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the encoder `Told` is told by."""
    folder = tmp_path / "told"
    folder.mkdir()
    return folder


def test_the_store_is_the_local_one(nodes: Any, tmp_path: Path) -> None:
    """Images, prefixes, vectors and quarantine are exactly those of the local engine, copies in other shards too."""
    source = tmp_path / "pets"
    draw_many(source, 24)
    # Copies in other shards, with the prefix of the first one, and with another one; and a copy in the same shard.
    for copy, of in (("030", "001"), ("031", "002"), ("032", "031")):
        (source / f"{copy}.png").write_bytes((source / f"{of}.png").read_bytes())
    (source / "033.png").write_bytes(b"no picture")
    lines = ["path,caption", "001.png,red", "030.png,red", "002.png,red", "031.png,blue", "032.png,blue"]
    lines += [f"{number:03d}.png,number {number}" for number in range(3, 24, 2)]
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    collection = CollectionConfig("pets", source, metadata=tmp_path / "captions.csv", prefix="{caption}")
    job = Job(store=tmp_path / "ray", collections=(collection,), name="pets", encoders=FAKE)
    local = replace(job, store=tmp_path / "local")

    report = fpve.run(job, engine=RayEngine(Cluster(workers=2), shard_rows=4), progress=(progress := Counted()))
    expected = fpve.run(local)

    images, others = images_of(job.store), images_of(local.store)
    for copy in ("pets/031.png", "pets/032.png"):
        # Here a shard encoded it with this prefix; there the vector was made from the stored feature of its original.
        assert images[copy].pop("vector") == pytest.approx(others[copy].pop("vector"), abs=1e-6)
    assert images == others
    assert set(vector_names(job.store)) == set(vector_names(local.store))
    question = 'SELECT * EXCLUDE ("at") FROM quarantine'
    quarantines = [fpve.open(one.store).sql(question) for one in (job, local)]
    assert quarantines[0] == quarantines[1]
    assert fpve.verify(job.store).ok
    # Shards don't know of each other: the first copies went through the model once more. One of them has the name of a
    # vector that there is, so that this row has no image.
    assert (report.encoded, expected.encoded) == (26, 24)
    assert (len(vector_names(job.store)), len(vector_names(local.store))) == (26, 25)
    assert (report.scanned, report.quarantined, report.fused, expected.fused) == (28, 1, 0, 1)
    assert report.limited_by in report.busy
    assert all(seconds > 0 for seconds in report.busy.values())
    assert progress.done["encode"] == 28
    again = fpve.run(job, engine="ray")
    assert (again.encoded, again.published) == (0, False)


def test_a_process_and_then_a_node_are_lost(
    nodes: Any,
    node: Callable[[], dict[str, Any]],
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they were at is done by others: nothing is lost, nothing is there twice, nothing is in quarantine.

    Progress tells of parts of shards, goes forward only, and ends with all inputs.
    """
    import ray

    source = tmp_path / "pets"
    draw_many(source, 40)
    job = told_job(tmp_path / "ray", source, folder)
    (folder / "kill").touch()
    (folder / "lose").write_text(ray.get_runtime_context().get_node_id())

    monkeypatch.setattr("fpve.engines.cluster.engine._TOLD_EVERY", 0.0)
    monkeypatch.setattr("fpve.engines.cluster.engine._LOOK_EVERY", 0.05)
    progress = Counted()

    def lose() -> None:
        killed = int(until(folder / "killed"))
        # Of shards of ten in batches of four.
        wait_for(lambda: any(done % 10 for done in progress.told["encode"]))
        os.kill(killed, signal.SIGKILL)
        lost = until(folder / "lost")
        nodes.remove_node(next(one for one in nodes.worker_nodes if one.node_id == lost))

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        report = fpve.run(job, engine=RayEngine(Cluster(workers=2), shard_rows=10), progress=progress)
    finally:
        thread.join()
        nodes.add_node(**node())
    for name in ("kill", "lose"):
        (folder / name).unlink()
    local = told_job(tmp_path / "local", source, folder)
    fpve.run(local)
    assert (report.encoded, report.quarantined) == (40, 0)
    assert progress.told["encode"] == sorted(set(progress.told["encode"]))
    assert progress.done["encode"] == 40
    assert images_of(job.store) == images_of(local.store)
    assert vector_names(job.store) == vector_names(local.store)
    assert not list((job.store / "pending").iterdir())


def test_a_store_in_a_bucket(
    nodes: Any, caches: Path, s3: S3, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that share nothing but a bucket make what this process makes in a directory, also when a worker is killed.

    So it is of rows, vectors, indexes and predicted labels, and of a batch of queries.
    """
    source = tmp_path / "pets"
    source.mkdir()
    draw_many(source, 40)
    kinds = [f"{number:03d}.png,{KINDS[number % 3] if number % 4 else ''}" for number in range(40)]
    (source / "metadata.csv").write_text("\n".join(["path,kind", *kinds]) + "\n")
    s3.put_folder(source, "pets")
    stores = {"bucket": s3.url("store"), "directory": str(tmp_path / "store")}
    for name, store in stores.items():
        (tmp_path / f"{name}.toml").write_text(
            f'name = "pets"\nstore = "{store}"\n[encoders]\ntext = "none"\n'
            f'image = {{ name = "python:cluster_encoders:Told", path = "{TESTS}", device = "{folder}" }}\n'
            f'[[collections]]\nname = "pets"\nsource = "{s3.url("pets")}"\n'
            f'metadata = "{s3.url("pets/metadata.csv")}"\n[[predict]]\nlabel = "kind"\n'
        )
    (folder / "kill").touch()

    def kill() -> None:
        os.kill(int(until(folder / "killed")), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        report = fpve.run(tmp_path / "bucket.toml", engine=RayEngine(Cluster(workers=2), shard_rows=10))
    finally:
        thread.join()
    (folder / "kill").unlink()
    # Of how vectors are cut into segments the last bit of a score depends.
    monkeypatch.setattr(shards, "SHARD_ROWS", 10)
    local = fpve.run(tmp_path / "directory.toml")

    assert (report.encoded, report.quarantined, report.predicted) == (40, 0, 10)
    assert (local.encoded, local.predicted) == (40, 10)
    assert images_of(stores["bucket"]) == images_of(stores["directory"])
    question = "SELECT * EXCLUDE (predicted_at) FROM predictions ORDER BY image_id"
    opened = {name: fpve.open(store) for name, store in stores.items()}
    assert opened["bucket"].sql(question) == opened["directory"].sql(question)
    assert fpve.verify(stores["bucket"]).ok
    assert "store/pending/" not in "".join(s3.keys())
    # Each node that worked has a replica of its own, none has this process's.
    replicas = Counter(path.parent for path in caches.glob("*/stores/*"))
    assert len(replicas) >= 2
    assert set(replicas.values()) == {1}

    ids = pa.table({"image_id": [f"pets/{number:03d}.png" for number in range(0, 40, 3)]})
    pq.write_table(ids, tmp_path / "queries.parquet")
    words = ["search", "--queries", str(tmp_path / "queries.parquet"), "-k", "5", "--format", "json"]
    there = CliRunner().invoke(cli, [*words, stores["bucket"], "--engine", "ray", "--workers", "2"])
    here = CliRunner().invoke(cli, [*words, stores["directory"]])
    assert there.exit_code == here.exit_code == 0, there.output
    assert json.loads(there.stdout) == json.loads(here.stdout)
    assert len(json.loads(there.stdout)) == 70


def test_shards_that_fail_each_time(nodes: Any, tmp_path: Path, folder: Path) -> None:
    """They are in quarantine as shards, and the others are published; the next run tries them again."""
    source = tmp_path / "pets"
    draw_many(source, 16)
    Image.new("RGB", (40, 30), "black").save(source / "001.png")
    Image.new("RGB", (40, 30), "blue").save(source / "013.png")
    job = replace(told_job(tmp_path / "store", source, folder), limits=Limits(max_quarantine=8))
    for name in ("die", "fail"):
        (folder / name).touch()
    report = fpve.run(job, engine=RayEngine(Cluster(workers=1, retries=1), shard_rows=4))
    assert (report.encoded, report.quarantined) == (8, 8)
    assert sorted(images_of(job.store)) == [f"pets/{number:03d}.png" for number in range(4, 12)]
    rows = fpve.open(job.store).sql("SELECT path, reason FROM quarantine ORDER BY path").to_pylist()
    begin = "its shard of 4 inputs failed 2 times: "
    told = "EncoderError: encoder 'python:cluster_encoders:Told': encode raised RuntimeError: no blue pictures"
    for number, row in zip((0, 1, 2, 3, 12, 13, 14, 15), rows, strict=True):
        assert row["path"] == f"{number:03d}.png"
        assert row["reason"].startswith(begin + ("the process of its worker died" if number < 4 else told) + " (on ")
    for name in ("die", "fail"):
        (folder / name).unlink()
    report = fpve.run(job, engine=RayEngine(Cluster(workers=1), shard_rows=4))
    assert (report.scanned, report.encoded, report.quarantined, len(images_of(job.store))) == (16, 8, 0, 16)


def test_a_killed_driver_and_the_command(nodes: Any, tmp_path: Path, folder: Path) -> None:
    """What was finished when the driver was killed is not encoded again by `fpve run --engine ray`."""
    source = tmp_path / "pets"
    draw_many(source, 16)
    Image.new("RGB", (40, 30), "white").save(source / "014.png")
    (tmp_path / "job.toml").write_text(
        'store = "store"\n[encoders]\ntext = "none"\n'
        f'image = {{ name = "python:cluster_encoders:Told", path = "{TESTS}", device = "{folder}" }}\n'
        '[[collections]]\nname = "pets"\nsource = "pets"\n'
    )
    (folder / "hold").touch()
    script = (
        "import fpve\nfrom fpve.engines.cluster.cluster import Cluster\n"
        "from fpve.engines.cluster.engine import RayEngine\n"
        "fpve.run('job.toml', engine=RayEngine(Cluster(workers=2), shard_rows=4))"
    )
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment)
    try:
        pending = tmp_path / "store" / "pending"
        wait_for(lambda: (folder / "held").exists() and len(list(pending.glob("[!.]*"))) == 3)
        assert driver.poll() is None
    finally:
        driver.kill()
        driver.wait()
    (folder / "hold").unlink()
    assert not (tmp_path / "store" / "snapshots").exists()

    words = [sys.executable, "-m", "fpve", "run", "job.toml", "--engine", "ray", "--address", nodes.address]
    words += ["--workers", "2", "--cpus-per-worker", "0.5", "--format", "json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["scanned"], report["encoded"], report["quarantined"]) == (16, 4, 0)
    local = told_job(tmp_path / "local", source, folder)
    fpve.run(local)
    assert images_of(tmp_path / "store") == images_of(local.store)
    assert vector_names(tmp_path / "store") == vector_names(local.store)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("needed", "said"),
    [({"cpus": 64}, "64 CPUs and 0 GPUs"), ({"gpus": 1}, "1 CPUs and 1 GPUs")],
    ids=lambda one: "" if isinstance(one, str) else "".join(one),
)
def test_what_has_no_room_is_one_line(nodes: Any, job: Job, needed: dict[str, int], said: str, dry_run: bool) -> None:
    """Workers that no node has room for are an error that says what there is; nobody waits for them."""
    with pytest.raises(ClusterError, match=f"room for a worker of {said}: the largest have 1 CPUs and 0 GPUs; ask"):
        fpve.run(job, engine="ray", cluster=Cluster(**needed), dry_run=dry_run)


def test_a_dry_run_says_where(nodes: Any, job: Job) -> None:
    """On which cluster, by how many workers, and by how many CPUs the time is told; nothing is written."""
    report = fpve.run(job, engine="ray", cluster=Cluster(workers=2, cpus=0.5), dry_run=True)
    assert report.runs_on == f"2 workers of 0.5 CPUs on the Ray cluster at {nodes.address}"
    assert report.estimate_basis == "30 images/s on each of 1 cores, an assumption"
    assert not job.store.exists()


def test_a_full_cluster_is_told_of(nodes: Any, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, with what there is, as an event of the run and as a note; it goes on when there is room."""
    import ray

    monkeypatch.setattr("fpve.engines.cluster.room._PATIENCE", 0.1)
    monkeypatch.setattr("fpve.engines.cluster.engine._LOOK_EVERY", 0.1)

    class Busy:
        def ready(self) -> None:
            pass

    busy = [ray.remote(num_cpus=1)(Busy).remote() for _ in range(3)]
    ray.get([one.ready.remote() for one in busy])
    said = []

    class Freeing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "cluster_full":
                said.append((record.__dict__["job"], record.__dict__["fields"]))
                for one in busy:
                    ray.kill(one)

    monkeypatch.setattr(LOGGER, "handlers", [*LOGGER.handlers, Freeing()])
    assert fpve.run(job, engine="ray", cluster=Cluster(workers=1)).encoded == 12
    text = f"waiting for 1 CPU of the Ray cluster at {nodes.address}; it has 3, of which 3 are used"
    assert said == [("pets", {"waiting_for": text})]


def test_where_nothing_changed_no_cluster_is_asked(job: Job) -> None:
    """A run with nothing to do, of the Ray engine, is one of this process: there need not be a cluster."""
    fpve.run(job)
    assert not fpve.run(job, engine="ray", cluster=Cluster("127.0.0.1:1")).published


def test_where_nobody_listens_there_is_one_line() -> None:
    """An address at which there is no cluster is an error at once, not after Ray's minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        script = (
            "import fpve\nfrom fpve.engines.cluster.cluster import Cluster\n"
            "from fpve.engines.cluster.connection import connected\n"
            f"try:\n    connected(Cluster({address!r})).__enter__()\n"
            "except fpve.FpveError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"no Ray cluster answers at {address} ([Errno 111] Connection refused): start one with `ray start`\n"
    )


def test_without_ray_there_is_one_line(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    """The engine says what to install, before anything is planned; the local one needs none."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"^expected Ray for the engine 'ray', .*: pip install 'fpve\[ray\]'$"):
        fpve.run(job, engine="ray")
    assert not job.store.exists()
    assert fpve.run(job).encoded == 12
