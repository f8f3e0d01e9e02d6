"""Which files are a store's own: by where they lie and how they are called, and no others."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fpve
from fpve.config import Job
from fpve.errors import StoreConflict
from fpve.store import manifest as manifests
from fpve.store.files import LAYOUT, check_root, is_ours, our_files
from fpve.store.parquet import write_parquet

FOREIGN = [
    "holiday.jpg",
    "snapshots/notes.json",
    "snapshots/1.json",
    "images/0123456789abcdef.parquet",
    "images/scan/NOTES.txt",
    "images/pets/deep/0123456789abcdef.parquet",
    "images/pets/rows.parquet",
    "images/pets/rows.arrow",
    "images/pets/0123456789abcdef.sha256",
    "tables/labels/0123456789abcdef.arrow",
    "vectors/mine/rows.parquet",
    "vectors/0123456789abcdef/rows.csv",
    "tables/labels.parquet",
    "tables/labels/mine.parquet",
    "saved/Mine.parquet",
    "saved/1.parquet",
    "saved/mine.csv",
    "runs/notes.json",
    "runs/0123456789abcdef.parquet",
    "state/damaged/README",
    "state/damaged/images_pets_0123456789abcdef.parquet",
    "state/damaged/holiday.jpg.01234567",
    "state/scan/pets.csv",
    "pending/rows.parquet",
    "pending/mine/holiday.jpg",
    "pending/mine/shard.json",
    "pending/0123456789abcdef/holiday.jpg",
    "mine/snapshots/00000000000000000001.json",
]


def test_all_that_a_store_gets_is_its_own(job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever run, label, compact and repair leave, and a run that fails: their files are the store's."""
    store = job.store
    (pictures / "broken.jpg").write_bytes(b"no")
    fpve.run(job)
    labels = pictures.parent / "labels.csv"
    labels.write_text("image_id,kind\npets/cat/00.png,lynx\n")
    fpve.label(store, labels)
    fpve.rollback(store)
    fpve.compact(store)
    fpve.open(store).save("Every_1", fpve.open(store).images)
    whole = _files(store)
    before = manifests.load(store)
    assert {one.name for one in before.tables} == {"prefixes", "quarantine", "thumbnails", "labels"}
    for damaged in (before.collections[0].pages[0].file, before.segments[0].file, *(one.file for one in before.tables)):
        (store / damaged.path).write_bytes(b"x")
    manifests.path_of(store, 1).write_text("{}")
    fpve.repair(store)
    monkeypatch.setattr("fpve.pipeline.run.commit", _full)
    with pytest.raises(OSError, match="full"):
        fpve.run(job)
    after = _files(store)
    assert [path for path in (*whole, *after) if not is_ours(store, path)] == []
    parts = {path.relative_to(store).parts[0] for path in (*whole, *after)}
    assert parts == {"snapshots", "images", "vectors", "tables", "saved", "runs", "state", "pending"}
    aside = {path.name.partition("_")[0] for path in (store / "state/damaged").iterdir()}
    assert aside == {"snapshots", "images", "vectors", "tables"}
    assert len(list((store / "runs").iterdir())) == 2


def _files(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()]


def _full(*_: object, **__: object) -> None:
    raise OSError("the disk is full")


@pytest.mark.parametrize("name", FOREIGN)
def test_other_files_are_not(tmp_path: Path, name: str) -> None:
    """A name alone, or a place alone, makes nothing a store's; and a store is not begun where such a thing is."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    assert not is_ours(tmp_path, path)
    assert [list(our_files(tmp_path, folder)) for folder in LAYOUT] == [[]] * len(LAYOUT)
    with pytest.raises(StoreConflict, match="no store, and not empty"):
        check_root(tmp_path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link is nobody's of the store's files, be it to a file or a folder, or a directory of the layout itself."""
    elsewhere = tmp_path / "elsewhere/0123456789abcdef"
    elsewhere.mkdir(parents=True)
    (elsewhere / "rows.parquet").write_bytes(b"x")
    root = tmp_path / "store"
    (root / "pending").mkdir(parents=True)
    (root / "pending/0123456789abcdef").symlink_to(elsewhere)
    (root / "vectors").symlink_to(elsewhere.parent)
    (root / "images/pets").mkdir(parents=True)
    (root / "images/pets/0123456789abcdef.parquet").symlink_to(elsewhere / "rows.parquet")
    assert [list(our_files(root, name)) for name in ("pending", "vectors", "images")] == [[], [], []]


def test_a_full_disk_is_told_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow says the reason, in its own words; the error names the file too, as the system's own do."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*rows\.parquet'"):
        write_parquet(pa.table({"a": [1]}), tmp_path / "rows.parquet")
