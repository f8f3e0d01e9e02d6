"""Pruning: old snapshots go with what only they need; nothing that anybody may still want does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from samples import draw

import fpve
from fpve.config import Job
from fpve.errors import StoreCorrupt, StoreLocked, StoreNotFound
from fpve.maintenance import prune as prune_module
from fpve.store import manifest as manifests
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest

NOW = timedelta(0)
Contents = Callable[[Path], dict[str, object]]
Tree = Callable[[Path], dict[str, bytes]]


def test_only_what_kept_snapshots_need_is_left(store: Path, contents: Contents) -> None:
    """One snapshot is kept, and afterwards there is no file that it does not name."""
    before = contents(store)
    fpve.compact(store)
    done = fpve.prune(store, keep=1, grace=NOW)
    assert (done.removed, done.kept, done.held) == ((1, 2, 3), (4,), ())
    found = fpve.verify(store)
    assert (found.ok, found.snapshots, found.unnamed_files) == (True, (4,), 0)
    assert contents(store) == before
    named = {store / file.path for file in manifests.load(store).files}
    assert {path for part in ("images", "tables") for path in (store / part).rglob("*.parquet")} <= named
    kept = [path for path in named if path.is_relative_to(store / "images")]
    assert set(store.glob("images/*/*.arrow")) == {path.with_suffix(".arrow") for path in kept}
    assert set(store.glob("images/*/*.sha256")) == {path.with_suffix(".arrow.sha256") for path in kept}
    assert len(list((store / "vectors").iterdir())) == 1


def test_a_dry_run_deletes_nothing(store: Path, tree: Tree) -> None:
    """It says what would be deleted, and how much that is; a snapshot that is open counts as it will."""
    for name in ("vectors", "pending"):
        # A shard that was published, and whose killed run could not remove it: both names go at once.
        (store / name / "0123456789abcdef").mkdir(parents=True)
    shard = store / "pending/0123456789abcdef/rows.parquet"
    shard.write_bytes(b"x" * 1000)
    (store / "vectors/0123456789abcdef/rows.parquet").hardlink_to(shard)
    _age(shard.parent, days=30)
    reader = fpve.open(store, at=1)
    before = tree(store)
    expected = fpve.prune(store, keep=1, grace=NOW, dry_run=True)
    assert tree(store) == before
    done = fpve.prune(store, keep=1, grace=NOW)
    assert (expected.removed, expected.held, expected.kept) == ((2,), (1,), (1, 3))
    assert done == replace(expected, dry_run=False)
    assert not shard.exists()
    gone = before.keys() - tree(store).keys()
    assert len(gone) == done.files + len(done.removed)
    two_names = {str(shard.relative_to(store)), "vectors/0123456789abcdef/rows.parquet"}
    rest = (len(before[name]) for name in gone - two_names if not name.startswith("snapshots"))
    assert done.bytes == 1000 + sum(rest)
    reader.close()
    expected = fpve.prune(store, keep=1, grace=NOW, dry_run=True)
    assert expected.removed == (1,)
    assert fpve.prune(store, keep=1, grace=NOW) == replace(expected, dry_run=False)


def test_a_dry_run_waits_for_nobody(store: Path, tree: Tree) -> None:
    """It works during a run, and takes no lock itself: nothing in the store tells of it."""
    (store / "state/lock").unlink(missing_ok=True)
    before = tree(store)
    assert fpve.prune(store, keep=1, grace=NOW, dry_run=True).removed == (1, 2)
    assert tree(store) == before
    with writer_lock(store, "another"):
        assert fpve.prune(store, keep=1, grace=NOW, dry_run=True).removed == (1, 2)
        with pytest.raises(StoreLocked, match="'another'"):
            fpve.prune(store, keep=1, grace=NOW)


def test_what_was_in_use_lately_stays(store: Path) -> None:
    """Within the grace period neither a snapshot that has just been superseded nor its files are deleted."""
    done = fpve.prune(store, keep=1)
    assert (done.removed, done.kept, done.files) == ((), (1, 2, 3), 0)


def test_age_and_number_keep_what_either_keeps(store: Path) -> None:
    """`newer_than` keeps all that were published since; `keep` keeps the newest whatever their age."""
    assert fpve.prune(store, newer_than=timedelta(days=1), grace=NOW).removed == ()
    assert fpve.prune(store, keep=2, newer_than=NOW, grace=NOW).removed == (1,)
    assert fpve.prune(store, newer_than=NOW, grace=NOW).kept == (3,)


def test_a_clock_that_was_ahead_keeps_nothing_for_ever(store: Path) -> None:
    """A snapshot is at least as old as those after it, and superseded since then: 2099 is over in the next night."""
    now = datetime.now(UTC)
    dates = {1: now - timedelta(days=90), 2: datetime(2099, 1, 1, tzinfo=UTC), 3: now - timedelta(days=60)}
    for number, date in dates.items():
        _date(store, number, date)
    assert fpve.prune(store, newer_than=timedelta(days=61), dry_run=True).removed == (1,)
    assert fpve.prune(store, newer_than=timedelta(days=30)).removed == (1, 2)


def test_a_clock_that_was_behind_deletes_nothing(store: Path) -> None:
    """A snapshot of 1970, of a machine without a battery, is no older than the one before it."""
    _date(store, 2, datetime(1970, 1, 1, tzinfo=UTC))
    assert fpve.prune(store, newer_than=timedelta(days=1), grace=NOW).removed == ()


def test_a_clock_that_is_ahead_deletes_nothing(store: Path) -> None:
    """As long as the newest snapshot is of the future, the one before it has just been superseded."""
    _date(store, 3, datetime(2099, 1, 1, tzinfo=UTC))
    assert fpve.prune(store, keep=1).removed == ()


def test_a_reader_keeps_its_snapshot(store: Path, pictures: Path, job: Job) -> None:
    """A store that was opened, and not read yet, can be read whole after a prune; when it is closed, it is pruned."""
    reader = fpve.open(store, at=1)
    done = fpve.prune(store, keep=1, grace=NOW)
    assert (done.removed, done.held) == ((2,), (1,))
    assert reader.images.num_rows == 12
    assert len(reader.search(id="pets/dog/01.png", k=12)) == 11
    assert len(reader.thumbnails(["pets/dog/01.png"])) == 1
    assert reader.sql("SELECT count(*) AS n FROM vectors")["n"].to_pylist() == [12]
    del reader
    assert fpve.prune(store, keep=1, grace=NOW).removed == (1,)


def test_a_reader_that_refreshes_lets_go(store: Path) -> None:
    """After `refresh` the old snapshot is nobody's."""
    reader = fpve.open(store, at=2)
    assert reader.refresh()
    assert fpve.prune(store, keep=1, grace=NOW).removed == (1, 2)


