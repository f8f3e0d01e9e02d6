"""Machines of which one publishes what another deletes: the newest snapshot is whole, whatever comes in between."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock

import moto.s3.models
import pytest
from buckets.machines import few_pictures, job_on, machine
from moto.core import DEFAULT_ACCOUNT_ID
from s3 import S3, Asked
from samples import draw

import fpve
from fpve.buckets import Bucket, Object
from fpve.config import Job
from fpve.errors import BucketError, StoreCorrupt, StoreLocked, StoreNotFound
from fpve.store import manifest as manifests
from fpve.store.claims import deleting

_NOW = timedelta(0)
_HOUR = timedelta(hours=1)
_OWNER = b'{"job": "dogs", "host": "elsewhere", "pid": 7, "since": "2026-01-02T03:04:05+00:00"}'


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long between two looks, and nobody who deletes waits for long."""
    monkeypatch.setattr("fpve.store.claims._POLL", 0.01)
    monkeypatch.setattr("fpve.store.claims._PATIENCE", {"publishing": 30.0, "deleting": 0.0})


@pytest.fixture
def here(tmp_path: Path, s3: S3) -> Job:
    """The job on one machine, which has published three pictures."""
    job = job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets"))
    fpve.run(job)
    return job


@pytest.fixture
def there(tmp_path: Path, s3: S3, here: Job) -> Job:
    """The same job on another machine, which has published a fourth picture, and has all of that."""
    job = job_on(tmp_path / "there", s3.url("store"), here.collections[0].source)
    _draw(job, 3)
    fpve.run(job)
    return job


