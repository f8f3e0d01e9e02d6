"""Work on a store in a bucket that other machines do: each has a replica of its own, and finds what it needs there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from buckets.machines import few_pictures, job_on, machine
from mapping import PicklingMapper
from s3 import S3

import fpve
from fpve.buckets import Bucket, Object
from fpve.config import FusionConfig
from fpve.engines import shards
from fpve.engines.local import LocalEngine
from fpve.engines.work import Encoded, Models, Target, Work
from fpve.progress import Progress
from fpve.replica import located
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


class _Engine(LocalEngine):
    """Encodes on another machine."""

    def __init__(self, url: str, caches: Path) -> None:
        super().__init__(threads=1)
        self._url = url
        self._caches = caches

    def encode(self, work: Work, models: Models, target: Target, progress: Progress) -> Encoded:
        """Encode inputs, with a replica of that machine."""
        with machine(self._caches):
            return super().encode(work, models, replace(target, root=located(self._url, begin=True)), progress)


def test_shards_of_other_machines_are_found_where_a_listing_is_behind(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are known by what was said of them."""
    real = Bucket.objects

    def behind(bucket: Bucket, folder: str = "") -> Iterator[Object]:
        return (one for one in real(bucket, folder) if not one.name.startswith("pending/"))

    monkeypatch.setattr(Bucket, "objects", behind)
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    job = job_on(tmp_path / "here", s3.url("store"), few_pictures(tmp_path / "pets", count=3))
    report = fpve.run(job, engine=_Engine(s3.url("store"), tmp_path / "there"))
    assert (report.encoded, report.published) == (3, True)
    assert len(fpve.open(s3.url("store")).images) == 3


def test_workers_on_other_machines_have_what_was_written_for_a_snapshot(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indexes are built there with the means of a snapshot that is not published yet, and are those of this machine."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    monkeypatch.setattr(means, "MIN_BLOCKS", 4)
    source = few_pictures(tmp_path / "pets", count=6)
    centred = FusionConfig(centre=True)
    alone = replace(job_on(tmp_path / "alone", s3.url("alone"), source), fusion=centred)
    mine = fpve.run(alone)
    job = replace(job_on(tmp_path / "here", s3.url("store"), source), fusion=centred)
    there = _There(2, tmp_path / "there")
    monkeypatch.setattr("fpve.pipeline.run.mapper_of", lambda engine: there)
    theirs = fpve.run(job)
    assert theirs.published
    assert theirs.bytes_written["indexes"] == mine.bytes_written["indexes"] > 0
    found, expected = (Snapshot.open(one.store).manifest for one in (job, alone))
    assert found.fusion.centred is not None
    assert there.sent > 0
    assert found.segments == expected.segments
    names = [name for one in found.segments for name in one.derived_files]
    assert [s3.get(f"store/{one}") for one in names] == [s3.get(f"alone/{one}") for one in names]
