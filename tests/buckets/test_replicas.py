"""What machines have of a store in a bucket: bounded, healed, shared, and no more believed than it should be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from buckets.machines import few_pictures, job_on, machine, run_in_child
from s3 import S3, environment
from samples import draw
from torture.children import server

import fpve
from fpve.buckets import Bucket, Object
from fpve.config import FusionConfig, Job
from fpve.engines import shards
from fpve.errors import BucketError, SnapshotPruned, StoreCorrupt
from fpve.maintenance.fresh import afresh
from fpve.replica import begin_replica, replica_of
from fpve.store import manifest as manifests
from fpve.store import means, pages
from fpve.store.claims import is_claim
from fpve.store.snapshot import Snapshot

Found = list[tuple[str, float]]


@pytest.fixture
def job(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job over six pictures that makes three segments and three pages."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    monkeypatch.setattr(pages, "PAGE_ROWS", 2)
    return job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets", count=6))


def _change(job: Job, seed: int) -> None:
    draw(job.collections[0].source / f"{seed}.png", seed)


def _hits(store: fpve.Store, number: int = 3) -> Found:
    return [(hit.image_id, hit.score) for hit in store.search(text=f"number {number}", k=5)]


Says = Callable[[Callable[[list[Object]], list[Object]]], None]


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Says:
    """Changes what every listing says from then on, but for claims, which it must have."""
    real = Bucket.objects

    def says(changed: Callable[[list[Object]], list[Object]]) -> None:
        def objects(bucket: Bucket, folder: str = "") -> Iterator[Object]:
            found = list(real(bucket, folder))
            claims = [one for one in found if is_claim(one.name)]
            yield from (*claims, *changed([one for one in found if one not in claims]))

        monkeypatch.setattr(Bucket, "objects", objects)

    return says


def test_a_listing_that_lacks_the_newest_snapshots_hides_none(job: Job, s3: S3, tmp_path: Path, listing: Says) -> None:
    """Readers open the newest, and writers publish the one after it, on machines that have never seen it."""
    for seed in (10, 11):
        fpve.run(job)
        _change(job, seed)
    fpve.run(job)
    late = {manifests.name_of(number) for number in (2, 3, 4)}
    listing(lambda found: [one for one in found if one.name not in late])
    with machine(tmp_path / "reader"):
        assert fpve.open(s3.url("store")).snapshot == 3
    _change(job, 12)
    other = job_on(tmp_path / "writer", s3.url("store"), job.collections[0].source)
    assert (fpve.run(other).snapshot, fpve.run(job).published) == (4, False)
    assert len(Snapshot.open(job.store).images) == 9


def test_an_empty_listing_makes_nobody_begin_a_store_anew(job: Job, listing: Says) -> None:
    """Where a store is known, be it without its first snapshots, it goes on."""
    fpve.run(job)
    _change(job, 10)
    fpve.run(job)
    fpve.prune(job.store, keep=1, grace=timedelta(0))
    listing(lambda _: [])
    assert fpve.open(job.store).snapshot == 2
    _change(job, 11)
    report = fpve.run(job)
    assert (report.snapshot, report.encoded) == (3, 1)


def test_a_listing_that_names_what_is_gone_misleads_nobody(job: Job, tmp_path: Path, s3: S3, listing: Says) -> None:
    """Snapshots, shards and files that were deleted are passed over, whether this machine had them or not."""
    fpve.run(job)
    gone: list[Object] = []
    for folder in ("snapshots", "vectors", "images"):
        gone += Bucket(s3.url("store")).objects(folder)
    gone += [Object(f"pending/{'a' * 16}/{name}", 100, 1, "x") for name in ("rows.parquet", "shard.json")]
    (job.collections[0].source / "00.png").unlink()
    fpve.run(job)
    fpve.compact(job.store)
    fpve.prune(job.store, keep=1, grace=timedelta(0))
    left = {name.removeprefix("store/") for name in set(s3.keys())}
    gone = [one for one in gone if one.name not in left]
    assert {one.name.partition("/")[0] for one in gone} == {"snapshots", "vectors", "images", "pending"}

    def stale(found: list[Object]) -> list[Object]:
        folder = found[0].name.partition("/")[0] if found else "pending"
        return sorted([*found, *(one for one in gone if one.name.startswith(folder))], key=lambda one: one.name)

    listing(stale)
    for each in (job, job_on(tmp_path / "other", s3.url("store"), job.collections[0].source)):
        assert len(_hits(fpve.open(each.store))) == 5
        _change(each, 20 + len(set(s3.keys())))
        assert fpve.run(each).encoded == 1
    fpve.prune(job.store, keep=1, grace=timedelta(0))
    assert fpve.verify(job.store).problems == ()


def _bytes_here(job: Job) -> int:
    folders = ("vectors", "images", "tables", "heads", "pending")
    files = (path for folder in folders for path in (job.store / folder).rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())


def test_a_replica_keeps_within_its_bound(job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not asked for the longest goes; answers stay the same, also of a reader that is open all the while."""
    fpve.run(job)
    expected = [_hits(fpve.open(job.store), number) for number in range(6)]
    whole = _bytes_here(job)
    monkeypatch.setenv("FPVE_CACHE_SIZE", f"{whole // 2}")
    monkeypatch.setattr("fpve.room._IN_USE_NS", 0)
    small = job_on(tmp_path / "small", s3.url("store"), job.collections[0].source)
    long_open = fpve.open(small.store)
    assert _hits(long_open, 0) == expected[0]
    sizes = []
    for number in range(2):
        with fpve.open(small.store) as store:
            assert _hits(long_open, number) == expected[number]
            assert _hits(store, number)[0] == expected[number][0]
            assert len(store.sql("select vector from vectors")) == 6 + number
            assert store.thumbnail("pets/00.png")
        _change(small, 30 + number)
        assert fpve.run(small).encoded == 1
        sizes.append(_bytes_here(small))
    assert whole > 1.5 * max(sizes)
    assert _hits(long_open, 5) == expected[5]


