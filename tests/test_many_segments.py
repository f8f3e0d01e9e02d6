"""Stores of many segments: what a run, a search and an open look at, and what they need not."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from samples import draw

import fpve
from fpve.errors import StoreError
from fpve.fusion import FusedRows
from fpve.memory import mappable
from fpve.search import opening
from fpve.store import segments, tables
from fpve.store.manifest import Table
from fpve.store.snapshot import Snapshot

_JOB = """
store = "store"
encoders = { image = "fake:8", text = "fake:8" }
limits = { max_removed = 1.0 }
[[collections]]
name = "c"
source = "pictures"
prefix = "{stem}"
"""


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """The job of a store that three runs have written, a segment of two pictures each."""
    job = tmp_path / "job.toml"
    job.write_text(_JOB, encoding="utf-8")
    for night in range(3):
        for number in (2 * night, 2 * night + 1):
            draw(tmp_path / "pictures" / f"{number}.png", seed=number)
        fpve.run(job)
    assert [one.rows for one in Snapshot.open(tmp_path / "store").manifest.segments] == [2, 2, 2]
    return job


def _watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """The segments of whose rows a function of `fpve.store.segments` reads from now on."""
    found: list[str] = []
    read = getattr(segments, name)

    def watched(root: Path, file: str) -> Any:
        found.append(Path(file).parent.name)
        return read(root, file)

    monkeypatch.setattr(segments, name, watched)
    return found


@pytest.fixture
def keys_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments whose keys are read from now on."""
    return _watched(monkeypatch, "read_keys")


@pytest.fixture
def norms_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments whose norms are read from now on."""
    return _watched(monkeypatch, "read_norms")


def test_a_new_picture_has_no_keys_read_where_images_name_every_vector(nights: Path, keys_read: list[str]) -> None:
    """Pages say what is encoded: a run with a new picture reads nothing of segments of which images name all rows."""
    draw(nights.parent / "pictures" / "new.png", seed=7)
    report = fpve.run(nights)
    assert (report.encoded, report.unchanged, report.fused) == (1, 6, 0)
    # That of the new shard alone, which pages do not name yet.
    published = {one.name for one in Snapshot.open(nights.parent / "store", 3).manifest.segments}
    assert not published & set(keys_read)


def test_a_night_reads_no_thumbnails_of_others(nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures that are as they were, and of one that is new, no earlier file of thumbnails tells the size."""
    found: list[str] = []
    read = tables._read

    def watched(root: Path, table: Table, columns: list[str] | None) -> pa.Table:
        found.append(table.file.path)
        return read(root, table, columns)

    monkeypatch.setattr(tables, "_read", watched)
    assert not fpve.run(nights).published
    draw(nights.parent / "pictures" / "new.png", seed=7)
    assert fpve.run(nights).encoded == 1
    before = Snapshot.open(nights.parent / "store", 3).manifest.tables_named(tables.THUMBNAILS)
    assert len(before) == 3
    assert not {one.file.path for one in before} & set(found)


def test_a_picture_that_comes_back_takes_its_dead_vector(nights: Path, keys_read: list[str]) -> None:
    """Keys are read of the one segment in which a row is dead, and the picture that it is of is not encoded again."""
    path = nights.parent / "pictures" / "2.png"
    content = path.read_bytes()
    path.unlink()
    assert fpve.run(nights).removed == 1
    found = Snapshot.open(nights.parent / "store")
    rows = found.images
    (dead,) = {one.name for one in found.manifest.segments} - {
        name for name in rows["segment"].unique().to_pylist() if rows["segment"].to_pylist().count(name) == 2
    }
    keys_read.clear()
    path.write_bytes(content)
    report = fpve.run(nights)
    assert (report.encoded, report.new, report.fused) == (0, 1, 0)
    assert set(keys_read) == {dead}
    back = Snapshot.open(nights.parent / "store").images
    assert back.select(["image_id", "segment", "row"]) == Snapshot.open(nights.parent / "store", 3).images.select(
        ["image_id", "segment", "row"]
    )


