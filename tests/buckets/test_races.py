"""Writers on several machines, which have no lock between them: one wins a number, and nothing that was won is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from time import sleep

import pytest
from buckets.machines import few_pictures, job_on, machine
from s3 import S3, Asked
from samples import draw

import fpve
from fpve.config import Job
from fpve.errors import StoreLocked
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot


def _once(is_meant: Callable[[Asked], bool], act: Callable[[], object]) -> Callable[[Asked], int | None]:
    """Do something before the first request that is meant; what that asks itself is let be."""
    done: list[bool] = []

    def interfere(asked: Asked) -> None:
        if not done and is_meant(asked):
            done.append(True)
            act()

    return interfere


def _is_put_of(name: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.method == "PUT" and f"/{name}" in asked.key


# How the names of claims and of manifests begin.
_CLAIM, _MANIFEST = "snapshots/.", "snapshots/0"


def _images(s3: S3, job: Job) -> set[str]:
    """The images of the newest snapshot, of which every file is in the bucket."""
    snapshot = Snapshot.open(job.store)
    assert {f"store/{name}" for name in snapshot.manifest.names} <= set(s3.keys())
    return set(snapshot.images["image_id"].to_pylist())


def _names(job: Job) -> set[str]:
    return {f"{one.name}/{path.name}" for one in job.collections for path in one.source.glob("*.png")}


@pytest.fixture
def pets(tmp_path: Path, s3: S3) -> Job:
    """The job of one machine."""
    return job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets"))


@pytest.fixture
def cars(tmp_path: Path, s3: S3) -> Job:
    """The job of another machine, for another collection of the same store."""
    job = job_on(tmp_path / "there", s3.url("store"), few_pictures(tmp_path / "cars", first=50))
    return replace(job, name="cars", collections=(replace(job.collections[0], name="cars"),))


@pytest.mark.parametrize(
    ("name", "is_new"), [("pending/", True), ("images/", False), (_CLAIM, False), (_MANIFEST, False)]
)
def test_a_run_begins_anew_where_another_machine_publishes_first(
    pets: Job, cars: Job, s3: S3, name: str, is_new: bool
) -> None:
    """Whenever in its course that is: both changes are in the store, and nothing is encoded twice."""
    if not is_new:
        fpve.run(pets)
        draw(pets.collections[0].source / "03.png", 3)
    s3.before = _once(_is_put_of(name), lambda: fpve.run(cars))
    s3.counts()
    report = fpve.run(pets)
    shards = [one.key for one in s3.asked if one.method == "PUT" and one.key.endswith("shard.json")]
    assert (report.encoded, report.published, report.snapshot) == (3 if is_new else 1, True, 2 if is_new else 3)
    assert len(shards) == len(set(shards)) == 2
    # Of the time in which it was encoded, not of the one in which nothing was left to be.
    assert report.limited_by is not None
    assert _images(s3, pets) == _names(pets) | _names(cars)
    assert not [key for key in set(s3.keys()) if "/pending/" in key]


@pytest.mark.parametrize(
    ("method", "part"),
    [("PUT", "rows.parquet"), ("PUT", "thumbnails.parquet"), ("HEAD", "rows.parquet"), ("PUT", "shard.json")],
)
def test_a_machine_that_finds_its_shards_published_by_another_begins_anew(
    pets: Job, s3: S3, tmp_path: Path, method: str, part: str
) -> None:
    """A twin with the same job is through before one has put its shard: nothing is damaged, and nobody is held up."""
    twin = job_on(tmp_path / "twin", s3.url("store"), pets.collections[0].source)
    s3.before = _once(
        lambda asked: asked.method == method and "/pending/" in asked.key and asked.key.endswith(part),
        lambda: fpve.run(twin),
    )
    report = fpve.run(pets)
    assert (report.published, report.snapshot) == (False, 1)
    assert _images(s3, pets) == _names(pets)
    # Without the segment that a half of a shard has become, it is a half of a shard.
    draw(pets.collections[0].source / "03.png", 3)
    fpve.run(twin)
    assert fpve.compact(twin.store).segments == (1, 2)
    draw(pets.collections[0].source / "04.png", 4)
    assert fpve.run(pets).encoded == 1
    assert _images(s3, pets) == _names(pets)


@pytest.mark.parametrize("moment", [_CLAIM, _MANIFEST])
@pytest.mark.parametrize("name", ["label", "set_prefix", "compact", "rollback"])
def test_an_edit_stops_where_another_machine_publishes_first(
    pets: Job, cars: Job, s3: S3, tmp_path: Path, name: str, moment: str
) -> None:
    """It says so in one line, loses nothing of the other's, and can be done again."""
    fpve.run(pets)
    draw(pets.collections[0].source / "03.png", 3)
    fpve.run(pets)
    (tmp_path / "labels.csv").write_text("image_id,quality\npets/00.png,good\n", encoding="utf-8")
    arguments: dict[str, dict[str, object]] = {
        "label": {"file": tmp_path / "labels.csv"},
        "set_prefix": {"where": "true", "text": "by hand"},
        "rollback": {"to": 1},
    }
    s3.before = _once(_is_put_of(moment), lambda: fpve.run(cars))
    edit = getattr(fpve, name)
    with pytest.raises(StoreLocked, match="snapshot 3 was published by another writer; run again"):
        edit(pets.store, **arguments.get(name, {}))
    assert _images(s3, pets) == _names(pets) | _names(cars)
    edit(pets.store, **arguments.get(name, {}))
    assert manifests.numbers(pets.store)[-1] == 4


