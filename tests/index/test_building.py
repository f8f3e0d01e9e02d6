"""Indexes of segments: called by what went into them, built where they are wanted, and gone when nobody names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from maintenance.derived import guesses, predict
from samples import draw, make_job
from torture.contents import in_index, searched_by_hand

import fpve
from fpve.config import FusionConfig, Job
from fpve.engines import shards
from fpve.index import (
    build_exact,
    check_index,
    fits,
    index_in_memory,
    indexed,
    open_index,
    rebuild,
    reindexed,
)
from fpve.store import manifest as manifests
from fpve.store import means
from fpve.store.manifest import Segment
from fpve.store.searched import digest_of
from fpve.store.snapshot import Snapshot


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of five rows, and means of six blocks."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)
    monkeypatch.setattr(means, "MIN_BLOCKS", 6)


@pytest.fixture
def job(tmp_path: Path, pictures: Path) -> Job:
    """A job whose store is centred, and has been run."""
    job = replace(make_job(tmp_path / "store", pictures), fusion=FusionConfig(centre=True))
    fpve.run(job)
    return job


@pytest.fixture
def snapshot(job: Job) -> Snapshot:
    """The centred store."""
    return Snapshot.open(job.store)


def built(store: Path) -> list[str]:
    """All indexes that lie in a store, by segment and name."""
    return sorted(path.relative_to(store / "vectors").as_posix() for path in store.glob("vectors/*/*.faiss"))


def test_an_index_is_called_by_its_means_and_predictions(job: Job, snapshot: Snapshot) -> None:
    """One digest for all segments of a centred store; another for those that take predictions; none for plain rows."""
    names = {one.name: one.derived for one in snapshot.manifest.segments}
    digest = digest_of(snapshot, snapshot.manifest.segments[0], snapshot.centre)
    assert len(digest) == 16
    assert set(names.values()) == {(f"exact-{digest}.faiss", f"exact-{digest}.faiss.sha256")}
    found = guesses(snapshot)
    content = next(iter(found))
    made = predict(job.store, {content: found[content]})
    takes = {one.name for one in made.segments if content in snapshot.segment_keys(one)["content_hash"].to_pylist()}
    assert {one.name for one in made.segments if one.derived != names[one.name]} == takes
    assert len(takes) == 1
    assert in_index(job.store) == []
    # Without means and predictions.
    plain = replace(make_job(job.store, job.collections[0].source), fusion=FusionConfig(centre=False))
    predict(job.store, {})
    fpve.run(plain)
    assert {one.derived for one in manifests.load(job.store).segments} == {("exact.faiss", "exact.faiss.sha256")}
    assert in_index(job.store) == []
    assert fpve.verify(job.store).ok


def test_an_index_holds_what_is_searched(job: Job, snapshot: Snapshot) -> None:
    """Centred blocks, not rows; found by their row numbers, and reconstructed as they were."""
    for segment in snapshot.manifest.segments:
        index = open_index(snapshot, segment)
        vectors = index.vectors(np.arange(segment.rows))
        np.testing.assert_allclose(vectors, searched_by_hand(job.store, snapshot.manifest, segment), atol=1e-6)
        assert not np.allclose(vectors, snapshot.segment_rows(segment).vectors, atol=1e-2)
        found = index.search(vectors, 1)
        assert found.rows[:, 0].tolist() == list(range(segment.rows))


def test_old_indexes_are_pruned(job: Job) -> None:
    """What no kept snapshot names goes; a digest in its name does not hide it."""
    before = built(job.store)
    predict(job.store, guesses(Snapshot.open(job.store)))
    assert set(before) < set(built(job.store))
    fpve.prune(job.store, keep=1, grace=timedelta(0))
    named = {f"{one.name}/{one.derived[0]}" for one in manifests.load(job.store).segments}
    assert set(built(job.store)) == named
    assert fpve.verify(job.store).ok
    assert fpve.verify(job.store).unnamed_files == 0


def test_only_what_does_not_fit_is_built(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment with the right index stays as it is; with none, or one of other means, it gets one."""
    calls: list[str] = []

    def spy(vectors: object, folder: Path, *, rows: int, name: str) -> tuple[str, ...]:
        calls.append(f"{folder.name}/{name}")
        return build_exact(vectors, folder, rows=rows, name=name)

    monkeypatch.setattr("fpve.index.building.build_exact", spy)
    first, second, *_ = snapshot.manifest.segments
    assert indexed(snapshot, first) is first
    assert indexed(snapshot, replace(first, derived=())) == first
    assert indexed(snapshot, replace(second, derived=("exact.faiss", "exact.faiss.sha256"))) == second
    assert calls == [f"{one.name}/{one.derived[0]}" for one in (first, second)]
    assert fits(snapshot, first)
    assert not fits(snapshot, replace(first, derived=()))


