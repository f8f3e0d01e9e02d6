"""Going back: an older snapshot is published once more, and history tells of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import fpve
from fpve.config import Job
from fpve.errors import StoreCorrupt, StoreNotFound
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot

Contents = Callable[[Path], dict[str, object]]


def test_the_last_night_is_undone(store: Path, job: Job, contents: Contents) -> None:
    """Without a number it is the snapshot before the newest; the next run goes forward again, encoding nothing."""
    after = contents(store)
    assert fpve.rollback(store) == 4
    assert "parrot" not in Snapshot.open(store).images["kind"].to_pylist()
    assert Snapshot.open(store).images.equals(Snapshot.open(store, 2).images)
    report = fpve.run(job)
    assert (report.encoded, report.snapshot) == (0, 5)
    assert contents(store) == after


def test_pictures_encoded_since_are_not_encoded_again(store: Path, job: Job, contents: Contents) -> None:
    """Going back beyond a night that encoded, and forward again, uses that night's vectors."""
    after = contents(store)
    assert fpve.rollback(store, 1) == 4
    assert len(contents(store)) == 12
    report = fpve.run(job)
    assert (report.encoded, report.fused, report.new, report.removed) == (0, 0, 1, 1)
    assert contents(store) == after
    assert fpve.verify(store).ok


def test_prefixes_stay_there_once(store: Path) -> None:
    """Going back beyond a merge of prefixes, which are then in old files and in the merged one, names each once."""
    before = Snapshot.open(store).table("prefixes").sort_by("prefix_id")
    fpve.compact(store)
    fpve.rollback(store)
    assert Snapshot.open(store).table("prefixes").sort_by("prefix_id").equals(before)


def test_a_snapshot_whose_vectors_are_gone_is_no_target(store: Path) -> None:
    """A segment that is not there any more is an error, and nothing is published."""
    fpve.compact(store)
    Snapshot.open(store, 3).segment_folder(Snapshot.open(store, 3).manifest.segments[0]).joinpath(
        "rows.parquet"
    ).unlink()
    with pytest.raises(StoreCorrupt, match=r"rows\.parquet: a file of the store vanished"):
        fpve.rollback(store, 3)
    assert Snapshot.open(store).manifest.snapshot == 4


def test_a_damaged_newest_snapshot_is_gone_back_from(store: Path) -> None:
    """A store that can't be opened any more can be after a rollback."""
    manifests.path_of(store, 3).write_text("{}")
    with pytest.raises(StoreCorrupt, match=r"`fpve rollback .*` goes back to snapshot 2"):
        fpve.open(store)
    assert fpve.rollback(store) == 4
    assert Snapshot.open(store).images.equals(Snapshot.open(store, 2).images)


def test_where_there_is_nothing_to_go_back_to(store: Path, job: Job) -> None:
    """The newest itself, a number that is not there, and a store of one snapshot are refused."""
    with pytest.raises(StoreNotFound, match="can't go back to snapshot 3; the newest is 3, before it there is 1, 2"):
        fpve.rollback(store, 3)
    with pytest.raises(StoreNotFound, match="can't go back to snapshot 9"):
        fpve.rollback(store, 9)
    with pytest.raises(StoreNotFound, match="no store here"):
        fpve.rollback(store / "elsewhere")
    manifests.path_of(store, 1).unlink()
    manifests.path_of(store, 2).unlink()
    with pytest.raises(StoreNotFound, match="an older snapshot; the newest is 3, before it there is none"):
        fpve.rollback(store)


def test_history_tells_what_happened(store: Path) -> None:
    """One row a snapshot, newest first: what published it, what it holds, and what became of images."""
    fpve.rollback(store, 1)
    fpve.compact(store)
    manifests.path_of(store, 2).write_text("{}")
    rows = fpve.history(store).to_pylist()
    assert [(row["snapshot"], row["operation"]) for row in rows] == [
        (5, "compact"),
        (4, "rollback to 1"),
        (3, "run"),
        (2, "damaged: expected the format 'fpve-manifest'"),
        (1, "run"),
    ]
    assert [row["images"] for row in rows] == [12, 12, 12, None, 12]
    assert [row["new"] for row in rows] == [None, None, 0, None, 12]
    assert rows[2]["metadata_changed"] == 4
    # A rollback keeps the vectors of the night that it undoes, for the next run.
    assert [row["segments"] for row in rows] == [1, 4, 4, None, 3]
    with pytest.raises(StoreNotFound):
        fpve.history(store / "elsewhere")
