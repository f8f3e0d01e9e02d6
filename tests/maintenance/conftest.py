"""A store with a past: several snapshots, segments and pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import draw

import fpve
from fpve.config import Job
from fpve.engines import shards
from fpve.store import pages
from fpve.store.snapshot import Snapshot

Contents = Callable[[Path], dict[str, tuple[object, ...]]]


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments and pages of five rows, so that twelve pictures make several."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)
    monkeypatch.setattr(pages, "PAGE_ROWS", 5)


@pytest.fixture
def nights(job: Job, pictures: Path) -> Callable[[], Path]:
    """Makes a store of three snapshots: twelve pictures; one more and one less; other kinds."""

    def make() -> Path:
        fpve.run(job)
        draw(pictures / "cat/new.png", 100)
        (pictures / "dog/01.png").unlink()
        fpve.run(job)
        table = (pictures / "metadata.csv").read_text()
        (pictures / "metadata.csv").write_text(table.replace(",bird,", ",parrot,"))
        fpve.run(job)
        return job.store

    return make


@pytest.fixture
def store(nights: Callable[[], Path]) -> Path:
    """The store of three snapshots."""
    return nights()


@pytest.fixture
def contents() -> Contents:
    """Reads what a store says of each image: everything but where its vector is, and the vector itself."""

    def read(root: Path) -> dict[str, tuple[object, ...]]:
        snapshot = Snapshot.open(root)
        segments = {one.name: snapshot.segment_rows(one) for one in snapshot.manifest.segments}
        found = {}
        for row in snapshot.images.to_pylist():
            vector = segments[row.pop("segment")].vectors[row.pop("row")]
            found[str(row.pop("image_id"))] = (row, vector.tobytes())
        return found

    return read


@pytest.fixture
def flip() -> Callable[[Path], None]:
    """Flips one bit in the middle of a file, in place."""

    def damage(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)

    return damage