def test_another_prefix_takes_the_feature_of_a_vector_that_an_image_names(nights: Path, keys_read: list[str]) -> None:
    """A new prefix is fused with stored features; where they are is said by pages, and no key is read for it."""
    store = nights.parent / "store"
    assert fpve.set_prefix(store, where="image_id = 'c/2.png'", text="a pigeon").fused == 1
    # Those of the new shard alone, which no page names yet.
    published = {one.name for one in Snapshot.open(store, 3).manifest.segments}
    assert not published & set(keys_read)
    before, after = (Snapshot.open(store, at) for at in (3, 4))
    image, again = (one.fusion.unfuse(_fused(one, "c/2.png")).image for one in (before, after))
    np.testing.assert_allclose(image, again, rtol=1e-6)


def test_a_search_reads_no_rows(nights: Path, keys_read: list[str], norms_read: list[str]) -> None:
    """Indexes and pages suffice: by both blocks, by the prefix alone, and where no hit may be lost; an id needs one."""
    store = fpve.open(nights.parent / "store")
    vector = np.random.default_rng(0).normal(size=16).astype(np.float32)
    for more in ({}, {"image_weight": 0.0}, {"exact": True}, {"where": "image_id > 'c/2'"}):
        hits = store.search(vector=vector, k=3, **more)
        assert all(hit.image_score is not None and hit.prefix_score is not None for hit in hits)
    assert (keys_read, norms_read) == ([], [])
    store.search(id="c/2.png", k=3)
    segment = {one["image_id"]: one["segment"] for one in store.images.to_pylist()}
    assert norms_read == [segment["c/2.png"]]


def test_more_indexes_than_can_be_mapped_are_refused(nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can't map all indexes is told so, and what to do: compacted, the store can be searched again."""
    root = nights.parent / "store"
    monkeypatch.setattr(opening, "_MANY", 2)
    monkeypatch.setattr(opening, "mappable", lambda: opening._SPARE + 2)
    vector = np.ones(16, np.float32)
    with pytest.raises(StoreError, match=r"room to map its 3 index files, found it for 2 .*`fpve compact"):
        fpve.open(root).search(vector=vector)
    fpve.compact(root)
    assert len(fpve.open(root).search(vector=vector)) == 6


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what a process has mapped")
def test_a_process_knows_how_much_it_can_map() -> None:
    """What is mapped is no longer to be had, and given back it is."""
    room = mappable()
    assert room is not None
    # Apart from each other, or the system takes them for one.
    mapped = [mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | number % 2 * mmap.PROT_WRITE) for number in range(100)]
    less = mappable()
    assert less is not None
    assert 50 <= room - less <= 200
    del mapped


def test_a_batch_scores_as_single_queries_do_in_many_segments(nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many candidates are scored where they lie, segment by segment, and few are copied: the scores are the same."""
    store = fpve.open(nights.parent / "store")
    queries = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    copied = store.search(vectors=queries, k=6)
    monkeypatch.setattr("fpve.search.vectors._COPIED_FLOATS", 0)
    mapped = fpve.open(nights.parent / "store").search(vectors=queries, k=6)
    for one, other in zip(copied, mapped, strict=True):
        few, many = one.to_arrow(), other.to_arrow()
        assert few["image_id"] == many["image_id"]
        for name in ("score", "image_score", "prefix_score"):
            np.testing.assert_allclose(few[name].to_numpy(), many[name].to_numpy(), atol=1e-6)


def _fused(snapshot: Snapshot, image_id: str) -> FusedRows:
    """The vector row of an image."""
    row = snapshot.rows.row_of(image_id)
    assert row is not None
    place = snapshot.rows.take([row], ["segment", "row"]).to_pylist()[0]
    segment = next(one for one in snapshot.manifest.segments if one.name == place["segment"])
    return snapshot.segment_rows(segment, np.array([place["row"]]))