def test_leftovers_are_deleted_when_they_are_old(store: Path) -> None:
    """Temporary files and pages of killed runs, and finished shards that a week has not taken up."""
    leftovers = [
        store / "images/pets/.0123456789abcdef.parquet.tmp",
        store / "snapshots/.0123456789abcdef.tmp",
        store / "images/gone/0123456789abcdef.parquet",
        store / "pending/0123456789abcdef/rows.parquet",
    ]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert fpve.prune(store, keep=3).files == 0
    for path in leftovers:
        _age(path, hours=2)
    assert fpve.prune(store, keep=3).files == 3
    assert [path.exists() for path in leftovers] == [False, False, False, True]
    assert not (store / "images/gone").exists()
    _age(leftovers[3].parent, days=30)
    assert fpve.prune(store, keep=3).files == 1
    assert not leftovers[3].parent.exists()


def test_files_that_vanish_meanwhile_are_no_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files of others come and go between listing, looking and deleting."""
    folder = store / "images/pets"
    vanishing = [folder / f".{number:016x}.parquet.tmp" for number in range(2)]
    for path in vanishing:
        path.write_bytes(b"x")
    listed = prune_module.unnamed_files

    def gone_before_the_look(root: Path, rest: list[Manifest]) -> list[Path]:
        found = list(listed(root, rest))
        vanishing[0].unlink()
        return found

    def gone_before_the_end(turn: object, files: dict[Path, object]) -> tuple[int, int]:
        assert vanishing[1] in files
        vanishing[1].unlink()
        return delete(turn, files)

    delete = prune_module._delete
    monkeypatch.setattr(prune_module, "unnamed_files", gone_before_the_look)
    monkeypatch.setattr(prune_module, "_delete", gone_before_the_end)
    assert fpve.prune(store, keep=1, grace=NOW).kept == (3,)
    assert fpve.verify(store).ok


def test_a_report_that_is_being_written_is_left_alone(store: Path) -> None:
    """Those of reports and saved rows are written without the lock: whatever the grace period, young ones stay."""
    young = [store / f"{folder}/.0123456789abcdef.json.tmp" for folder in ("saved", "runs", "state", "state/scan")]
    old = [path.with_name(".fedcba9876543210.json.tmp") for path in young]
    (store / "saved").mkdir()
    for path in (*young, *old):
        path.write_bytes(b"x")
    for path in old:
        _age(path, hours=2)
    assert fpve.prune(store, keep=3, grace=NOW).files == 4
    assert [path.exists() for path in (*young, *old)] == [True] * 4 + [False] * 4


def test_what_was_set_aside_is_deleted(store: Path) -> None:
    """Damaged files that repair took out go when the grace period is over."""
    (store / manifests.load(store).collections[0].pages[0].file.path).write_bytes(b"x")
    fpve.repair(store)
    aside = list((store / "state/damaged").iterdir())
    assert aside
    fpve.prune(store, keep=9)
    assert all(path.exists() for path in aside)
    fpve.prune(store, keep=9, grace=NOW)
    assert not any(path.exists() for path in aside)


def test_what_is_not_known_is_not_deleted(store: Path) -> None:
    """With a damaged manifest nobody knows what it needs: repair comes first."""
    manifests.path_of(store, 2).write_text("{}")
    with pytest.raises(StoreCorrupt, match=r"snapshot 2 is damaged, .* `fpve repair"):
        fpve.prune(store, keep=1, grace=NOW)
    fpve.repair(store)
    assert fpve.prune(store, keep=1, grace=NOW).kept == (3,)


def test_what_to_keep_must_be_said(store: Path) -> None:
    """Without a word on what to keep, with a wrong one, or without a store, nothing is done."""
    with pytest.raises(ValueError, match="expected keep or newer_than"):
        fpve.prune(store)
    with pytest.raises(ValueError, match="at least 1"):
        fpve.prune(store, keep=0)
    with pytest.raises(StoreNotFound):
        fpve.prune(store / "elsewhere", keep=1)


def test_pruning_does_not_hurt_the_next_run(store: Path, job: Job, pictures: Path) -> None:
    """After compacting and pruning a run encodes what is new and nothing else."""
    fpve.compact(store)
    fpve.prune(store, keep=1, grace=NOW)
    draw(pictures / "cat/more.png", 500)
    report = fpve.run(job)
    assert (report.encoded, report.snapshot) == (1, 5)


def test_other_peoples_files_are_left_alone(store: Path, job: Job, tmp_path: Path) -> None:
    """What is not called as a store's files are where it lies is no leftover, however old; nor what a link names."""
    names = [
        "images/pets/photo.jpg",
        "images/train-0000.parquet",
        "images/scan/NOTES.txt",
        "tables/notes.json",
        "state/damaged/README",
        "pending/mine/holiday.jpg",
        "pending/mine/shard.json",
        "pending/.mine.tmp/holiday.jpg",
        "pending/0123456789abcdef/holiday.jpg",
    ]
    elsewhere = tmp_path / "elsewhere/0123456789abcdef"
    foreign = [*(store / name for name in names), elsewhere / "rows.parquet"]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        _age(path, days=999)
        _age(path.parent, days=999)
    (store / "pending/link").symlink_to(elsewhere.parent)
    (store / "pending/fedcba9876543210").symlink_to(elsewhere)
    fpve.prune(store, keep=1, grace=NOW)
    fpve.run(job)
    assert [path for path in foreign if not path.exists()] == []
    assert fpve.verify(store).unnamed_files == 0


def _age(path: Path, **ago: float) -> None:
    """Let a file or folder be old."""
    then = time.time() - timedelta(**ago).total_seconds()
    os.utime(path, (then, then))


def _date(store: Path, number: int, date: datetime) -> None:
    """Let a snapshot be of another time."""
    manifest = replace(manifests.load(store, number), created_at=date.isoformat(timespec="seconds"))
    manifests.path_of(store, number).write_bytes(manifests.dumps(manifest))
