"""What fetching leaves on a machine, and what it says where there is no room, or no folder, for what comes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from buckets.machines import few_pictures, job_on, machine
from s3 import S3

import fpve
from fpve.buckets import Bucket
from fpve.config import Job
from fpve.errors import BucketError, StoreNotFound
from fpve.replica import located, replica_of
from fpve.room import ARRIVING
from fpve.store import manifest as manifests
from fpve.urls import any_path


@pytest.fixture
def job(tmp_path: Path, s3: S3) -> Job:
    """A job over three pictures, whose store is in a bucket."""
    return job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets"))


_ASKS: dict[str, Callable[[str], Any]] = {
    "open": fpve.open,
    "history": fpve.history,
    "verify": fpve.verify,
    "compact": fpve.compact,
    "prune": lambda url: fpve.prune(url, keep=1),
    "rollback": fpve.rollback,
    "repair": fpve.repair,
    "set_prefix": lambda url: fpve.set_prefix(url, where="true", text="x"),
    "train": lambda url: fpve.train(url, label="kind", head="logistic"),
}


@pytest.mark.parametrize("name", _ASKS)
def test_a_mistyped_url_leaves_nothing(s3: S3, tmp_path: Path, name: str) -> None:
    """Whatever is asked for, of a store that is not there or in a bucket that is not there."""
    with machine(tmp_path / "here"):
        for url in (s3.url("typo"), "s3://no-such-bucket-at-all/store"):
            with pytest.raises((StoreNotFound, BucketError)):
                _ASKS[name](url)
            assert not located(url).exists()
    assert [one for one in (tmp_path / "here").rglob("*") if one.is_file()] == []
    assert s3.keys() == []


def test_a_store_that_was_mistyped_first_is_there_when_it_is_made(s3: S3, tmp_path: Path) -> None:
    """Who asked for it too early finds it later, in the same process."""
    with machine(tmp_path / "here"), pytest.raises(StoreNotFound):
        fpve.open(s3.url("store"))
    fpve.run(job_on(tmp_path / "there", s3.url("store"), few_pictures(tmp_path / "pets")))
    with machine(tmp_path / "here"):
        assert len(fpve.open(s3.url("store")).search(text="number 1", k=3)) == 3


def test_a_replica_that_is_deleted_under_a_reader_comes_again(job: Job, s3: S3, tmp_path: Path) -> None:
    """And is known for what it is by the next process."""
    fpve.run(job)
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        (there,) = (tmp_path / "reader" / "stores").iterdir()
        there.rename(tmp_path / "gone")
        assert len(store.search(text="number 1", k=3)) == 3
        assert (there / "origin.json").read_bytes() == (tmp_path / "gone" / "origin.json").read_bytes()


@pytest.mark.parametrize("size", ["20 apples", "-1GB", "1e9"])
def test_a_size_that_is_none_is_said_at_once(
    job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """Of a store whose files are all here as well, by readers and writers; nothing is asked of the bucket."""
    fpve.run(job)
    monkeypatch.setenv("FPVE_CACHE_SIZE", size)
    s3.counts()
    source = job.collections[0].source
    for ask in (
        lambda: fpve.open(s3.url("store")),
        lambda: fpve.verify(s3.url("store")),
        lambda: fpve.compact(s3.url("store")),
        lambda: job_on(tmp_path / "here", s3.url("store"), source),
    ):
        with pytest.raises(BucketError, match=f"^FPVE_CACHE_SIZE: expected a size .* found '{size}'$"):
            ask()
    assert s3.counts().total() == 0
    # A store in a directory has no bound.
    fpve.run(job_on(tmp_path / "here", str(tmp_path / "store"), source))


def _bytes(folder: Path) -> int:
    files = (path for one in ("vectors", "images", "tables") for path in folder.glob(f"*/{one}/**/*"))
    return sum(path.stat().st_size for path in files if path.is_file())


def test_all_stores_of_a_machine_have_one_bound(
    job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for the longest goes, whichever store it is of."""
    fpve.run(job)
    whole = _bytes(job.store.parent)
    others = [s3.url(f"other{number}") for number in range(3)]
    for url in others:
        fpve.run(job_on(tmp_path / "there", url, job.collections[0].source))
    monkeypatch.setattr("fpve.room._IN_USE_NS", 0)
    monkeypatch.setenv("FPVE_CACHE_SIZE", f"{int(1.5 * whole)}")
    with machine(tmp_path / "reader") as folder:
        for url in [s3.url("store"), *others]:
            with fpve.open(url) as store:
                assert len(store.search(text="number 1", k=3)) == 3
                assert store.thumbnail("pets/00.png")
        assert whole / 2 < _bytes(folder / "stores") <= 1.5 * whole
        assert _bytes_of(located(s3.url("store"))) == 0


def _bytes_of(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "vectors").rglob("*") if path.is_file())


def test_what_killed_processes_were_fetching_is_deleted(job: Job, s3: S3, tmp_path: Path) -> None:
    """An hour later, by the next that fetches anything; what is being fetched, or written, stays."""
    fpve.run(job)
    with machine(tmp_path / "reader"):
        root = located(s3.url("store"))
        (root / "vectors" / "0123").mkdir(parents=True)
        names = [f"vectors/0123/.{'a' * 16}{ARRIVING}", f".{'a' * 16}{ARRIVING}", f"vectors/.{'b' * 16}{ARRIVING}"]
        names += [f"vectors/.{'c' * 16}.parquet.tmp"]
        for name in names:
            (root / name).write_bytes(b"half")
        for name in (*names[:2], names[3]):
            os.utime(root / name, (0, 0))
        fpve.open(s3.url("store"))
        assert [(root / name).exists() for name in names] == [False, False, True, True]


