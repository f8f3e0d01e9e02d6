"""Work on a store in a bucket that other machines do: each has a replica of its own, and finds what it needs there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from buckets.machines import few_pictures, job_on, machine
from mapping import PicklingMapper
from s3 import S3

import fpve
from fpve.config import FusionConfig
from fpve.engines import shards
from fpve.store import means
from fpve.store.snapshot import Snapshot


class _There(PicklingMapper):
    """Workers on another machine, whose caches are in a folder of its own."""

    def __init__(self, size: int, caches: Path) -> None:
        super().__init__(size)
        self._caches = caches

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """The results of a function for some items."""
        with machine(self._caches):
            return iter(list(super().map(function, items)))

    def hold(self, make: Callable[[Any], Any], items: Sequence[Any]) -> Any:
        """Have a thing made of each item."""
        raise AssertionError("expected nothing to be searched")


def test_workers_on_other_machines_have_what_was_written_for_a_snapshot(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indexes are built there with the means of a snapshot that is not published yet, and are those of this machine."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    monkeypatch.setattr(means, "MIN_BLOCKS", 4)
    source = few_pictures(tmp_path / "pets", count=6)
    centred = FusionConfig(centre=True)
    alone = replace(job_on(tmp_path / "alone", s3.url("alone"), source), fusion=centred)
    fpve.run(alone)
    job = replace(job_on(tmp_path / "here", s3.url("store"), source), fusion=centred)
    there = _There(2, tmp_path / "there")
    monkeypatch.setattr("fpve.pipeline.run.mapper_of", lambda engine: nullcontext(there))
    assert fpve.run(job).published
    found, expected = (Snapshot.open(one.store).manifest for one in (job, alone))
    assert found.fusion.centred is not None
    assert there.sent > 0
    assert found.segments == expected.segments
    names = [name for one in found.segments for name in one.derived_files]
    assert [s3.get(f"store/{one}") for one in names] == [s3.get(f"alone/{one}") for one in names]
