"""Buckets that fail, refuse or know nothing: one line, nothing torn, and nothing that was finished is done again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from buckets.machines import few_pictures, job_on, machine, run_in_child
from s3 import S3, Asked, environment
from samples import draw, make_job
from torture.children import server

import fpve
from fpve.config import Job
from fpve.engines import shards
from fpve.errors import BucketError, StoreNotFound
from fpve.store import manifest as manifests

# Of each kind of object a part of its name.
_KINDS = {
    "rows": "rows.parquet",
    "thumbnails": "thumbnails.parquet",
    "receipt": "shard.json",
    "adopted rows": "/vectors/[0-9a-f]+/rows",
    "page": "/images/.*parquet",
    "copy": "/images/.*arrow$",
    "index": "exact.faiss$",
    "prefixes": "/tables/prefixes/",
    "claim": r"/snapshots/\.",
    "manifest": r"/snapshots/\d",
    "scan state": "/state/scan/",
}


@pytest.fixture
def job(tmp_path: Path, s3: S3) -> Job:
    """A job over three pictures, whose store is in a bucket."""
    return job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets"))


def _check(s3: S3, job: Job) -> None:
    """No snapshot names an object that is not there, or is not whole."""
    sizes = {one: len(s3.get(one)) for one in set(s3.keys())}
    for number in manifests.numbers(job.store):
        manifest = manifests.load(job.store, number)
        assert {f"store/{name}" for name in manifest.names} <= sizes.keys()
        assert all(sizes[f"store/{one.path}"] == one.bytes for one in manifest.files)


@pytest.mark.parametrize("kind", _KINDS)
def test_a_put_that_fails_tears_nothing(job: Job, s3: S3, kind: str, tmp_path: Path) -> None:
    """Whichever object it is, and whether it was put or not: one line, and another machine goes on from there."""
    is_meant = re.compile(_KINDS[kind]).search

    def refuse(asked: Asked) -> int | None:
        if asked.method != "PUT" or not is_meant(asked.key):
            return None
        if kind in ("thumbnails", "adopted rows", "prefixes"):
            # It gets no answer at all.
            raise ConnectionResetError
        return 403 if kind in ("receipt", "copy") else 503

    if kind in ("page", "index", "scan state", "prefixes"):
        s3.after = refuse
    else:
        s3.before = refuse
    with pytest.raises(BucketError, match=rf"s3://{s3.bucket}/store/.*: the object store can't be asked, or refuses"):
        fpve.run(job)
    s3.before = s3.after = None
    _check(s3, job)
    # Of a machine that has nothing here: what was finished is found in the bucket.
    finished = any(one.endswith("shard.json") for one in set(s3.keys()))
    assert finished == (
        kind in ("adopted rows", "page", "copy", "index", "prefixes", "claim", "manifest", "scan state")
    )
    again = fpve.run(job_on(tmp_path / "there", s3.url("store"), job.collections[0].source))
    assert (again.encoded, again.snapshot) == (0 if finished else 3, 1)
    assert again.published == (kind != "scan state")
    _check(s3, job)
    # Where the snapshot had been published, it is left to `prune`.
    assert any("/pending/" in one for one in set(s3.keys())) == (kind == "scan state")
    assert len(fpve.open(job.store).search(text="number 1", k=3)) == 3


def test_a_report_that_can_not_be_put_is_put_by_the_next_run(job: Job, s3: S3) -> None:
    """The run is done all the same, and the report is not lost."""
    s3.before = lambda asked: 503 if asked.method == "PUT" and "/runs/" in asked.key else None
    assert fpve.run(job).published
    assert not [one for one in set(s3.keys()) if "/runs/" in one]
    s3.before = None
    assert not fpve.run(job).published
    assert len([one for one in set(s3.keys()) if "/runs/" in one]) == 2


def _kill_at(s3: S3, job: Job, number: int) -> bool:
    """Let a child process run a job, and kill it before or after its write of that number; whether it came so far."""
    child = server().Process(target=run_in_child, args=(job, environment(s3)))
    writes: list[Asked] = []

    def count(asked: Asked) -> None:
        if asked.method in ("PUT", "DELETE"):
            writes.append(asked)
            if len(writes) == number:
                child.kill()

    # Whether what it asked for last is done is for chance to say: it is dead, and the server is not.
    s3.before, s3.after = (count, None) if number % 2 else (None, count)
    child.start()
    child.join()
    s3.before = s3.after = None
    code = child.exitcode
    child.close()
    assert code in (0, -signal.SIGKILL)
    return code != 0


def test_killed_writers_lose_nothing_that_was_finished(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at whichever write: a machine that has never seen the store ends it, and encodes what is not there."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    source = few_pictures(tmp_path / "pets", count=6)
    never_killed = make_job(tmp_path / "store", source)
    fpve.run(never_killed)
    expected = _answers(never_killed)
    killed = []
    for number in (4, 11, 17, 25):
        prefix = f"killed{number}"
        with machine(tmp_path / "here"):
            killed.append(_kill_at(s3, make_job(Path(s3.url(prefix)), source), number))
        names = {name.removeprefix(f"{prefix}/") for name in set(s3.keys()) if name.startswith(f"{prefix}/")}
        finished = sum(name.endswith("/shard.json") for name in names)
        is_published = any(name.startswith("snapshots/") for name in names)
        job = job_on(tmp_path / f"after{number}", s3.url(prefix), source)
        report = fpve.run(job)
        assert (report.encoded, report.snapshot) == (0 if is_published else 6 - 2 * finished, 1), number
        assert _answers(job) == expected
    assert sum(killed) >= 3


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Connections that other tests have opened are not used, nor this one's by them."""
    # Each is for one set of credentials, which are taken from the environment when it is opened.
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint URL"),
    ],
)
@pytest.mark.usefixtures("forgotten")
def test_a_store_that_can_not_be_reached_is_said_in_one_line(
    job: Job, s3: S3, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], reason: str
) -> None:
    """What was asked for and why there is no answer, and none of the secrets."""
    for name, value in {"AWS_SECRET_ACCESS_KEY": "hush-hush", **changed}.items():
        monkeypatch.setenv(name, value)
    for ask in (lambda: fpve.open(job.store), lambda: fpve.run(job), lambda: fpve.verify(job.store)):
        with pytest.raises(BucketError, match=rf"^s3://{s3.bucket}/store.*: the object store .*{reason}") as error:
            ask()
        assert "\n" not in str(error.value)
        assert "hush" not in str(error.value)