def test_segments_of_the_manifest_before_are_not_looked_at(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same means and predictions they are right; with others each is looked at."""
    looked: list[str] = []

    def spy(_: Snapshot, segment: Segment, *__: object) -> str:
        looked.append(segment.name)
        return digest_of(snapshot, segment, snapshot.centre)

    monkeypatch.setattr("fpve.index.building.digest_of", spy)
    manifest = snapshot.manifest
    new = replace(manifest.segments[0], derived=())
    follows = Snapshot(snapshot.root, replace(manifest, segments=(new, *manifest.segments[1:])))
    assert reindexed(follows, manifest) == manifest.segments
    assert set(looked) == {new.name}
    looked.clear()
    assert reindexed(snapshot, replace(manifest, tables=())) == manifest.segments
    assert looked == [one.name for one in manifest.segments]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda _: None, None),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it or its checksum has changed"),
        (lambda path: path.unlink(), "can't be read: No such file or directory"),
        (lambda path: path.with_name(f"{path.name}.sha256").unlink(), "can't be read: No such file or directory"),
        (
            lambda path: build_exact(np.ones((5, 40), np.float32), path.parent, name=path.name),
            "its vectors are not those of rows.parquet",
        ),
        (
            lambda path: build_exact(np.ones((4, 40), np.float32), path.parent, name=path.name),
            "expected 5 vectors of 40 numbers, found 4 of 40",
        ),
    ],
)
def test_an_index_is_checked(snapshot: Snapshot, damage: Callable[[Path], object], problem: str | None) -> None:
    """Against its checksum, its size, and what it should hold; built again, it is whole."""
    segment = next(one for one in snapshot.manifest.segments if one.rows == 5)
    damage(snapshot.segment_folder(segment) / segment.derived[0])
    assert check_index(snapshot, segment) == (problem and (segment.derived[0], problem))
    rebuild(snapshot, segment)
    assert check_index(snapshot, segment) is None


def test_a_checksum_of_nonsense_does_not_make_an_index(snapshot: Snapshot) -> None:
    """A file that FAISS can't read is said to be that, though its checksum is right."""
    from hashlib import sha256

    segment = snapshot.manifest.segments[0]
    path = snapshot.segment_folder(segment) / segment.derived[0]
    path.write_bytes(b"x")
    path.with_name(f"{path.name}.sha256").write_text(f"{sha256(b'x').hexdigest()}  {path.name}\n")
    assert check_index(snapshot, segment) == (path.name, "not an index that FAISS can read")


def test_an_index_of_other_means_is_found(snapshot: Snapshot) -> None:
    """A plain index, whole as it is, in a centred snapshot; and one of a kind that is not known here."""
    segment = snapshot.manifest.segments[0]
    plain = replace(
        segment, derived=build_exact(snapshot.segment_rows(segment).vectors, snapshot.segment_folder(segment))
    )
    assert plain.derived[0] == "exact.faiss"
    assert check_index(snapshot, plain) == ("exact.faiss", "it was made with other means or predictions")
    unknown = replace(segment, derived=("graph.faiss",))
    assert check_index(snapshot, unknown) == ("graph.faiss", "no index that this version knows: graph.faiss")
    assert check_index(snapshot, replace(segment, derived=())) == (
        "exact.faiss",
        "no index that this version knows: none",
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"x"),
        lambda path: build_exact(np.ones((3, 40), np.float32), path.parent, name=path.name),
        lambda path: build_exact(np.ones((5, 7), np.float32), path.parent, name=path.name),
    ],
)
def test_a_search_does_without_a_broken_index(job: Job, damage: Callable[[Path], object]) -> None:
    """Where it is gone, unreadable or of another size, the same one is made in memory."""
    predict(job.store, guesses(Snapshot.open(job.store)))
    queries = {"ids": ["pets/cat/00.png", "pets/dog/01.png"], "image_weight": 0.4, "k": 11}
    expected = [hits.to_arrow() for hits in fpve.open(job.store).search(**queries)]
    for path in job.store.glob("vectors/*/*.faiss"):
        damage(path)
    assert [hits.to_arrow() for hits in fpve.open(job.store).search(**queries)] == expected


def test_an_index_in_memory_answers_as_one_on_disk(snapshot: Snapshot) -> None:
    """Of whole vectors or of parts of them."""
    segment = snapshot.manifest.segments[0]
    stored = open_index(snapshot, segment)
    vectors = stored.vectors(np.arange(segment.rows))
    for made in (index_in_memory(vectors), index_in_memory([vectors[:2], vectors[2:]])):
        assert len(made) == len(stored)
        for one, other in zip(made.search(vectors, 3), stored.search(vectors, 3), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_run_builds_indexes_of_new_segments_only(job: Job, pictures: Path) -> None:
    """Frozen means: a night with one picture more writes one index."""
    before = {path: path.stat().st_mtime_ns for path in job.store.glob("vectors/*/*.faiss")}
    draw(pictures / "cat/new.png", 50)
    fpve.run(job)
    after = {path: path.stat().st_mtime_ns for path in job.store.glob("vectors/*/*.faiss")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
