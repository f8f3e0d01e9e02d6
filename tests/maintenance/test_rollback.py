"""Going back: an older snapshot is published once more, and history tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from maintenance.derived import add_rows, answer, correction
from samples import FAKE

import fpve
from fpve.cli import cli
from fpve.config import EncoderConfig, Job
from fpve.errors import StoreCorrupt, StoreNotFound
from fpve.maintenance.rollback import content_of
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot

Contents = Callable[[Path], dict[str, object]]


def test_the_last_night_is_undone(store: Path, job: Job, contents: Contents) -> None:
    """Without a number it is the snapshot before the newest; the next run goes forward again, encoding nothing."""
    after = contents(store)
    assert fpve.rollback(store) == fpve.RolledBack(4, 2, encodes_again=False)
    assert "parrot" not in Snapshot.open(store).images["kind"].to_pylist()
    assert Snapshot.open(store).images.equals(Snapshot.open(store, 2).images)
    report = fpve.run(job)
    assert (report.encoded, report.snapshot) == (0, 5)
    assert contents(store) == after


def test_pictures_encoded_since_are_not_encoded_again(store: Path, job: Job, contents: Contents) -> None:
    """Going back beyond a night that encoded, and forward again, uses that night's vectors."""
    after = contents(store)
    assert fpve.rollback(store, 1).to_dict() == {"snapshot": 4, "to": 1, "encodes_again": False}
    assert len(contents(store)) == 12
    report = fpve.run(job)
    assert (report.encoded, report.fused, report.new, report.removed) == (0, 0, 1, 1)
    assert contents(store) == after
    assert fpve.verify(store).ok


def test_prefixes_stay_there_once(store: Path) -> None:
    """Going back beyond a merge of prefixes, which are then in old files and in the merged one, names each once."""
    before = Snapshot.open(store).table("prefixes").sort_by("prefix_id")
    fpve.compact(store)
    fpve.rollback(store, 3)
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
    assert fpve.rollback(store) == fpve.RolledBack(4, 2, encodes_again=False)
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


def test_a_night_that_compacted_is_undone_whole(store: Path) -> None:
    """What compaction published holds what was there before: going back goes to before the night."""
    fpve.compact(store)
    assert fpve.rollback(store).to == 2
    assert Snapshot.open(store).images.equals(Snapshot.open(store, 2).images)


def test_each_rollback_goes_one_night_further_back(store: Path, job: Job) -> None:
    """What a rollback published holds what it went back to, so the next one does not undo it; a run is a new night."""
    assert [fpve.rollback(store).to for _ in range(2)] == [2, 1]
    with pytest.raises(StoreNotFound, match="the newest is 5, which holds what 1 held, before it there is none"):
        fpve.rollback(store)
    assert fpve.run(job).snapshot == 6
    assert fpve.rollback(store).to == 5


def test_a_snapshot_holds_what_it_compacted_or_went_back_to(store: Path) -> None:
    """Whichever way one led to the other; what is pruned is no reason to go on looking."""
    fpve.compact(store)
    fpve.rollback(store, 2)
    fpve.compact(store)
    fpve.rollback(store, 4)
    found, _ = manifests.load_all(store)
    assert [one.operation for one in found.values()] == [*["run"] * 3, "compact", "rollback", "compact", "rollback"]
    assert {number: content_of(found, number) for number in found} == {1: 1, 2: 2, 3: 3, 4: 3, 5: 2, 6: 2, 7: 3}
    del found[4]
    assert content_of(found, 7) == 4


def test_labels_stay(store: Path, job: Job, tmp_path: Path) -> None:
    """What people said of images outlives a rollback: it waits in its table, and the next run lays it over."""
    file = tmp_path / "labels.csv"
    file.write_text("image_id,kind\npets/cat/00.png,lynx\n")
    fpve.label(store, file)
    labels = Snapshot.open(store).table("labels")
    fpve.rollback(store, 1)
    assert Snapshot.open(store).table("labels").equals(labels)
    assert Snapshot.open(store).images.equals(Snapshot.open(store, 1).images)
    fpve.run(job)
    images = Snapshot.open(store).images
    assert (
        dict(zip(images["image_id"].to_pylist(), images["kind"].to_pylist(), strict=True))["pets/cat/00.png"] == "lynx"
    )
    file.write_text("image_id,kind\npets/cat/00.png,x\n")
    fpve.label(store, file, undo=True)
    fpve.rollback(store, 4)
    # They were taken back since.
    assert len(Snapshot.open(store).table("labels")) == 0
    fpve.run(job)
    assert "lynx" not in Snapshot.open(store).images["kind"].to_pylist()


