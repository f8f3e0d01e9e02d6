"""What is said of a store in a bucket: it is called by its URL, wherever this machine has its replica."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from buckets.machines import few_pictures, job_on, machine
from commands import command_here
from filelock import FileLock
from s3 import S3

import fpve
from fpve.config import FusionConfig, Job
from fpve.errors import BucketError, FpveError, QueryError, StoreCorrupt, StoreLocked, StoreNotFound
from fpve.store import manifest as manifests


@pytest.fixture
def job(tmp_path: Path, s3: S3) -> Job:
    """A job over three pictures, whose store is in a bucket."""
    return job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets"))


def _error(ask: Callable[[], Any], kind: type[FpveError]) -> FpveError:
    with pytest.raises(kind) as raised:
        ask()
    return raised.value


def test_an_error_calls_a_store_by_its_url(job: Job, s3: S3, tmp_path: Path) -> None:
    """Whichever error it is, by whichever way it is asked for its text."""
    fpve.run(job)
    url = s3.url("store")
    with machine(tmp_path / "here"):
        missing = _error(lambda: fpve.open(url, at=7), StoreNotFound)
        with FileLock(job.store / "state" / "lock"):
            locked = _error(lambda: fpve.label(url, _labels(tmp_path)), StoreLocked)
        unknown = _error(lambda: fpve.open(url).classify([], label="kind", head="mlp"), QueryError)
        page = manifests.load(job.store).collections[0].pages[0].file.path
        (job.store / page).unlink()
        s3.put(f"store/{page}", b"damaged")
        older = _error(lambda: fpve.rollback(url, 5), StoreNotFound)
        damaged = _error(lambda: fpve.compact(url), StoreCorrupt)
    assert str(missing) == f"{url}: no snapshot 7; it has 1"
    assert str(locked) == f"{url}: another process is writing to this store; try again when it is done"
    assert f"`fpve train {url} --label kind --head mlp`" in str(unknown)
    assert str(older) == f"{url}: can't go back to snapshot 5; the newest is 1, before it there is none"
    assert str(damaged) == f"{url}/{page}: its content has changed since it was written; see `fpve repair {url}`"
    for error in (missing, locked, unknown, older, damaged):
        assert str(tmp_path) not in repr(error)
        assert str(tmp_path) not in "".join(map(str, error.args))


def _labels(folder: Path) -> Path:
    (folder / "labels.csv").write_text("image_id,quality\npets/00.png,good\n", encoding="utf-8")
    return folder / "labels.csv"


@pytest.mark.parametrize("kind", [StoreNotFound, StoreLocked, StoreCorrupt, QueryError, BucketError])
def test_an_error_is_told_to_another_process_in_the_same_words(job: Job, s3: S3, kind: type[FpveError]) -> None:
    """Which has its replicas in another folder, and may know nothing of this one."""
    error = kind(f"{job.store}: it says")
    with machine(Path("/nowhere")):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 (its own)
    assert (type(again), str(again)) == (kind, f"{s3.url('store')}: it says")
    assert str(kind(f"in {job.store}.")) == f"in {s3.url('store')}."
    assert str(kind("/elsewhere/stores/x: it says")) == "/elsewhere/stores/x: it says"
    # What is none of a replica is told as it is.
    assert str(kind(f"{job.store.parent}/other-01234567: it says")) == f"{job.store.parent}/other-01234567: it says"


def test_a_bucket_error_says_why_as_an_error_of_the_system_does(job: Job, s3: S3) -> None:
    """Who catches an OSError and tells its reason calls the store by its URL, too."""
    assert BucketError(f"{job.store}: refused").strerror == f"{s3.url('store')}: refused"


def test_reports_call_a_store_by_its_url(job: Job, s3: S3, tmp_path: Path) -> None:
    """All that calls return, warnings among them."""
    url = s3.url("store")
    fpve.run(job)
    source = few_pictures(tmp_path / "others", first=10, count=2)
    other = job_on(tmp_path / "here", url, source)
    other = replace(
        other,
        name="others",
        collections=(replace(other.collections[0], name="others"),),
        fusion=FusionConfig(image_weight=0.25),
    )
    warned = fpve.run(other)
    assert [one.partition(" has ")[0] for one in warned.warnings] == [url]
    with machine(tmp_path / "here"):
        store = fpve.open(url)
        hits = store.search(text="number 1", k=2)
        store.save("mine", hits, command="by hand")
        said = [
            warned.to_dict(),
            hits.to_arrow().to_pylist(),
            store.saved().to_pylist(),
            store.status().to_dict(),
            store.sql("select * from runs").to_pylist(),
            repr(store),
            fpve.verify(url).to_dict(),
            fpve.history(url).to_pylist(),
            fpve.repair(url).to_dict(),
            fpve.compact(url).to_dict(),
        ]
    assert not [one for one in said if str(tmp_path / "here") in str(one)]


def test_the_commands_that_a_run_proposes_name_the_store_by_its_url(s3: S3, tmp_path: Path) -> None:
    """As a person calls it; the directory of this machine is nobody's concern."""
    source = few_pictures(tmp_path / "pets")
    (source / "broken.png").write_bytes(b"no picture")
    job = tmp_path / "job.toml"
    job.write_text(
        f'store = "{s3.url("store")}"\n[encoders]\nimage = "fake:24"\ntext = "none"\n'
        f'[[collections]]\nname = "pets"\nsource = "{source}"\n'
    )
    with machine(tmp_path / "here"):
        ran = command_here(["run", job])
    assert f'fpve sql {s3.url("store")} "SELECT path, reason FROM quarantine"\n' in ran.stderr
