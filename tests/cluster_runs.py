"""What tests of runs on a cluster share: jobs, what is in their stores, progress that is counted, and patience."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from samples import draw

import fpve
from fpve.config import CollectionConfig, EncoderConfig, Encoders, Job
from fpve.progress import SilentProgress
from fpve.store.snapshot import Snapshot

TESTS = Path(__file__).parent
PATIENCE = 60.0


def told_job(store: Path, source: Path, folder: Path) -> Job:
    """A job of one collection with the encoder that can be told what to do."""
    image = EncoderConfig("python:cluster_encoders:Told", device=str(folder), path=TESTS)
    return Job(
        name="pets",
        store=store,
        encoders=Encoders(image=image, text=EncoderConfig("none")),
        collections=(CollectionConfig(name="pets", source=source),),
    )


def draw_many(source: Path, count: int) -> None:
    """Write pictures of which no two are alike."""
    for number in range(count):
        file = source / f"{number:03d}.png"
        draw(file, number)
        # Of old files size and time tell that they have not changed.
        os.utime(file, (1e9, 1e9))


def images_of(store: Path | str) -> dict[str, Any]:
    """All images with their metadata, and their vectors, by their ids."""
    opened = fpve.open(store)
    images = opened.sql("SELECT * EXCLUDE (segment, row) FROM images").to_pylist()
    vectors = opened.sql("SELECT image_id, vector FROM vectors").to_pylist()
    assert len(vectors) == len(images)
    found = {row["image_id"]: row["vector"] for row in vectors}
    return {row["image_id"]: {**row, "vector": found[row["image_id"]]} for row in images}


def vector_names(store: Path) -> list[tuple[str, str | None]]:
    """The names of all vector rows, those without an image among them, sorted."""
    snapshot = Snapshot.open(store)
    keys = pa.concat_tables([snapshot.segment_keys(one) for one in snapshot.manifest.segments])
    return sorted(zip(keys["content_hash"].to_pylist(), keys["prefix_id"].to_pylist(), strict=True), key=str)


class Counted(SilentProgress):
    """Counts what is done, by stage.

    Attributes:
        done: how much that is now.
        told: how much it was, each time that more was told of.
    """

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.told: dict[str, list[int]] = {}

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Any]:
        """Count from 0, and see that all was done at the end."""
        self.done[name], self.told[name] = 0, []
        counted = self

        class Stage:
            def advance(self, count: int = 1) -> None:
                counted.done[name] += count
                counted.told[name].append(counted.done[name])

            def limited_by(self, part: str) -> None:
                pass

        yield Stage()
        assert total in (None, self.done[name])


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def until(path: Path) -> str:
    """What a file says, as soon as it is there."""
    wait_for(path.exists)
    return path.read_text()