@pytest.mark.parametrize("status", [500, 503])
def test_a_writer_whose_answer_got_lost_finds_that_it_has_won(pets: Job, s3: S3, status: int) -> None:
    """The manifest was put, and the writer was told that it was not: it looks."""
    left = [status]
    s3.after = lambda asked: left.pop() if left and _is_put_of(_MANIFEST)(asked) else None
    report = fpve.run(pets)
    assert (report.published, report.snapshot, left) == (True, 1, [])
    assert not fpve.run(pets).published
    assert manifests.numbers(pets.store) == [1]


def test_a_writer_whose_answer_got_lost_finds_that_another_has_won(pets: Job, cars: Job, s3: S3) -> None:
    """What is there of its number is not its own, so it begins anew."""

    def refuse(asked: Asked) -> int | None:
        if refused or not _is_put_of(_MANIFEST)(asked):
            return None
        refused.append(asked)
        fpve.run(cars)
        return 503

    refused: list[Asked] = []
    s3.before = refuse
    assert fpve.run(pets).snapshot == 2
    assert _images(s3, pets) == _names(pets) | _names(cars)


def test_two_machines_that_race_lose_nothing(pets: Job, cars: Job, s3: S3) -> None:
    """At whatever moments their requests come: after each night all changes of both are there."""
    rng = random.Random(7)
    with ThreadPoolExecutor(2) as pool:
        for night in range(3):
            barrier = Barrier(2)

            def work(job: Job, seed: int, wait: float, barrier: Barrier = barrier) -> int:
                draw(job.collections[0].source / f"{seed}.png", seed)
                barrier.wait()
                sleep(wait)
                return fpve.run(job).encoded

            waits = [rng.random() * 0.1 for _ in range(2)]
            done = [pool.submit(work, job, 100 + 2 * night + at, waits[at]) for at, job in enumerate((pets, cars))]
            assert [one.result() for one in done] == [4 if night == 0 else 1] * 2
            assert _images(s3, pets) == _images(s3, cars) == _names(pets) | _names(cars)
    assert fpve.history(pets.store)["operation"].to_pylist().count("run") == 6


def test_two_machines_with_the_same_job_share_the_work(pets: Job, s3: S3, tmp_path: Path) -> None:
    """One publishes; the other finds that nothing is left to do, or publishes what it has besides."""
    twin = job_on(tmp_path / "twin", s3.url("store"), pets.collections[0].source)
    with ThreadPoolExecutor(2) as pool:
        for night in range(2):
            draw(pets.collections[0].source / f"{100 + night}.png", 100 + night)
            reports = list(pool.map(fpve.run, (pets, twin)))
            assert max(one.snapshot or 0 for one in reports) == manifests.numbers(pets.store)[-1]
            assert _images(s3, pets) == _names(pets)
    fpve.compact(pets.store)
    fpve.prune(pets.store, keep=1, grace=timedelta(0))
    with machine(tmp_path / "third"):
        assert fpve.verify(s3.url("store")).ok
