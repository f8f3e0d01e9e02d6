"""Leases: what holds a snapshot, for how long, and what is never done with one."""

from __future__ import annotations

import copy
import fcntl
import os
import pickle
from pathlib import Path

import pytest

import fpve
from fpve.config import Job
from fpve.store import manifest as manifests
from fpve.store.lease import is_claimed, remove_unclaimed, take


@pytest.fixture
def manifest(job: Job) -> Path:
    """The manifest of a store of one snapshot."""
    fpve.run(job)
    return manifests.path_of(job.store, 1)


def test_a_snapshot_is_held_until_it_is_closed(job: Job, manifest: Path) -> None:
    """A store holds its snapshot until it is closed, leaves its `with`, or is nobody's any more."""
    assert not is_claimed(manifest)
    store = fpve.open(job.store)
    assert is_claimed(manifest)
    assert not remove_unclaimed(manifest)
    store.close()
    assert not is_claimed(manifest)
    with fpve.open(job.store):
        assert is_claimed(manifest)
    assert not is_claimed(manifest)
    store = fpve.open(job.store)
    del store
    assert not is_claimed(manifest)


def test_many_readers_hold_one_snapshot(manifest: Path) -> None:
    """Claims are shared; the snapshot is free when the last of them is gone."""
    first, second = take(manifest), take(manifest)
    assert first is not None
    assert second is not None
    first.release()
    first.release()
    assert is_claimed(manifest)
    second.release()
    assert remove_unclaimed(manifest)
    assert take(manifest) is None
    assert not is_claimed(manifest)


def test_a_lease_is_never_copied(manifest: Path) -> None:
    """A copy would close the same handle once more, when it is another file's."""
    lease = take(manifest)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="open the store again"):
            copied(lease)


def test_somebody_elses_lock_does_not_keep_readers_out(job: Job, manifest: Path) -> None:
    """A program that locks a manifest for itself is waited for a moment, and then not minded."""
    handle = os.open(manifest, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert fpve.open(job.store).images.num_rows == 12
    finally:
        os.close(handle)
