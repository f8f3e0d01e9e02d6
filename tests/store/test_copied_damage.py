"""Damage stays damage: no writer carries a flipped bit into a new file, where it would be truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import draw

import fpve
from fpve.config import Job
from fpve.engines import shards
from fpve.errors import StoreCorrupt
from fpve.store import manifest as manifests
from fpve.store import pages
from fpve.store.snapshot import Snapshot


@pytest.fixture
def store(job: Job, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of several segments and pages, with labels."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)
    monkeypatch.setattr(pages, "PAGE_ROWS", 5)
    fpve.run(job)
    return job.store


def label(store: Path) -> object:
    """Label every image."""
    file = store.parent / "labels.csv"
    ids = fpve.open(store).images["image_id"].to_pylist()
    file.write_text("image_id,seen\n" + "".join(f"{one},yes\n" for one in ids))
    return fpve.label(store, file)


@pytest.mark.parametrize(
    ("pattern", "write"),
    [
        ("vectors/*/rows.parquet", fpve.compact),
        ("images/*/*.parquet", fpve.compact),
        ("images/*/*.parquet", label),
        ("tables/thumbnails/*.parquet", fpve.compact),
    ],
)
def test_a_flipped_bit_is_not_copied(store: Path, pattern: str, write: Callable[[Path], object]) -> None:
    """Whichever bit it is, in whatever part of the file: the writer stops and publishes nothing."""
    file = sorted(store.glob(pattern))[0]
    good = file.read_bytes()
    for at in range(0, len(good), max(1, len(good) // 12)):
        data = bytearray(good)
        data[at] ^= 1
        file.write_bytes(data)
        with pytest.raises(StoreCorrupt):
            write(store)
        assert manifests.numbers(store) == [1]
    file.write_bytes(good)
    write(store)
    assert manifests.numbers(store) == [1, 2]


@pytest.mark.parametrize("pattern", ["images/*/*.parquet", "vectors/*/rows.parquet"])
def test_a_run_makes_nothing_of_damaged_files(store: Path, job: Job, pictures: Path, pattern: str) -> None:
    """With a flipped bit in what it would take over, a run stops and says so; after a repair it can be repeated."""
    for file in sorted(store.glob(pattern)):
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 1
        file.write_bytes(data)
    draw(pictures / "cat/new.png", 100)
    table = (pictures / "metadata.csv").read_text()
    # Other prefixes of known pictures: their features are in the damaged segments.
    (pictures / "metadata.csv").write_text(table.replace("cat number", "tom number"))
    with pytest.raises(StoreCorrupt, match=r"`fpve repair|missing or damaged"):
        fpve.run(job)
    assert manifests.numbers(store) == [1]
    fpve.repair(store)
    fpve.run(job)
    assert fpve.verify(store).ok
    assert len(fpve.open(store).images) == 13


def test_what_is_wrong_in_a_copy_is_not_written(store: Path) -> None:
    """A reader shows the wrong letter until `verify` finds it; what a correction takes over comes from the page."""
    for copy in store.glob("images/*/*.arrow"):
        data = copy.read_bytes()
        # Both the caption and the prefix.
        copy.write_bytes(data.replace(b"cat number 0", b"rat number 0"))
    assert fpve.open(store).images["prefix"].to_pylist().count("rat number 0") == 1
    assert {one.kind for one in fpve.verify(store).problems} == {"copy"}
    fpve.set_prefix(store, where="image_id = 'pets/cat/00.png'", text="a lynx")
    (row,) = Snapshot.open(store).table("corrected").to_pylist()
    assert (row["image_id"], row["before"]) == ("pets/cat/00.png", "cat number 0")
    # The page was written again, and so was its copy.
    assert fpve.open(store).images["caption"].to_pylist().count("cat number 0") == 1
    assert fpve.verify(store, at=2).ok