@pytest.fixture
def waiting() -> Iterator[Event]:
    """Set as soon as somebody waits for another machine."""
    event = Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "waiting":
                event.set()

    logger, handler = logging.getLogger("fpve"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield event
    logger.setLevel(level)
    logger.removeHandler(handler)


def _draw(job: Job, number: int) -> None:
    draw(job.collections[0].source / f"{number:02d}.png", number)


def _remove(job: Job, number: int) -> None:
    (job.collections[0].source / f"{number:02d}.png").unlink()


def _shrink(job: Job, number: int) -> None:
    """Publish two snapshots without an image, the second one without its vector."""
    _remove(job, number)
    fpve.run(job, allow_removals=True)
    fpve.compact(job.store)


def _labels(folder: Path) -> Path:
    (folder / "labels.csv").write_text("image_id,quality\npets/00.png,good\n", encoding="utf-8")
    return folder / "labels.csv"


def _check(s3: S3, job: Job, images: int | None = None) -> None:
    """All files of the newest snapshot are in the bucket, and no claims are left."""
    newest = manifests.load(job.store)
    keys = set(s3.keys())
    assert {f"store/{name}" for name in newest.names} <= keys
    assert _claims(s3) == []
    if images is not None:
        assert sum(one.rows for one in newest.collections) == images


def _manifest(number: int) -> str:
    return f"store/{manifests.name_of(number)}"


def _claims(s3: S3) -> list[str]:
    return sorted(name for name in set(s3.keys()) if name.startswith("store/snapshots/."))


def _ages(s3: S3, name: str, age: timedelta) -> None:
    """Let an object be older."""
    found = moto.s3.models.s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(s3.bucket, name)
    assert found is not None
    found.last_modified -= age


def _once(is_meant: Callable[[Asked], bool], act: Callable[[], object]) -> Callable[[Asked], int | None]:
    """Do something before the first request that is meant; what that asks itself is let be."""
    # Requests come several at once.
    first = Lock()

    def interfere(asked: Asked) -> None:
        if is_meant(asked) and first.acquire(blocking=False):
            act()

    return interfere


def _deletes_a_file(asked: Asked) -> bool:
    return asked.method == "DELETE" and asked.key.startswith(("store/vectors/", "store/tables/", "store/images/"))


def _prune(job: Job, said: list[str] | None = None) -> None:
    """Delete all that can be; a refusal is kept, where it is expected."""
    try:
        fpve.prune(job.store, keep=1, grace=_NOW)
    except StoreLocked as error:
        if said is None:
            raise
        said.append(str(error))


def _meanwhile(act: Callable[[], object], waiting: Event, done: list[Future[object]]) -> Callable[[], None]:
    """Let something be done by somebody else, as far as that goes while whoever calls this is stopped."""

    def begin() -> None:
        pool = ThreadPoolExecutor(1)
        done.append(pool.submit(act))
        done[0].add_done_callback(lambda _: waiting.set())
        assert waiting.wait(60)
        pool.shutdown(wait=False)

    return begin


@pytest.mark.parametrize(
    ("method", "part"),
    [("PUT", "/snapshots/."), ("GET", ""), ("HEAD", "/vectors/"), ("HEAD", "/tables/"), ("PUT", "/snapshots/0")],
)
def test_a_rollback_names_no_file_that_another_machine_deletes(
    here: Job, there: Job, s3: S3, method: str, part: str
) -> None:
    """Whenever in its course `prune` is called there: either is refused, in one line."""
    _shrink(here, 0)
    said: list[str] = []
    s3.before = _once(lambda asked: asked.method == method and part in asked.key, lambda: _prune(here, said))
    try:
        fpve.rollback(there.store, 1)
    except (StoreCorrupt, StoreNotFound, StoreLocked) as error:
        said.append(str(error))
    s3.before = None
    _check(s3, there)
    assert [one for one in said if "\n" in one] == []
    assert len(said) <= 1
    with machine(there.store.parent.parent):
        assert fpve.verify(s3.url("store")).problems == () or said == []


def test_prune_steps_back_from_a_machine_that_publishes(here: Job, there: Job, s3: S3) -> None:
    """It says who that is, deletes nothing, and works when that is done."""
    _shrink(here, 0)
    said: list[str] = []
    s3.before = _once(lambda asked: asked.method == "PUT" and "/snapshots/0" in asked.key, lambda: _prune(here, said))
    before = set(s3.keys())
    assert fpve.rollback(there.store, 1).snapshot == 5
    assert before <= set(s3.keys())
    (one,) = said
    assert one.startswith(f"{s3.url('store')}: job 'fpve rollback' (process ")
    assert one.endswith("; nothing was deleted. Try again when that is done; if it was killed, 15 minutes later")
    assert fpve.prune(here.store, keep=1, grace=_NOW).removed == (1, 2, 3, 4)
    _check(s3, here, images=3)


@pytest.mark.parametrize("name", ["run", "label"])
def test_a_writer_waits_for_a_machine_that_deletes(
    here: Job, there: Job, s3: S3, tmp_path: Path, waiting: Event, name: str
) -> None:
    """What it makes has names of files that are deleted meanwhile: all of it is there in the end."""
    _shrink(here, 3)
    # Snapshot 2 had it, so that its files are in the bucket, old, and of no use.
    _draw(there, 3)
    acts: dict[str, Callable[[], object]] = {
        "run": lambda: fpve.run(there),
        "label": lambda: fpve.label(there.store, _labels(tmp_path)),
    }
    done: list[Future[object]] = []
    s3.before = _once(_deletes_a_file, _meanwhile(acts[name], waiting, done))
    assert fpve.prune(here.store, keep=1, grace=_NOW).removed == (1, 2, 3, 4)
    s3.before = None
    done[0].result()
    _check(s3, there, images={"run": 4, "label": 3}[name])
    assert fpve.verify(there.store).ok


def test_what_is_made_again_after_it_was_deleted_is_put_again(here: Job, there: Job, s3: S3) -> None:
    """Between its put and the claim of whoever publishes: the machine has it, and the bucket has not."""
    _shrink(here, 3)
    _draw(there, 3)
    s3.before = _once(
        lambda asked: asked.method == "PUT" and asked.key.startswith("store/snapshots/"), lambda: _prune(here)
    )
    assert fpve.run(there).published
    _check(s3, there, images=4)
    assert fpve.verify(here.store).ok


def test_a_number_that_is_free_again_is_not_taken(here: Job, there: Job, s3: S3, tmp_path: Path) -> None:
    """A reader has the snapshot before it open, so `prune` passes over that: what comes after it is no newest one."""
    reader = fpve.open(here.store)
    assert reader.snapshot == 2

    def others() -> None:
        for number in (4, 5):
            _draw(here, number)
            fpve.run(here)
        assert fpve.prune(here.store, keep=1, grace=_NOW).held == (2,)

    s3.before = _once(lambda asked: asked.method == "PUT" and asked.key.startswith("store/snapshots/"), others)
    with pytest.raises(StoreLocked, match="snapshot 3 was published by another writer; run again"):
        fpve.label(there.store, _labels(tmp_path))
    s3.before = None
    reader.close()
    assert manifests.numbers(here.store) == [2, 4]
    assert fpve.label(there.store, _labels(tmp_path)).snapshot == 5
    _check(s3, here, images=6)


def test_a_repair_leaves_what_another_machine_made_anew(here: Job, there: Job, s3: S3, waiting: Event) -> None:
    """It takes a damaged page out, which a run elsewhere makes once more, by the same name, before it is set aside."""
    (page,) = manifests.load(here.store).collections[0].pages
    whole = s3.get(f"store/{page.file.path}")
    s3.put(f"store/{page.file.path}", whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
    done: list[Future[object]] = []
    is_aside = _once(
        lambda asked: asked.method == "PUT" and "/state/damaged/" in asked.key,
        _meanwhile(lambda: fpve.run(there), waiting, done),
    )
    s3.before = is_aside
    repaired = fpve.repair(here.store)
    s3.before = None
    done[0].result()
    _check(s3, there, images=4)
    assert fpve.verify(there.store).ok
    assert (repaired.snapshot, len(repaired.taken_out)) == (3, 1)


def test_two_machines_that_prune_do_not_hold_one_another_up(here: Job, there: Job, s3: S3) -> None:
    """Each deletes what no snapshot names that it keeps, and the other may have deleted."""
    _shrink(here, 0)
    s3.before = _once(_deletes_a_file, lambda: _prune(there))
    assert fpve.prune(here.store, keep=2, grace=_NOW).removed == (1, 2)
    assert manifests.numbers(here.store) == [4]
    _check(s3, here, images=3)
    assert fpve.verify(here.store).ok


@pytest.mark.parametrize("kind", ["publishing", "deleting"])
def test_a_claim_of_a_killed_process_expires(here: Job, s3: S3, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """By the bucket's clock, after a quarter of an hour; until then it is believed, and said."""
    monkeypatch.setattr("fpve.store.claims._PATIENCE", {"publishing": 0.0, "deleting": 0.0})
    name = f"store/snapshots/.0123456789abcdef.{kind}.tmp"
    s3.put(name, _OWNER)
    _draw(here, 3)
    asks: dict[str, Callable[[], object]] = {
        "publishing": lambda: fpve.prune(here.store, keep=1, grace=_NOW),
        "deleting": lambda: fpve.run(here),
    }
    for age in (0, 14):
        _ages(s3, name, timedelta(minutes=age))
        with pytest.raises(
            StoreLocked, match=r": job 'dogs' \(process 7 on elsewhere, since 2026-01-02T03:04:05\+00:00\) is "
        ):
            asks[kind]()
        assert _claims(s3) == [name]
    _ages(s3, name, timedelta(minutes=2))
    asks[kind]()
    _check(s3, here)


def test_a_claim_that_is_gone_when_it_is_read_is_looked_for_again(here: Job, s3: S3) -> None:
    """What was listed together with it may be gone as well."""
    name = "store/snapshots/.0123456789abcdef.deleting.tmp"
    s3.put(name, _OWNER)
    s3.before = _once(lambda asked: asked.key == name, lambda: s3.remove(name))
    _draw(here, 3)
    s3.counts()
    assert fpve.run(here).published
    asked = [one.key if one.kind == "PUT" else one.kind for one in s3.asked if one.key in ("", name, _manifest(2))]
    assert asked[asked.index("GET") : asked.index(_manifest(2))] == ["GET", "LIST"]
    _check(s3, here, images=4)


def test_claims_do_not_stand_in_the_way_of_their_own_kind_nor_of_readers(here: Job, s3: S3, tmp_path: Path) -> None:
    """They are no files of any snapshot, and in a copy of the bucket they are what `prune` deletes."""
    for kind in ("publishing", "deleting"):
        s3.put(f"store/snapshots/.0123456789abcdef.{kind}.tmp", _OWNER)
    with machine(tmp_path / "reader"):
        found = fpve.verify(s3.url("store"))
        assert (found.ok, found.unnamed_files) == (True, 0)
        assert fpve.open(s3.url("store")).status().images == 3
        assert fpve.prune(s3.url("store"), keep=1, grace=_NOW, dry_run=True).files == 0
    copy = tmp_path / "copy"
    for name in set(s3.keys()):
        path = copy / name.removeprefix("store/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get(name))
    assert fpve.verify(copy).unnamed_files == 2
    assert fpve.prune(copy, keep=1, grace=_NOW).files == 2
    assert fpve.verify(copy).unnamed_files == 0
    s3.remove("store/snapshots/.0123456789abcdef.deleting.tmp")
    _draw(here, 3)
    assert fpve.run(here).published


def test_a_claim_whose_answer_is_lost_is_there(here: Job, s3: S3) -> None:
    """It is looked at, and removed in the end like any other; where that fails, what was done is done."""
    lost: list[Asked] = []

    def lose(asked: Asked) -> int | None:
        if asked.method != "PUT" or "/snapshots/." not in asked.key or lost:
            return None
        lost.append(asked)
        return 503

    s3.after = lose
    _draw(here, 3)
    assert fpve.run(here).published
    assert len(lost) == 1
    _check(s3, here, images=4)
    s3.after, s3.before = None, lambda asked: 403 if asked.method == "DELETE" and "/snapshots/." in asked.key else None
    _draw(here, 4)
    assert fpve.run(here).published
    assert [name.rsplit(".", 2)[1] for name in _claims(s3)] == ["publishing"]


def test_a_manifest_that_may_yet_arrive_keeps_its_claim(here: Job, there: Job, s3: S3) -> None:
    """Nobody knows what becomes of a put without an answer, so nothing is deleted that it names."""
    _draw(here, 4)
    s3.before = lambda asked: 503 if asked.method == "PUT" and "/snapshots/0" in asked.key else None
    with pytest.raises(BucketError, match="object store can't be asked, or refuses"):
        fpve.run(here)
    s3.before = None
    (claim,) = _claims(s3)
    with pytest.raises(StoreLocked, match=r"job '.*' \(process .* is publishing a snapshot; nothing was deleted"):
        _prune(there)
    # Other writers need not wait.
    assert fpve.run(there).published
    _ages(s3, claim, timedelta(minutes=16))
    _prune(there)
    _check(s3, there, images=5)


def test_a_prune_that_fails_keeps_its_claim(here: Job, there: Job, s3: S3) -> None:
    """What it asked for may yet be done."""
    s3.before = lambda asked: 503 if _deletes_a_file(asked) else None
    _shrink(here, 0)
    with pytest.raises(BucketError, match="object store can't be asked, or refuses"):
        _prune(here)
    s3.before = None
    assert [name.rsplit(".", 2)[1] for name in _claims(s3)] == ["deleting"]
    _prune(there)


def test_a_prune_that_is_interrupted_keeps_its_claim(here: Job, s3: S3) -> None:
    """What is on its way to the bucket is not waited for; after a refusal nothing is on its way."""
    with pytest.raises(KeyboardInterrupt), deleting(here.store):
        raise KeyboardInterrupt
    (claim,) = _claims(s3)
    assert claim.endswith(".deleting.tmp")
    s3.remove(claim)
    with pytest.raises(StoreCorrupt), deleting(here.store):
        raise StoreCorrupt("damaged")
    assert _claims(s3) == []


def test_a_listing_that_lacks_claims_is_not_believed(here: Job, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is behind for a moment it is asked for again; else nothing is published, and nothing deleted."""
    real = Bucket.objects
    behind = [3]

    def objects(bucket: Bucket, folder: str = "") -> Iterator[Object]:
        behind[0] -= folder == "snapshots" and bool(_claims(s3))
        return (one for one in real(bucket, folder) if behind[0] < 0 or not one.name.endswith(".tmp"))

    monkeypatch.setattr(Bucket, "objects", objects)
    _draw(here, 3)
    assert fpve.run(here).published
    for ask in (lambda: fpve.rollback(here.store, 1), lambda: _prune(here)):
        behind[0] = 1_000
        with pytest.raises(BucketError, match="expected a listing to have what was put before it") as error:
            ask()
        assert "\n" not in str(error.value)
    assert manifests.numbers(here.store) == [1, 2]
    _check(s3, here, images=4)


@pytest.mark.parametrize("name", ["rollback", "prune"])
def test_who_was_held_up_stops(here: Job, there: Job, s3: S3, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A machine that slept, or whose requests took that long, may have been taken for dead."""
    ago = [0.0]
    monkeypatch.setattr("fpve.store.claims._now", lambda: (time.time() + ago[0], time.monotonic()))

    def sleep() -> None:
        ago[0] = 300.0

    before = manifests.numbers(there.store)
    # The last before the manifest is put, and the first file after the manifests that are deleted.
    s3.before = _once(
        lambda asked: asked.method == ("HEAD" if name == "rollback" else "DELETE") and bool(_claims(s3)), sleep
    )
    with pytest.raises(StoreLocked, match=r": this process was held up for 300 s, in which others .* run again$"):
        fpve.rollback(there.store, 1) if name == "rollback" else _prune(there)
    s3.before = None
    assert manifests.numbers(here.store) == (before if name == "rollback" else [2])
    assert fpve.verify(here.store).ok
    _check(s3, here, images=4)


def test_a_repair_that_was_held_up_while_it_copied_deletes_nothing(
    here: Job, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is copied before it is deleted, and meanwhile others may have taken the claim for a dead one's."""
    (page,) = manifests.load(here.store).collections[0].pages
    s3.put(f"store/{page.file.path}", b"damaged")
    ago = [0.0]
    monkeypatch.setattr("fpve.store.claims._now", lambda: (time.time() + ago[0], time.monotonic()))

    def sleep() -> None:
        ago[0] = 1_000.0

    s3.before = _once(lambda asked: asked.method == "PUT" and "/state/damaged/images" in asked.key, sleep)
    with pytest.raises(StoreLocked, match=r": this process was held up for 1,000 s, in which others .* run again$"):
        fpve.repair(here.store)
    assert s3.get(f"store/{page.file.path}") == b"damaged"


def test_a_claim_is_put_anew_by_who_takes_long(here: Job, there: Job, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it does not expire."""
    monkeypatch.setattr("fpve.store.claims._RENEWED", 0.0)
    s3.counts()
    _prune(here)
    puts = [one.key for one in s3.asked if one.method == "PUT"]
    deletes = [one.key for one in s3.asked if one.method == "DELETE"]
    assert len(set(puts)) == 1
    assert len(puts) >= len(deletes) > 1
    _check(s3, here)


@pytest.mark.parametrize("hours", [-2, 2])
def test_prune_goes_by_the_clock_of_the_bucket(
    here: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Which may be hours behind this machine's, or ahead: what is young there stays, what is old there goes."""
    now = moto.s3.models.utcnow
    monkeypatch.setattr(moto.s3.models, "utcnow", lambda: now() + timedelta(hours=hours))
    _draw(here, 3)
    s3.before = lambda asked: 503 if asked.method == "PUT" and asked.key.startswith("store/snapshots/") else None
    with pytest.raises(BucketError):
        fpve.run(here)
    s3.before = None
    for claim in _claims(s3):
        s3.remove(claim)
    other = job_on(tmp_path / "there", s3.url("store"), here.collections[0].source)
    before = set(s3.keys())
    assert fpve.prune(other.store, keep=1, grace=_HOUR).files == 0
    assert set(s3.keys()) == before
    assert fpve.prune(other.store, keep=1, grace=_NOW).files > 0
    # What the next run needs is not too old yet for that.
    assert fpve.run(other).encoded == 0
    _check(s3, here, images=4)


def test_a_snapshot_is_out_of_use_since_its_successor_was_put(
    here: Job, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever time it was on the machine that put that: readers elsewhere have an hour to move on."""

    class Behind(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) - 3 * _HOUR

    monkeypatch.setattr("fpve.pipeline.commit.datetime", Behind)
    _draw(here, 3)
    fpve.run(here)
    assert fpve.prune(here.store, keep=1, grace=_HOUR).kept == (1, 2)
    for number in (1, 2):
        _ages(s3, _manifest(number), 2 * _HOUR)
    assert fpve.prune(here.store, keep=1, grace=_HOUR).kept == (2,)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_comes_in_between_the_newest_snapshot_is_whole(
    here: Job, there: Job, s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int
) -> None:
    """Two machines that publish, and two that delete, each at times of chance."""
    monkeypatch.setattr("fpve.store.claims._PATIENCE", {"publishing": 60.0, "deleting": 0.2})
    rng = random.Random(seed)
    pauses = [rng.random() ** 8 * 0.05 for _ in range(1_000)]
    s3.before = lambda _: time.sleep(pauses[rng.randrange(len(pauses))])
    cars = job_on(tmp_path / "cars", s3.url("store"), few_pictures(tmp_path / "sources", first=50, count=2))
    cars = replace(cars, name="cars", collections=(replace(cars.collections[0], name="cars"),))
    fpve.run(cars)
    tidy = [job_on(tmp_path / f"tidy{number}", s3.url("store"), tmp_path) for number in range(2)]

    def publish(job: Job, first: int) -> None:
        for night in range(4):
            (_draw if night % 2 else _remove)(job, first)
            with suppress(StoreLocked, StoreNotFound, StoreCorrupt):
                if night % 3 == 2:
                    fpve.rollback(job.store)
                fpve.run(job, allow_removals=True)

    def delete(job: Job) -> None:
        for night in range(6):
            with suppress(StoreLocked):
                fpve.prune(job.store, keep=1 + night % 3, grace=_NOW)

    with ThreadPoolExecutor(4) as pool:
        done = [
            pool.submit(publish, there, 3),
            pool.submit(publish, cars, 50),
            *(pool.submit(delete, one) for one in tidy),
        ]
        while not all(one.done() for one in done):
            time.sleep(0.05)
    for one in done:
        one.result()
    s3.before = None
    _check(s3, here)
    assert fpve.verify(here.store).ok


def test_a_store_in_the_memory_of_a_process_has_claims(tmp_path: Path) -> None:
    """As in any other object store."""
    url = f"memory://{tmp_path.name}/store"
    job = job_on(tmp_path / "here", url, few_pictures(tmp_path / "pets"))
    fpve.run(job)
    _draw(job, 3)
    fpve.run(job)
    claim = "snapshots/.0123456789abcdef.publishing.tmp"
    Bucket(url).write(claim, _OWNER)
    with pytest.raises(StoreLocked, match="job 'dogs'"):
        _prune(job)
    Bucket(url).remove([claim])
    assert fpve.prune(job.store, keep=1, grace=_NOW).kept == (2,)
    assert [one.name for one in Bucket(url).objects("snapshots")] == [manifests.name_of(2)]
    assert fpve.verify(job.store).ok
    Bucket(url).remove([one.name for one in Bucket(url).objects()])