def test_processes_share_a_replica(job: Job, s3: S3) -> None:
    """One writes while another reads: what it put is here for the other, who fetches nothing again."""
    fpve.run(job)
    store = fpve.open(job.store)
    before = _hits(store)
    _change(job, 10)
    s3.counts()
    child = server().Process(target=run_in_child, args=(job, environment(s3)))
    child.start()
    while child.is_alive():
        assert _hits(store) == before
        child.join(0.05)
    assert child.exitcode == 0
    child.close()
    s3.counts()
    assert store.refresh()
    assert len(store.search(text="number 3", k=10)) == 7
    fetched = [one.key for one in s3.asked if one.method == "GET" and one.key.endswith((".faiss", ".arrow"))]
    assert fetched == []


def test_what_a_killed_verify_left_is_deleted_by_the_next(job: Job, s3: S3) -> None:
    """A verify has all of a store fetched; one beside it keeps what it has."""
    fpve.run(job)
    stores = job.store.parent
    with afresh(job.store) as beside:
        (stores / "fresh-0123.lock").touch()
        begin_replica(stores / "fresh-0123", s3.url("store"))
        assert fpve.verify(job.store).ok
        assert {one.name for one in stores.iterdir()} == {job.store.name, beside.name, f"{beside.name}.lock"}
    assert list(stores.iterdir()) == [job.store]


