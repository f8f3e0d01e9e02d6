"""Looking after a store that is centred and has predictions: whatever publishes leaves indexes that fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from maintenance.derived import guesses, predict
from samples import draw
from torture.contents import in_index

import fpve
from fpve.config import Job
from fpve.index import build_exact
from fpve.store import manifest as manifests
from fpve.store import means, publishing, tables
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot

Contents = Callable[[Path], dict[str, tuple[object, ...]]]
Flip = Callable[[Path], None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means of six blocks."""
    monkeypatch.setattr(means, "MIN_BLOCKS", 6)


@pytest.fixture
def job(job: Job) -> Job:
    """The job of the store of three snapshots, which is centred from the first one on."""
    return replace(job, fusion=replace(job.fusion, centre=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a copy of the store and its pictures is kept, which most tests damage in one way or another."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def store(nights: Callable[[], Path], job: Job, pictures: Path, made: Path) -> Path:
    """The store of three snapshots, made once for all tests of this file."""
    if (made / "store").exists():
        shutil.rmtree(pictures)
        shutil.copytree(made / "pictures", pictures)
        shutil.copytree(made / "store", job.store)
    else:
        nights()
        shutil.copytree(pictures, made / "pictures")
        shutil.copytree(job.store, made / "store")
    return job.store


@pytest.fixture
def predicted(store: Path) -> Path:
    """The centred store with a fourth snapshot, which has predictions."""
    predict(store, guesses(Snapshot.open(store)))
    return store


def file_of(store: Path, name: str) -> Path:
    """The newest snapshot's file of a table."""
    (table,) = manifests.load(store).tables_named(name)
    return store / table.file.path


def answers(store: Path) -> list[pa.Table]:
    """What some queries find."""
    opened = fpve.open(store)
    return [hits.to_arrow() for hits in opened.search(ids=["pets/cat/00.png", "pets/dog/07.png"], k=12)]


def assert_sound(store: Path) -> None:
    """A store is whole by its own word, and its indexes are those of its means and predictions by NumPy's."""
    assert fpve.verify(store).problems == ()
    assert in_index(store) == []


def test_the_store_is_centred(predicted: Path) -> None:
    """All four snapshots have the same means; the fourth has predictions for the six pictures without a caption."""
    found = [manifests.load(predicted, number) for number in (1, 2, 3, 4)]
    assert len({one.fusion.centred for one in found}) == 1
    assert found[0].fusion.centred.snapshot == 1
    assert [sum(one.rows for one in each.tables_named(tables.PREDICTED)) for each in found] == [0, 0, 0, 6]
    assert_sound(predicted)


# Compaction


def test_merged_segments_have_the_index_of_the_store(predicted: Path, contents: Contents) -> None:
    """Rows stay raw, what is searched is centred and predicted as before, and answers stay the same."""
    before, found = contents(predicted), answers(predicted)
    done = fpve.compact(predicted)
    assert done.segments == (1, 4)
    assert contents(predicted) == before
    for one, other in zip(answers(predicted), found, strict=True):
        assert one.drop_columns(["score", "image_score", "prefix_score"]).equals(
            other.drop_columns(["score", "image_score", "prefix_score"])
        )
        np.testing.assert_allclose(one["score"], other["score"], atol=1e-6)
    assert_sound(predicted)
    fpve.prune(predicted, keep=1, grace=timedelta(0))
    assert len(list(predicted.glob("vectors/*/*.faiss"))) == 1
    assert_sound(predicted)


def test_the_policy_keeps_the_index_of_the_store(predicted: Path, pictures: Path, job: Job) -> None:
    """A run that merges by itself does so with the means and predictions that the store has."""
    for night in range(9):
        draw(pictures / f"cat/night{night}.png", 1000 + night)
        fpve.run(job)
    assert "compact" in [manifests.load(predicted, one).operation for one in manifests.numbers(predicted)]
    assert_sound(predicted)


# Rollback


def test_vectors_of_the_undone_night_are_centred_as_before(job: Job, pictures: Path, contents: Contents) -> None:
    """Going back to a snapshot without means, segments of a centred one become plain; and centred going forward."""
    fpve.run(replace(job, fusion=replace(job.fusion, centre=False)))
    draw(pictures / "cat/new.png", 100)
    fpve.run(job)
    after = contents(job.store)
    centred = manifests.load(job.store)
    assert centred.fusion.centred is not None
    fpve.rollback(job.store, 1)
    back = manifests.load(job.store)
    assert back.fusion.centred is None
    assert {one.derived[0] for one in back.segments} == {"exact.faiss"}
    assert {one.name for one in back.segments} == {one.name for one in centred.segments}
    assert_sound(job.store)
    fpve.rollback(job.store, 2)
    assert manifests.load(job.store).segments == centred.segments
    assert contents(job.store) == after
    assert_sound(job.store)


def test_vectors_of_the_undone_night_get_older_means(store: Path, job: Job, pictures: Path) -> None:
    """The newest snapshot's means are others; joined to an older one, its segments are centred by that one's."""
    fpve.run(replace(job, fusion=replace(job.fusion, centre=False)))
    draw(pictures / "cat/newer.png", 200)
    fpve.run(job)
    newer, older = manifests.load(store), manifests.load(store, 1)
    assert newer.fusion.centred.version != older.fusion.centred.version
    fpve.rollback(store, 1)
    back = manifests.load(store)
    assert back.fusion.centred == older.fusion.centred
    assert {one.name for one in newer.segments} <= {one.name for one in back.segments}
    assert {one.derived for one in back.segments} == {older.segments[0].derived}
    assert_sound(store)
    assert fpve.run(job).encoded == 0
    assert_sound(store)


def test_predictions_are_those_of_the_older_snapshot(predicted: Path, contents: Contents) -> None:
    """Gone going back to before them, and there again going forward, each with its indexes."""
    newer, found = manifests.load(predicted), answers(predicted)
    fpve.rollback(predicted, 3)
    assert not Snapshot.open(predicted).has_predictions
    assert_sound(predicted)
    fpve.rollback(predicted, 4)
    assert manifests.load(predicted).segments == newer.segments
    assert answers(predicted) == found
    assert_sound(predicted)


def test_damaged_vectors_of_the_undone_night_are_not_taken_over(store: Path, job: Job, pictures: Path) -> None:
    """What needs another index is read for it: a segment with a flipped bit is left where it is."""
    fpve.run(replace(job, fusion=replace(job.fusion, centre=False)))
    draw(pictures / "cat/newer.png", 200)
    fpve.run(job)
    known = {one.name for one in manifests.load(store, 4).segments}
    (new,) = [one for one in manifests.load(store).segments if one.name not in known]
    data = bytearray((store / new.file.path).read_bytes())
    data[len(data) // 2] ^= 1
    (store / new.file.path).write_bytes(data)
    fpve.rollback(store, 1)
    assert new.name not in {one.name for one in manifests.load(store).segments}
    assert fpve.verify(store, at=6).ok


# Verify and repair


def test_a_flipped_bit_in_an_index_is_found_and_repaired(predicted: Path, flip: Flip) -> None:
    """By its checksum, whatever the index is called; built again it is the same to the bit."""
    for path in sorted(predicted.glob("vectors/*/exact-*.faiss")):
        before = path.read_bytes()
        flip(path)
        (problem,) = fpve.verify(predicted).problems
        assert (predicted / problem.file, problem.kind) == (path, "index")
        assert problem.problem == "it or its checksum has changed"
        done = fpve.repair(predicted)
        assert (done.rebuilt, done.taken_out, done.lost, done.published) == ((problem.file,), (), (), False)
        assert path.read_bytes() == before
    assert_sound(predicted)


def test_all_indexes_are_built_again(predicted: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Those of older snapshots too, each with the means and predictions of a snapshot that names it."""
    before = tree(predicted)
    for path in [*predicted.glob("vectors/*/*.faiss"), *predicted.glob("vectors/*/*.sha256")]:
        path.unlink()
    assert not fpve.repair(predicted).published
    assert tree(predicted) == before


def test_damaged_means_are_fitted_once_more(predicted: Path, flip: Flip, tree: Callable[..., dict[str, bytes]]) -> None:
    """The snapshot in which they were fitted is still there, and gives the same ones: nothing is lost."""
    before = tree(predicted)
    path = file_of(predicted, tables.MEANS)
    flip(path)
    name = path.relative_to(predicted).as_posix()
    problems = fpve.verify(predicted).problems
    assert [(one.file, one.kind, one.snapshots) for one in problems] == [(name, "means", (1, 2, 3, 4))]
    done = fpve.repair(predicted)
    assert done.rebuilt == (f"{name}: the same means, fitted once more",)
    assert (done.taken_out, done.lost, done.published) == ((), (), False)
    assert tree(predicted) == before


def test_a_mean_that_came_later_is_fitted_once_more(job: Job, pictures: Path, flip: Flip) -> None:
    """With the other one as it was then, in the file of the snapshot before."""
    table = (pictures / "metadata.csv").read_text()
    (pictures / "metadata.csv").write_text(table.replace("cat number 0", ""))
    fpve.run(job)
    (pictures / "metadata.csv").write_text(table)
    draw(pictures / "cat/new.png", 100)
    fpve.run(job)
    path = file_of(job.store, tables.MEANS)
    assert len(list(path.parent.iterdir())) == 2
    before = path.read_bytes()
    flip(path)
    assert fpve.repair(job.store).lost == ()
    assert path.read_bytes() == before
    assert_sound(job.store)


def test_where_the_first_snapshot_is_gone_other_means_are_fitted(predicted: Path, job: Job, flip: Flip) -> None:
    """Over what the store holds now; indexes are made by them, and what that means is said."""
    fpve.prune(predicted, keep=2, grace=timedelta(0))
    before = manifests.load(predicted)
    flip(file_of(predicted, tables.MEANS))
    done = fpve.repair(predicted)
    assert done.lost == (
        "means: those by which vectors were centred; others were fitted over 12 pictures and 6 prefixes, and scores "
        "are not what they were",
        "snapshot 3: it needs a damaged file, and can't be opened any more",
    )
    assert (done.taken_out, done.snapshot, done.published) == ((), 5, True)
    after = manifests.load(predicted)
    assert after.fusion.centred.snapshot == 5
    assert after.fusion.centred.version != before.fusion.centred.version
    # Predictions are of raw blocks, and stay.
    assert after.tables_named(tables.PREDICTED) == before.tables_named(tables.PREDICTED)
    assert_sound(predicted)
    assert fpve.run(job).encoded == 0
    assert manifests.load(predicted).fusion.centred == after.fusion.centred
    assert_sound(predicted)


def test_with_too_little_left_nothing_is_centred(
    store: Path, flip: Flip, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    """Until the next run has enough again; searches go on meanwhile."""
    fpve.prune(store, keep=1, grace=timedelta(0))
    before = contents(store)
    flip(file_of(store, tables.MEANS))
    monkeypatch.setattr(means, "MIN_BLOCKS", 100)
    done = fpve.repair(store)
    assert done.lost == (
        "means: those by which vectors were centred; there is too little to fit others, so nothing is centred, and "
        "scores are not what they were",
    )
    after = manifests.load(store)
    assert (after.fusion.centred, after.tables_named(tables.MEANS)) == (None, ())
    assert {one.derived[0] for one in after.segments} == {"exact.faiss"}
    assert contents(store) == before
    assert_sound(store)


def test_damaged_predictions_are_left_to_the_next_run(predicted: Path, flip: Flip) -> None:
    """The table is dropped, and indexes are those without it, which are there already."""
    third = manifests.load(predicted, 3)
    flip(file_of(predicted, tables.PREDICTED))
    (problem,) = fpve.verify(predicted).problems
    assert (problem.kind, problem.snapshots) == ("predicted", (4,))
    done = fpve.repair(predicted)
    assert done.taken_out == ("predicted: 6 prefix blocks; the next run predicts them again",)
    assert (done.rebuilt, done.lost, done.published) == ((), (), True)
    after = manifests.load(predicted)
    assert not Snapshot.open(predicted).has_predictions
    assert after.segments == third.segments
    assert after.fusion == third.fusion
    assert_sound(predicted)


def test_a_damaged_segment_of_a_centred_store(predicted: Path, job: Job, contents: Contents, flip: Flip) -> None:
    """It is encoded again, and centred by the means that there are."""
    before = {name: vector for name, (_, vector) in contents(predicted).items()}
    centred = manifests.load(predicted).fusion.centred
    segment = next(one for one in manifests.load(predicted).segments if one.rows == 5)
    flip(predicted / segment.file.path)
    fpve.repair(predicted)
    assert_sound(predicted)
    assert fpve.run(job).encoded > 0
    assert {name: vector for name, (_, vector) in contents(predicted).items()} == before
    assert manifests.load(predicted).fusion.centred == centred
    assert_sound(predicted)


@pytest.mark.parametrize("keep", [1, 2, 4])
@pytest.mark.parametrize("name", ["means", "predicted", "index", "all"])
def test_everything_derived_can_be_damaged_at_once(predicted: Path, job: Job, flip: Flip, name: str, keep: int) -> None:
    """Means, predictions and indexes together, or what is left of them: the store is whole after one repair."""
    fpve.prune(predicted, keep=keep, grace=timedelta(0))
    if name in ("means", "all"):
        flip(file_of(predicted, tables.MEANS))
    if name in ("predicted", "all"):
        flip(file_of(predicted, tables.PREDICTED))
    for path in predicted.glob("vectors/*/*.faiss"):
        flip(path)
    fpve.repair(predicted)
    assert_sound(predicted)
    fpve.run(job)
    assert_sound(predicted)


def publish(store: Path, **changes: object) -> Manifest:
    """Publish a snapshot like the newest, with changes that nobody should make."""
    last = manifests.load(store)
    made = replace(last, snapshot=last.snapshot + 1, parent=last.snapshot, **changes)
    publishing.publish(store, made)
    return made


def with_table(store: Path, name: str, rows: list[dict[str, object]], *, beside: bool = False) -> tuple[object, ...]:
    """The newest snapshot's tables with another one of a name, or one more."""
    table = tables.write_table(store, name, pa.Table.from_pylist(rows, tables.SCHEMAS[name]))
    others = [one for one in manifests.load(store).tables if beside or one.name != name]
    return manifests.sorted_tables((*others, table))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda rows: [{**row, "version": "0" * 16} for row in rows],
            "its means are not those that their version says",
        ),
        (lambda rows: [{**rows[0], "mean": [0.1] * 24}, rows[1]], "its means are not those that their version says"),
        (lambda rows: rows[:1], "its means are not those that their version says"),
        (
            lambda rows: [{**row, "mean": [float("nan")] * 24} for row in rows[:1]],
            "the mean of image blocks is not finite",
        ),
        (lambda rows: [{**row, "mean": [1.0] * 24} for row in rows[:1]], "the mean of image blocks is longer than 1"),
        (
            lambda rows: [{**row, "mean": [0.1] * 23} for row in rows[:1]],
            "expected a mean of 24 numbers of image blocks",
        ),
        (lambda rows: [rows[0], rows[0]], "expected one mean of image or prefix blocks each, found image, image"),
        (lambda rows: [{**rows[0], "block": "sound"}], "expected one mean of image or prefix blocks each, found sound"),
    ],
)
def test_means_are_checked(store: Path, change: Callable[[list], list], problem: str) -> None:
    """A file that is just as its manifest says, but whose means can't be, or are not those of their version."""
    rows = Snapshot.open(store).table(tables.MEANS).to_pylist()
    made = publish(store, tables=with_table(store, tables.MEANS, change(rows)))
    (file,) = [one.file.path for one in made.tables_named(tables.MEANS)]
    found = {one.file: one.problem for one in fpve.verify(store).problems}
    assert list(found) == [file]
    assert found[file].startswith(problem)
    fpve.repair(store)
    # The snapshots before it were whole, and are.
    assert manifests.numbers(store) == [1, 2, 3, 5]
    assert manifests.load(store).fusion.centred.snapshot == 5
    assert_sound(store)


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        ([("a", [0.1] * 16), ("a", [0.2] * 16)], "a content has two predictions"),
        ([("a", [0.1] * 15)], "expected predictions of 16 numbers, found others"),
        ([("a", [float("inf")] * 16)], "a prediction is not finite"),
        (
            [("a", [0.1] * 16), ("b", [0.0] * 16), ("c", [0.5] * 16)],
            "2 predictions are not longer than 0 and at most 1",
        ),
    ],
)
def test_predictions_are_checked(store: Path, vectors: list[tuple[str, list[float]]], problem: str) -> None:
    """A file that is just as its manifest says, but whose predictions can't be."""
    rows = [{"content_hash": name, "vector": vector} for name, vector in vectors]
    made = publish(store, tables=with_table(store, tables.PREDICTED, rows))
    (file,) = [one.file.path for one in made.tables_named(tables.PREDICTED)]
    assert [(one.file, one.problem) for one in fpve.verify(store).problems] == [(file, problem)]
    fpve.repair(store)
    assert_sound(store)


