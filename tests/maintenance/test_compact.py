"""Compaction: fewer files, no dead vectors, the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from samples import draw, make_job

import fpve
from fpve.config import Job
from fpve.index import build_exact
from fpve.maintenance import compact as compaction
from fpve.progress import SilentProgress
from fpve.store import manifest as manifests
from fpve.store import pages, publishing, segments
from fpve.store.snapshot import Snapshot

Contents = Callable[[Path], dict[str, object]]


def test_answers_stay_the_same(store: Path, contents: Contents) -> None:
    """Rows, vectors, thumbnails and hits are those of before, in one segment without a dead row."""
    before, opened = contents(store), fpve.open(store)
    hits = opened.search(id="pets/cat/00.png", k=12).to_arrow()
    thumbnails = opened.thumbnails(list(before))
    done = fpve.compact(store)
    assert (done.published, done.snapshot, done.vectors_dropped) == (True, 4, 1)
    assert done.segments == (1, 4)
    # Twelve images in pages of five.
    assert done.pages[0] == 3
    assert done.files == (2, len(manifests.load(store, 3).tables))
    assert contents(store) == before
    opened.refresh()
    assert opened.search(id="pets/cat/00.png", k=12).to_arrow().equals(hits)
    assert opened.thumbnails(list(before)) == thumbnails
    assert fpve.verify(store).ok
    assert manifests.load(store).operation == "compact"


def test_a_compact_store_is_left_alone(store: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """A second compaction has nothing to do and publishes nothing."""
    fpve.compact(store)
    before = tree(store)
    done = fpve.compact(store)
    assert (done.published, done.snapshot, done.vectors_dropped) == (False, 4, 0)
    assert tree(store) == before


def test_a_run_after_a_compaction_has_nothing_to_do(store: Path, job: Job) -> None:
    """Places of vectors have changed, and what the job says of the store has not."""
    fpve.compact(store)
    report = fpve.run(job)
    assert (report.encoded, report.fused, report.published) == (0, 0, False)


def test_a_picture_whose_dead_vector_was_dropped_is_encoded_again(store: Path, job: Job, pictures: Path) -> None:
    """Until a compaction a deleted picture comes back for nothing; after it, it is encoded."""
    draw(pictures / "dog/01.png", 1)
    assert fpve.run(job).encoded == 0
    (pictures / "dog/01.png").unlink()
    fpve.run(job)
    fpve.compact(store)
    draw(pictures / "dog/01.png", 1)
    assert fpve.run(job).encoded == 1


def test_segments_stay_within_their_bound(store: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    """No merged segment is larger than what a merge may hold in memory."""
    before = contents(store)
    # Seven vectors of 40 numbers.
    monkeypatch.setattr(compaction, "_SEGMENT_BYTES", 7 * 40 * 4)
    fpve.compact(store)
    sizes = [one.rows for one in manifests.load(store).segments]
    assert max(sizes) <= 7
    assert sum(sizes) == 12
    assert contents(store) == before


def test_a_vector_that_two_segments_hold_becomes_one(job: Job, pictures: Path) -> None:
    """Copies in two segments, each named by an image, are one row afterwards that both name."""
    fpve.run(job)
    manifest = manifests.load(job.store)
    snapshot = Snapshot.open(job.store)
    first = next(one for one in manifest.segments if one.rows == 5)
    doubled = segments.write_segment(job.store, [next(snapshot.segment_tables(first)).slice(0, 3)], snapshot.fusion.dim)
    derived = build_exact(snapshot.segment_rows(doubled).vectors, snapshot.segment_folder(doubled))
    rows = snapshot.read_collection(manifest.collections[0])
    at = np.flatnonzero((rows["segment"].to_numpy() == first.name) & (rows["row"].to_numpy() == 2))
    names = rows["segment"].to_pylist()
    names[at[0]] = doubled.name
    copied = rows.set_column(rows.column_names.index("segment"), rows.schema.field("segment"), pa.array(names))
    collection = replace(manifest.collections[0], pages=pages.write_pages(job.store, "pets", copied, ()))
    both = (*manifest.segments, replace(doubled, derived=derived))
    publishing.publish(
        job.store,
        publishing.successor(manifest, 1, operation="label", segments=both, collections=(collection,)),
    )
    assert fpve.verify(job.store).ok
    assert fpve.compact(job.store).segments == (1, len(both))
    assert manifests.load(job.store).segments[0].rows == 12
    assert fpve.verify(job.store).ok


def test_nights_become_few_segments_by_themselves(tmp_path: Path, pictures: Path, job: Job, contents: Contents) -> None:
    """Of forty nights with a new picture each there are never more than a few segments, and nothing is lost."""
    fpve.run(job)
    most = 0
    for night in range(40):
        draw(pictures / f"cat/night{night:02d}.png", 1000 + night)
        report = fpve.run(job)
        assert report.encoded == 1
        most = max(most, len(manifests.load(job.store).segments))
    assert most <= 20
    assert fpve.verify(job.store).ok
    fresh = make_job(tmp_path / "fresh", pictures)
    fpve.run(fresh)
    assert contents(job.store) == contents(fresh.store)


def test_mostly_dead_segments_are_written_again(job: Job, pictures: Path) -> None:
    """With another template every old vector is dead; the run that makes the new ones drops the old."""
    fpve.run(job)
    fpve.run(make_job(job.store, pictures, prefix="a {kind}"))
    manifest = manifests.load(job.store)
    assert sum(one.rows for one in manifest.segments) == 12
    assert [one.operation for one in (manifests.load(job.store, n) for n in (1, 2, 3))] == ["run", "run", "compact"]


def test_the_policy_leaves_few_files_alone(store: Path) -> None:
    """Three small segments are no reason to write anything."""
    done = compaction.compact_if_due(store, progress=SilentProgress())
    assert (done.published, done.segments) == (False, (4, 4))
