"""Pruning: old snapshots go with what only they need; nothing that anybody may still want does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from samples import draw

import fpve
from fpve.config import Job
from fpve.errors import StoreCorrupt, StoreNotFound
from fpve.store import manifest as manifests

NOW = timedelta(0)
Contents = Callable[[Path], dict[str, object]]


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
    assert len(list((store / "vectors").iterdir())) == 1


def test_a_dry_run_deletes_nothing(store: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """It says what would be deleted, and how much that is."""
    before = tree(store)
    expected = fpve.prune(store, keep=1, grace=NOW, dry_run=True)
    assert tree(store).keys() >= before.keys()
    done = fpve.prune(store, keep=1, grace=NOW)
    assert (done.removed, done.kept, done.files, done.bytes) == (
        expected.removed,
        expected.kept,
        expected.files,
        expected.bytes,
    )
    assert done.files > 0


def test_what_was_in_use_lately_stays(store: Path) -> None:
    """Within the grace period neither a snapshot that has just been superseded nor its files are deleted."""
    done = fpve.prune(store, keep=1)
    assert (done.removed, done.kept, done.files) == ((), (1, 2, 3), 0)


def test_age_and_number_keep_what_either_keeps(store: Path) -> None:
    """`newer_than` keeps all that were published since; `keep` keeps the newest whatever their age."""
    assert fpve.prune(store, newer_than=timedelta(days=1), grace=NOW).removed == ()
    assert fpve.prune(store, keep=2, newer_than=NOW, grace=NOW).removed == (1,)
    assert fpve.prune(store, newer_than=NOW, grace=NOW).kept == (3,)


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
    hours = time.time() - 2 * 3600
    for path in leftovers:
        os.utime(path, (hours, hours))
    assert fpve.prune(store, keep=3).files == 3
    assert [path.exists() for path in leftovers] == [False, False, False, True]
    assert not (store / "images/gone").exists()
    month = time.time() - 30 * 24 * 3600
    os.utime(leftovers[3].parent, (month, month))
    assert fpve.prune(store, keep=3).files == 1
    assert not leftovers[3].parent.exists()


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


def test_other_peoples_files_are_left_alone(store: Path) -> None:
    """What is not called as a store's files are is no leftover, wherever it lies and however old it is."""
    foreign = [store / "images/pets/photo.jpg", store / "images/train-0000.parquet", store / "tables/notes.json"]
    for path in foreign:
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    fpve.prune(store, keep=1, grace=NOW)
    assert all(path.exists() for path in foreign)
    assert fpve.verify(store).unnamed_files == 0
