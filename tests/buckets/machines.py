"""Several machines that share a store in a bucket: each has a folder of caches, and so a replica, of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from samples import draw, make_job

from fpve.config import Job
from fpve.engines import shards


@contextmanager
def machine(folder: Path) -> Iterator[Path]:
    """Be another machine, whose caches are in a folder, until the block is left."""
    with mock.patch.dict(os.environ, {"FPVE_CACHE": str(folder)}):
        yield folder


def job_on(folder: Path, url: str, source: Path, **options: object) -> Job:
    """A job of the collection `pets` as a machine reads it: its store is that machine's replica from then on."""
    with machine(folder):
        return make_job(Path(url), source, **options)


def few_pictures(folder: Path, *, first: int = 0, count: int = 3) -> Path:
    """A folder of a few pictures with captions in metadata.csv."""
    lines = ["path,caption,kind"]
    for number in range(first, first + count):
        draw(folder / f"{number:02d}.png", number)
        lines.append(f"{number:02d}.png,number {number},{('cat', 'dog')[number % 2]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run_in_child(job: Job, environment: dict[str, str]) -> None:
    """Run a job with shards of two pictures, in a process that may be killed; what it asks goes where this one says."""
    import fpve

    os.environ.update(environment)
    shards.SHARD_ROWS = 2
    fpve.run(job)