def test_what_is_evicted_as_it_is_asked_for_is_fetched_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look at it and the note that it is wanted."""
    fpve.run(job)
    (name, *_) = manifests.load(job.store).segments[0].derived_files
    replica, content = replica_of(job.store), (job.store / name).read_bytes()
    assert replica is not None

    def evicted(path: Path, *, ns: tuple[int, int]) -> None:
        monkeypatch.undo()
        path.unlink()
        os.utime(path, ns=ns)

    monkeypatch.setattr(os, "utime", evicted)
    assert replica.bring(name).read_bytes() == content


def test_a_cache_without_read_only_files_is_refused(
    job: Job, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There nothing would tell what is yet to be put from what may be evicted, or is out of date."""
    fpve.run(job)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    with machine(tmp_path / "fat"), pytest.raises(BucketError, match="expected a file system that has read-only files"):
        fpve.open(s3.url("store"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    _replace(path, bytes(data))


def _replace(path: Path, data: bytes) -> None:
    """Change a file as nobody of fpve would: what can't be written to."""
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444)


def test_what_is_damaged_on_a_machine_is_fetched_again_where_it_is_compared(job: Job) -> None:
    """Pages, rows and tables are compared with their checksums by whoever writes, and the bucket's are whole."""
    fpve.run(job)
    for folder in ("images", "tables", "vectors"):
        for path in (job.store / folder).rglob("*.parquet"):
            _flip(path)
    _change(job, 10)
    assert fpve.run(job).encoded == 1
    assert fpve.compact(job.store).published
    assert len(fpve.open(job.store).search(text="number 3", k=10)) == 7


def test_an_index_that_is_damaged_on_a_machine_is_repaired(job: Job, s3: S3) -> None:
    """Answers come from rows meanwhile; `repair` finds nothing wrong in the bucket, and has all of it fetched again."""
    fpve.run(job)
    expected = _hits(fpve.open(job.store))
    indexes = list((job.store / "vectors").rglob("*.faiss"))
    for path in indexes:
        _replace(path, path.read_bytes()[:40])
    assert _hits(fpve.open(job.store)) == expected
    assert fpve.verify(job.store).ok
    done = fpve.repair(job.store)
    assert (done.rebuilt, done.taken_out, done.lost, done.published) == ((), (), (), False)
    assert _hits(fpve.open(job.store)) == expected
    assert [path.read_bytes() for path in indexes] == [
        s3.get(f"store/{path.relative_to(job.store).as_posix()}") for path in indexes
    ]


@pytest.mark.parametrize(("name", "published"), [("means", False), ("thumbnails", True)])
def test_a_table_that_is_made_again_to_the_bit_is_put(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch, name: str, published: bool
) -> None:
    """It has the name of the damaged one, which the snapshot before it has, too."""
    monkeypatch.setattr(means, "MIN_BLOCKS", 2)
    job = job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets"))
    fpve.run(replace(job, fusion=FusionConfig(centre=True)))
    (table,) = manifests.load(job.store).tables_named(name)
    whole = s3.get(f"store/{table.file.path}")
    s3.put(f"store/{table.file.path}", whole[:-40] + bytes([whole[-40] ^ 4]) + whole[-39:])
    done = fpve.repair(job.store)
    assert (done.published, len(done.rebuilt), done.taken_out) == (published, 1, ())
    assert s3.get(f"store/{table.file.path}") == whole
    assert fpve.verify(job.store).ok


def test_damage_in_the_bucket_is_found_and_repaired(job: Job, s3: S3) -> None:
    """Whatever this machine has of it: an index is made again, a page is read again from its sources."""
    fpve.run(job)
    expected = _hits(fpve.open(job.store))
    manifest = manifests.load(job.store)
    index, page = manifest.segments[0].derived_files[0], manifest.collections[0].pages[0].file.path
    for name in (index, page):
        data = bytearray(s3.get(f"store/{name}"))
        data[len(data) // 2] ^= 4
        s3.put(f"store/{name}", bytes(data))
    assert {one.file for one in fpve.verify(job.store).problems} == {index, page}
    done = fpve.repair(job.store)
    assert (done.published, len(done.rebuilt), len(done.taken_out)) == (True, 1, 1)
    assert fpve.run(job).encoded == 0
    assert fpve.verify(job.store).ok
    assert _hits(fpve.open(job.store)) == expected


def test_a_damaged_newest_manifest_gives_way(job: Job, s3: S3, tmp_path: Path) -> None:
    """It is an error that names the way back, until another machine repairs it; what people said is not lost."""
    fpve.run(job)
    _change(job, 10)
    fpve.run(job)
    (tmp_path / "labels.csv").write_text("image_id,quality\npets/00.png,good\n", encoding="utf-8")
    fpve.label(job.store, tmp_path / "labels.csv")
    s3.put(f"store/{manifests.name_of(3)}", b"{}")
    s3.remove(f"store/{manifests.name_of(2)}")
    other = job_on(tmp_path / "other", s3.url("store"), job.collections[0].source)
    for each in (job, other):
        with pytest.raises(StoreCorrupt, match="fpve rollback"):
            fpve.open(each.store)
    assert fpve.repair(other.store).snapshot == 4
    for each in (job, other):
        assert len(fpve.open(each.store).images) == 6
    assert fpve.run(job).snapshot == 5
    assert len(fpve.open(other.store).images) == 7
    assert fpve.open(other.store).sql("select quality from images where quality is not null").to_pylist() == [
        {"quality": "good"}
    ]


def test_a_reader_of_a_snapshot_that_another_machine_has_pruned_moves_on(job: Job, s3: S3, tmp_path: Path) -> None:
    """What it has goes on working; what it lacks is said to be pruned; the newest is there."""
    fpve.run(job)
    with machine(tmp_path / "reader"):
        store = fpve.open(s3.url("store"))
        found = _hits(store)
        fpve.compact(job.store)
        fpve.prune(job.store, keep=1, grace=timedelta(0))
        assert _hits(store) == found
        with pytest.raises(SnapshotPruned, match="no snapshot 1; it has been pruned") as error:
            store.thumbnail("pets/00.png")
        assert "\n" not in str(error.value)
        assert store.refresh()
        assert store.thumbnail("pets/00.png")
        assert _hits(store) == found


def test_a_store_that_is_made_anew_at_its_url_is_the_new_one(job: Job, s3: S3, tmp_path: Path) -> None:
    """A machine that knew the old one, of which it has files, reads and writes the new one."""
    fpve.run(job)
    assert _hits(fpve.open(job.store))
    for name in set(s3.keys()):
        s3.remove(name)
    other = job_on(tmp_path / "other", s3.url("store"), few_pictures(tmp_path / "others", first=20, count=2))
    fpve.run(other)
    assert fpve.open(job.store).images["image_id"].to_pylist() == ["pets/20.png", "pets/21.png"]
    assert len(_hits(fpve.open(job.store))) == 2


def test_what_is_saved_is_the_same_on_every_machine(job: Job, s3: S3, tmp_path: Path) -> None:
    """Also where it is replaced within a second, by as many bytes."""
    fpve.run(job)
    mine = fpve.open(job.store)
    with machine(tmp_path / "other"):
        theirs = fpve.open(s3.url("store"))
    for number in range(4):
        one, other = (mine, theirs) if number % 2 else (theirs, mine)
        one.save("kept", one.sql(f"select {number} as n"))
        assert other.sql("select n from saved.kept").to_pylist() == [{"n": number}]
    theirs.remove_saved("kept")
    assert len(mine.saved()) == 0