def test_answers_and_corrections_stay(store: Path, job: Job) -> None:
    """What was paid for, and what people said, outlives a rollback: answers of both, corrections as they are now."""
    add_rows(store, "generated", [answer("a")])
    add_rows(store, "corrected", [correction("pets/cat/00.png", "a tabby")])
    add_rows(store, "generated", [answer("b")])
    newest = add_rows(store, "corrected", [correction("pets/cat/00.png", "a lynx")], beside=False)
    fpve.rollback(store, 4)
    names = Snapshot.open(store).table("generated")["generation_id"].to_pylist()
    assert sorted(names) == ["a", "b"]
    assert manifests.load(store).tables_named("corrected") == newest.tables_named("corrected")
    assert fpve.verify(store).ok
    # Beyond a change of encoders too.
    other = replace(job, encoders=replace(FAKE, image=EncoderConfig("fake:32")))
    fpve.run(other)
    add_rows(store, "generated", [answer("c")])
    fpve.rollback(store, 1)
    names = Snapshot.open(store).table("generated")["generation_id"].to_pylist()
    assert sorted(names) == ["a", "b", "c"]
    assert fpve.verify(store).ok


def test_damaged_answers_are_left_where_they_are(store: Path) -> None:
    """Going back is a way out of damage; what can be read of the answers is taken over."""
    add_rows(store, "generated", [answer("a")])
    made = add_rows(store, "generated", [answer("b"), answer("c")])
    damaged = next(one for one in made.tables_named("generated") if one.rows == 2)
    (store / damaged.file.path).write_bytes(b"x" * damaged.file.bytes)
    fpve.rollback(store, 1)
    assert Snapshot.open(store).table("generated")["generation_id"].to_pylist() == ["a"]
    assert fpve.verify(store, at=6).ok


def test_thumbnails_are_there_once(store: Path, job: Job) -> None:
    """Beyond a compaction, old files and the merged one hold the same: only what the old ones lack is added."""
    fpve.compact(store)
    merged = Snapshot.open(store).table("thumbnails")
    fpve.rollback(store, 1)
    found = Snapshot.open(store).table("thumbnails")
    assert sorted(found["content_hash"].to_pylist()) == sorted({*found["content_hash"].to_pylist()})
    assert set(found["content_hash"].to_pylist()) >= set(merged["content_hash"].to_pylist())
    old, now = (manifests.load(store, number).tables_named("thumbnails") for number in (1, 5))
    assert [one.rows for one in now if one not in old] == [1]
    assert fpve.run(job).encoded == 0


def test_damaged_files_of_the_undone_night_are_not_taken_over(store: Path) -> None:
    """Going back is a way out of damage: what can't be read of the newest snapshot is left where it is."""
    for one in manifests.load(store).tables:
        if one not in manifests.load(store, 1).tables:
            (store / one.file.path).write_bytes(b"x" * one.file.bytes)
    fpve.rollback(store, 1)
    assert fpve.verify(store, at=4).ok


def test_another_image_encoder_means_encoding_again(store: Path, job: Job) -> None:
    """Going back beyond a change of encoders says that the next run encodes everything."""
    other = replace(job, encoders=replace(FAKE, image=EncoderConfig("fake:32")))
    fpve.run(other)
    assert fpve.rollback(store) == fpve.RolledBack(5, 3, encodes_again=True)
    assert fpve.verify(store).ok
    assert fpve.run(other).encoded == 12
    done = CliRunner().invoke(cli, ["rollback", str(store)])
    assert done.output == (
        "published snapshot 7, which holds what snapshot 5 held; the next run of a job brings it up to date with its "
        "sources again, and encodes every picture again, for the image encoder was another\n"
    )
    done = CliRunner().invoke(cli, ["rollback", str(store), "--format", "json"])
    assert json.loads(done.output) == {"snapshot": 8, "to": 2, "encodes_again": False}


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
