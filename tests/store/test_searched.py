"""What is searched is derived from rows, means and predictions, and its digest says from which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from maintenance.derived import guesses, predict
from samples import make_job
from torture.contents import searched_by_hand

import fpve
from fpve.config import FusionConfig, Job
from fpve.engines import shards
from fpve.errors import StoreCorrupt
from fpve.fusion import Fusion
from fpve.store import manifest as manifests
from fpve.store import means
from fpve.store.searched import digest_of, searched_alike, searched_fusion, searched_vectors
from fpve.store.snapshot import Snapshot


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of five rows, and means of six blocks."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)
    monkeypatch.setattr(means, "MIN_BLOCKS", 6)


@pytest.fixture(params=[False, True], ids=["raw", "centred"])
def job(request: pytest.FixtureRequest, tmp_path: Path, pictures: Path) -> Job:
    """A job over twelve pictures, six of them with captions, in a store that is centred or not."""
    job = replace(make_job(tmp_path / "store", pictures), fusion=FusionConfig(centre=request.param))
    fpve.run(job)
    return job


def test_searched_vectors_are_as_by_hand(job: Job) -> None:
    """In the order of a segment's rows: centred if the store is, with predictions where a prefix is missing."""
    snapshot = Snapshot.open(job.store)
    predict(job.store, dict(list(guesses(snapshot).items())[1:]))
    snapshot = Snapshot.open(job.store)
    assert (snapshot.centre is not None) == job.fusion.centre
    for segment in snapshot.manifest.segments:
        found = np.vstack(list(searched_vectors(snapshot, segment, searched_fusion(snapshot))))
        np.testing.assert_allclose(found, searched_by_hand(job.store, snapshot.manifest, segment), atol=1e-6)
        # Without predictions, and raw, they are the rows.
        raw = Fusion(24, 16)
        (plain,) = searched_vectors(snapshot, segment, raw, predicted=False)
        assert np.array_equal(plain, snapshot.segment_rows(segment).vectors)


def test_another_mode_is_a_rescaling(job: Job) -> None:
    """Of a balanced store's rows the bare formula's vectors are made without running an encoder."""
    snapshot = Snapshot.open(job.store)
    bare = Fusion(24, 16, "concat")
    for segment in snapshot.manifest.segments:
        (found,) = searched_vectors(snapshot, segment, bare)
        rows = snapshot.segment_rows(segment)
        expected = bare.fuse(*snapshot.fusion.unfuse(rows)).vectors
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_digest_covers_what_a_segment_takes(job: Job) -> None:
    """Predictions for other segments, or for rows with a prefix, leave it as it was; one of its own does not."""
    snapshot = Snapshot.open(job.store)
    found = guesses(snapshot)
    keys = {one.name: snapshot.segment_keys(one).to_pylist() for one in snapshot.manifest.segments}
    before = {one.name: digest_of(snapshot, one, snapshot.centre) for one in snapshot.manifest.segments}
    assert all((digest == "") == (not job.fusion.centre) for digest in before.values())
    assert len(set(before.values())) == 1
    name = next(iter(found))
    captioned = next(row["content_hash"] for rows in keys.values() for row in rows if row["prefix_norm"])
    predict(job.store, {name: found[name], captioned: np.full(16, 0.1)})
    for vector, same in ((found[name], True), (found[name] * np.float32(0.5), False)):
        predict(job.store, {name: vector})
        again = Snapshot.open(job.store)
        assert not searched_alike(again.manifest, snapshot.manifest)
        for one in again.manifest.segments:
            digest = digest_of(again, one, again.centre)
            takes = name in {row["content_hash"] for row in keys[one.name]}
            assert (digest != before[one.name]) == takes
            assert digest_of(again, one, again.centre, predicted=False) == before[one.name]
            if takes:
                third = Snapshot.open(job.store, 2)
                assert (digest == digest_of(third, one, third.centre)) == same


def test_predictions_of_another_length_are_refused(job: Job) -> None:
    """Blocks that are not of the text encoder's space are damage, and say so."""
    last = manifests.load(job.store)
    snapshot = Snapshot.open(job.store)
    found = guesses(snapshot)
    made = predict(job.store, found)
    broken = dict.fromkeys(found, np.full(15, 0.1))
    with pytest.raises(StoreCorrupt, match="expected predicted prefix blocks of 16 numbers, found others"):
        predict(job.store, broken)
    # Nothing was published.
    assert manifests.load(job.store) == made
    assert made.snapshot == last.snapshot + 1


def test_a_damaged_segment_is_not_searched(job: Job) -> None:
    """What is derived from rows is derived from those that the manifest names: a flipped bit is an error."""
    snapshot = Snapshot.open(job.store)
    segment = snapshot.manifest.segments[0]
    file = job.store / segment.file.path
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        list(searched_vectors(snapshot, segment, searched_fusion(snapshot)))