def test_a_content_is_predicted_once_in_all_files(predicted: Path) -> None:
    """Two files, each whole, with the same content, are a problem of the snapshot, and dropped by a repair."""
    name = Snapshot.open(predicted).predicted_content[0].as_py()
    rows = [{"content_hash": name, "vector": [0.2] * 16}]
    publish(predicted, tables=with_table(predicted, tables.PREDICTED, rows, beside=True))
    problems = fpve.verify(predicted).problems
    assert [(one.kind, one.problem) for one in problems if one.kind != "index"] == [
        ("derived", "a content has two predictions")
    ]
    fpve.repair(predicted)
    assert not Snapshot.open(predicted).has_predictions
    assert_sound(predicted)


@pytest.mark.parametrize("kind", ["other", "none", "unwanted"])
def test_means_that_a_manifest_does_not_say_are_found(store: Path, kind: str) -> None:
    """A manifest that is centred by others, has lost their table, or has means and says that it is not centred."""
    last = manifests.load(store)
    changes: dict[str, object] = {
        "other": {"fusion": replace(last.fusion, centred=replace(last.fusion.centred, version="0" * 16))},
        "none": {"tables": tuple(one for one in last.tables if one.name != tables.MEANS)},
        "unwanted": {"fusion": replace(last.fusion, centred=None)},
    }[kind]
    publish(store, **changes)
    own = manifests.path_of(store, 4).relative_to(store).as_posix()
    problems = [one for one in fpve.verify(store).problems if one.kind != "index"]
    reason = "it has means, and says that it is not centred"
    if kind != "unwanted":
        reason = "its means are not those by which it says that it is centred"
    assert [(one.file, one.kind, one.snapshots, one.problem) for one in problems] == [(own, "derived", (4,), reason)]
    fpve.repair(store)
    assert manifests.load(store).fusion.centred.snapshot == 5
    # The snapshots before it were whole, and are.
    assert manifests.numbers(store) == [1, 2, 3, 5]
    assert_sound(store)