class _Full:
    """A disk that is full until enough of it was freed, or for good."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, frees: Callable[[], bool]) -> None:
        real = Bucket.fetch

        def fetch(bucket: Bucket, name: str, path: Path) -> None:
            if name.startswith("vectors/") and not frees():
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(bucket, name, path)

        monkeypatch.setattr(Bucket, "fetch", fetch)


def test_on_a_full_disk_what_was_not_asked_for_gives_way(
    job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the bound is reached: other stores are fetched again when they are asked for."""
    fpve.run(job)
    fpve.run(job_on(tmp_path / "there", s3.url("other"), job.collections[0].source))
    monkeypatch.setattr("fpve.room._IN_USE_NS", 0)
    with machine(tmp_path / "reader"):
        assert len(fpve.open(s3.url("other")).search(text="number 1", k=3)) == 3
        other = located(s3.url("other"))
        assert _bytes_of(other) > 0
        _Full(monkeypatch, frees=lambda: _bytes_of(other) == 0)
        assert len(fpve.open(s3.url("store")).search(text="number 1", k=3)) == 3
        assert _bytes_of(other) == 0


def test_on_a_full_disk_what_others_have_deleted_is_room(
    job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread that found none evicts all that can be: nothing is left to evict, and there is room."""
    fpve.run(job)
    asked: list[int] = []

    def frees() -> bool:
        asked.append(1)
        return len(asked) > 1

    _Full(monkeypatch, frees=frees)
    with machine(tmp_path / "reader"):
        assert len(fpve.open(s3.url("store")).search(text="number 1", k=3)) == 3


def test_a_disk_that_is_full_for_good_is_said(
    job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the folder, and what to do; no half of a file is left."""
    fpve.run(job)
    _Full(monkeypatch, frees=lambda: False)
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        with pytest.raises(
            OSError, match=f"free some space, or name a folder on another disk by FPVE_CACHE: '{tmp_path}"
        ):
            store.search(text="number 1", k=3)
        assert not [one for one in (tmp_path / "reader").rglob("*") if one.name.endswith(".tmp")]


def test_a_full_disk_is_not_taken_for_a_bucket_that_refuses(job: Job, s3: S3) -> None:
    """Whoever writes says no more than that there is no room."""
    fpve.run(job)
    with pytest.raises(OSError, match="No space left") as error:
        Bucket(s3.url("store")).fetch(manifests.name_of(1), Path("/dev/full"))
    assert error.type is OSError


def test_a_cache_that_is_a_file_is_said(job: Job, s3: S3, tmp_path: Path) -> None:
    """With what to do about it: to who reads, and to who has a job, which begins its replica."""
    fpve.run(job)
    (tmp_path / "file").write_text("")
    asks = (lambda: fpve.open(s3.url("store")), lambda: replace(job, store=any_path(s3.url("store"))))
    for ask in asks:
        with (
            machine(tmp_path / "file"),
            pytest.raises(OSError, match=r"comes here; name another folder by FPVE_CACHE: '.*/file"),
        ):
            ask()


def test_a_cache_that_can_not_be_written_to_is_said(
    job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there already is read all the same."""
    fpve.run(job)

    def fetch(_: Bucket, name: str, path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with machine(tmp_path / "reader"):
        assert len(fpve.open(s3.url("store")).search(text="number 1", k=3)) == 3
        monkeypatch.setattr(Bucket, "fetch", fetch)
        store = fpve.open(s3.url("store"))
        assert len(store.search(text="number 1", k=3)) == 3
        with pytest.raises(OSError, match=r"Read-only file system; .* name another folder by FPVE_CACHE"):
            store.thumbnail("pets/00.png")


def test_threads_that_ask_for_a_file_fetch_it_once(job: Job, s3: S3, tmp_path: Path) -> None:
    """An index of a gigabyte is not fetched by each of ten requests that come before it is here."""
    fpve.run(job)
    (name, *_) = manifests.load(job.store).segments[0].derived_files
    with machine(tmp_path / "reader"):
        root = located(s3.url("store"))
        replica = replica_of(root)
    assert replica is not None
    barrier = Barrier(6)
    found: list[bytes] = []

    def ask() -> None:
        barrier.wait(30)
        found.append(replica.bring(name).read_bytes())

    s3.counts()
    threads = [Thread(target=ask) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert found == [s3.get(f"store/{name}")] * 6
    assert s3.counts()["GET"] == 1


def test_who_interrupts_does_not_wait_for_what_is_under_way(s3: S3) -> None:
    """Nor is begun what has not been."""

    class _Interrupted(BaseException):
        pass

    ends, ended = Event(), []

    def work(number: int) -> None:
        if number == 0:
            raise _Interrupted
        ends.wait(30)
        ended.append(number)

    with pytest.raises(_Interrupted):
        Bucket(s3.url("store")).each(work, range(100))
    assert ended == []
    ends.set()
    for one in threading.enumerate():
        if one.name.startswith("fpve-bucket"):
            one.join(30)
    assert len(ended) < 99