def test_a_bucket_that_is_not_there_is_said(tmp_path: Path, s3: S3) -> None:
    """No store is looked for in it, nor made."""
    job = job_on(tmp_path / "here", "s3://no-such-bucket/store", few_pictures(tmp_path / "pets"))
    for ask in (lambda: fpve.open(job.store), lambda: fpve.run(job)):
        with pytest.raises(BucketError, match=r"^s3://no-such-bucket/store: no such bucket$"):
            ask()
    with machine(tmp_path / "here"), pytest.raises(StoreNotFound, match="no store here"):
        fpve.open(s3.url("nothing"))


def test_who_may_only_read_reads(job: Job, s3: S3, tmp_path: Path) -> None:
    """All questions are answered, and a run says what is refused; nothing changes."""
    fpve.run(job)
    before = {name: s3.get(name) for name in set(s3.keys())}
    s3.before = lambda asked: 403 if asked.method in ("PUT", "POST", "DELETE") else None
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        assert len(store.search(text="number 1", k=3)) == 3
        assert store.sql("select count(*) as n from images").to_pylist() == [{"n": 3}]
        assert store.status().images == 3
        assert fpve.verify(s3.url("store")).ok
        assert len(fpve.history(s3.url("store"))) == 1
    draw(job.collections[0].source / "new.png", 9)
    with pytest.raises(BucketError, match=r"^s3://\S+/store/pending/\S+: .* refuses: \S.*") as error:
        fpve.run(job)
    assert "\n" not in str(error.value)
    assert {name: s3.get(name) for name in set(s3.keys())} == before


def test_without_the_package_the_command_line_names_it(tmp_path: Path) -> None:
    """One line, exit code 1, no traceback."""
    script = "import sys; sys.modules['s3fs'] = None; from fpve.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "status", "s3://bucket/store"],
        capture_output=True,
        text=True,
        env={**os.environ, "FPVE_CACHE": str(tmp_path)},
        check=False,
    )
    expected = "fpve: s3://bucket/store: needs the package s3fs: pip install 'fpve[s3]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def _answers(job: Job) -> list[object]:
    """What a store says of each image, but for where its vector is, and the hits of a query."""
    store = fpve.open(job.store)
    images = store.images.drop_columns(["segment", "row"])
    return [images.to_pylist(), store.search(text="number 3", k=6).to_arrow().to_pylist()]


def test_a_run_that_cannot_ask_its_bucket_tells_the_metrics(job: Job, s3: S3, tmp_path: Path) -> None:
    """Before its first snapshot: the error is that of the run, and the metrics say that it failed."""
    s3.before = lambda asked: 403
    with pytest.raises(BucketError, match="the object store can't be asked, or refuses"):
        fpve.run(job, metrics=tmp_path / "fpve.prom")
    lines = (tmp_path / "fpve.prom").read_text().splitlines()
    assert [one.rpartition(" ")[2] for one in lines if one.startswith("fpve_run_success{")] == ["0.0"]
    assert not any(one.startswith("fpve_store_") for one in lines)


def test_the_log_and_the_metrics_call_a_store_by_its_url(
    job: Job, s3: S3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica is called differently on each machine, and these are read for all."""
    with caplog.at_level("INFO", "fpve"):
        fpve.run(job, metrics=tmp_path / "fpve.prom")
    assert {record.store for record in caplog.records} == {s3.url("store")}  # type: ignore[attr-defined]
    lines = [one for one in (tmp_path / "fpve.prom").read_text().splitlines() if not one.startswith("#")]
    assert all(f'store="{s3.url("store")}"' in one for one in lines)