def test_an_index_that_does_not_fit_is_found_and_replaced(store: Path) -> None:
    """A plain index in a centred snapshot is no damage of the index, but of the snapshot that names it."""
    snapshot = Snapshot.open(store)
    first, *rest = snapshot.manifest.segments
    derived = build_exact(snapshot.segment_rows(first).vectors, snapshot.segment_folder(first))
    publish(store, segments=(replace(first, derived=derived), *rest))
    (problem,) = fpve.verify(store).problems
    assert (problem.kind, problem.snapshots, problem.problem) == (
        "index",
        (4,),
        "it was made with other means or predictions",
    )
    done = fpve.repair(store)
    assert done.published
    assert manifests.load(store).segments == snapshot.manifest.segments
    assert_sound(store)


def test_older_snapshots_keep_their_own_indexes(store: Path, job: Job) -> None:
    """A plain snapshot, a centred one, and one with predictions are each verified with their own."""
    fpve.run(replace(job, fusion=replace(job.fusion, centre=False)))
    predict(store, guesses(Snapshot.open(store)))
    assert_sound(store)
    for number in manifests.numbers(store):
        assert fpve.verify(store, at=number).ok
    for path in store.glob("vectors/*/*.faiss"):
        path.unlink()
    assert not fpve.repair(store).published
    assert_sound(store)
