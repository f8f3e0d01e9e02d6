"""Pictures in the cells of a Parquet table: which column they are in, what they are called, and how they are read."""

from __future__ import annotations

import gc
import io
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from samples import make_job

import fpve
from fpve.config import CollectionConfig, Job
from fpve.errors import GuardError, MetadataError, SourceError
from fpve.planning.columns import file_columns, read_given
from fpve.sources import cells
from fpve.sources.cells import Cells
from fpve.sources.inputs import Stamp
from fpve.sources.source import scan_source
from fpve.store.snapshot import Snapshot

_LONG_AGO = 1_600_000_000


def png(seed: int) -> bytes:
    """A picture that no other seed gives."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def write(file: Path, columns: dict[str, list[Any]], *, at: int = _LONG_AGO, **options: Any) -> Path:
    """A Parquet file of these columns, with the time `at`."""
    pq.write_table(pa.table(columns), file, row_group_size=options.pop("group", 3), **options)
    os.utime(file, (at, at))
    return file


def hugging_face(count: int, **options: Any) -> dict[str, list[Any]]:
    """Columns as Hugging Face's datasets write them."""
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(count)]
    return {"image": images, "label": [number % 2 for number in range(count)], **options}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten pictures in four row groups, with labels."""
    return write(tmp_path / "train.parquet", hugging_face(10))


@pytest.fixture
def job(tmp_path: Path, table: Path) -> Job:
    """A job over the table."""
    return make_job(tmp_path / "store", table, metadata=None, prefix="number {label}")


def ids(file: Path, **options: Any) -> list[str]:
    """image_ids that a scan finds."""
    config = CollectionConfig("c", file, **options)
    files, _ = file_columns(config, read_given(config), scan_source(config), ())
    return [str(one) for one in files["image_id"].to_pylist()]


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nobody may read a cell."""

    def read(*_: object) -> None:
        raise AssertionError("a cell was read")

    monkeypatch.setattr(Cells, "read", read)


def test_pictures_come_out_of_their_cells(job: Job, table: Path) -> None:
    """Images are called by the path in the cell, the other columns are metadata, and a cell's bytes are the content."""
    report = fpve.run(job)
    assert (report.encoded, report.quarantined, report.new) == (10, 0, 10)
    row = fpve.open(job.store).images.to_pylist()[3]
    assert (row["image_id"], row["path"], row["label"]) == ("pets/3.png", f"{table}/3.png", 1)
    assert (row["bytes"], row["width"], row["prefix"]) == (len(png(3)), 8, "number 1")


def test_a_night_without_changes_reads_no_cell(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a dry run nor a second run reads the column of pictures; the dry run estimates what it would read."""
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        planned = fpve.run(job, dry_run=True)
        assert (planned.new, planned.encoded) == (10, 10)
        # With what Parquet needs around such small cells.
        assert 1 <= planned.bytes_to_read / sum(len(png(number)) for number in range(10)) < 3
    fpve.run(job)
    forbid_reading(monkeypatch)
    report = fpve.run(job)
    assert (report.unchanged, report.bytes_to_read, report.published) == (10, 0, False)


def test_another_table_is_read_once_and_only_new_pictures_are_encoded(job: Job, table: Path) -> None:
    """One picture is another, one row is new and one is gone: all cells are read, and two are encoded."""
    fpve.run(job)
    columns = hugging_face(11)
    columns["image"][4] = {"bytes": png(99), "path": "4.png"}
    kept = [number for number in range(11) if number != 7]
    write(table, {name: [values[at] for at in kept] for name, values in columns.items()}, at=_LONG_AGO + 1)
    report = fpve.run(job)
    assert (report.new, report.changed, report.removed, report.unchanged, report.encoded) == (1, 1, 1, 8, 2)
    assert fpve.run(job).bytes_to_read == 0


def test_new_metadata_writes_no_vector(job: Job, table: Path) -> None:
    """Another label column in a table whose pictures are the same: every cell is read, and none is encoded."""
    fpve.run(job)
    segments = Snapshot.open(job.store).manifest.segments
    write(table, hugging_face(10, note=["x"] * 10), at=_LONG_AGO + 1)
    report = fpve.run(job)
    assert (report.metadata_changed, report.encoded, report.fused) == (10, 0, 0)
    assert Snapshot.open(job.store).manifest.segments == segments


def test_a_table_of_the_same_time_is_another_by_its_size(job: Job, table: Path) -> None:
    """Tables that are made again with a fixed time are told apart by their size."""
    fpve.run(job)
    columns = hugging_face(10)
    columns["image"][4] = {"bytes": png(99), "path": "4.png"}
    columns["label"] = [number % 2 for number in range(10)]
    before = table.stat().st_size
    write(table, columns, compression="gzip")
    assert table.stat().st_size != before
    assert fpve.run(job).changed == 1


def test_rows_that_are_gone_need_permission(job: Job, table: Path) -> None:
    """A table that lost half of its rows publishes nothing; renamed rows are the same images under another name."""
    fpve.run(job)
    columns = hugging_face(10)
    write(table, {name: values[:5] for name, values in columns.items()}, at=_LONG_AGO + 1)
    with pytest.raises(GuardError, match="5 of 10 images are gone"):
        fpve.run(job)
    for number, cell in enumerate(columns["image"]):
        cell["path"] = f"renamed/{number}.png"
    write(table, columns, at=_LONG_AGO + 2)
    report = fpve.run(job)
    assert (report.moved, report.removed, report.encoded) == (10, 0, 0)


def test_a_cell_that_is_no_picture_is_quarantined_once(job: Job, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cell and broken bytes have their reason, and are not read again while the table is what it was."""
    columns = hugging_face(200)
    columns["image"][2] = {"bytes": None, "path": "2.png"}
    columns["image"][3] = {"bytes": b"no picture", "path": "3.png"}
    write(table, columns)
    assert fpve.run(job).quarantined == 2
    reasons = {row["path"]: row["reason"] for row in Snapshot.open(job.store).table("quarantine").to_pylist()}
    assert set(reasons) == {"train.parquet/2.png", "train.parquet/3.png"}
    assert reasons["train.parquet/2.png"].startswith("empty")
    forbid_reading(monkeypatch)
    assert (fpve.run(job).quarantined, fpve.run(job).published) == (2, False)


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"image": [{"bytes": b"1", "path": "a/x.png"}]}, {}, ["c/a/x.png"]),
        ({"file_name": ["x.png"], "bytes": [b"1"]}, {}, ["c/x.png"]),
        ({"path": ["x.png"], "sha": [b"1"]}, {"source_key": "sha"}, ["c/x.png"]),
        ({"photo": [b"1"], "sku": ["7"]}, {"id": "sku"}, ["c/7"]),
        ({"photo": [b"1", b"2"], "a": [1, 2]}, {"id": "{row:03d}"}, ["c/000", "c/001"]),
        ({"a": [b"1"], "image": [b"2"], "sku": ["7"]}, {"id": "{sku}"}, ["c/7"]),
    ],
)
def test_the_column_of_pictures_is_found(
    tmp_path: Path, columns: dict[str, list[Any]], options: dict[str, str], expected: list[str]
) -> None:
    """Hugging Face's cells, a column of a usual name, the one that `source_key` names, or the only one of bytes."""
    assert ids(write(tmp_path / "t.parquet", columns), **options) == expected


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"a": [b"1"], "b": [b"2"]}, MetadataError, 'columns a, b hold bytes; say which are pictures: source_key = "'),
        (
            {"photo": [b"1"]},
            SourceError,
            r'row 1: its picture has no path to be known by; .* id = "{column}".* "{row}"',
        ),
        (
            {"image": [{"bytes": b"1", "path": "x"}, {"bytes": b"2", "path": "x"}]},
            MetadataError,
            "image 'x' stands in rows 1 and 2; .* id =",
        ),
        (
            {"image": [{"bytes": b"1", "path": "x"}, {"bytes": b"2", "path": None}]},
            SourceError,
            "row 2: its picture has no path",
        ),
    ],
)
def test_pictures_that_can_not_be_named_are_told(
    tmp_path: Path, columns: dict[str, list[Any]], error: type[Exception], message: str
) -> None:
    """The error names the rows or the columns, and the key that settles it."""
    with pytest.raises(error, match=message):
        ids(write(tmp_path / "t.parquet", columns))


def reader(file: Path, rows: list[int], column: str = "data") -> Cells:
    """Cells of these rows."""
    return Cells(os.fsencode(file), Stamp.of(file.stat()), column, np.array(rows, np.int64))


@pytest.mark.parametrize("group", [1, 7, 1000])
def test_cells_are_right_in_any_order(tmp_path: Path, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ascending, backwards, at random or twice, a few of them or all, from many threads, in row groups of any size."""
    monkeypatch.setattr(cells, "_ROWS_AT_ONCE", 4)
    values = [None if number == 5 else b"%d" % number for number in range(300)]
    file = write(tmp_path / "t.parquet", {"data": values}, group=group)
    shuffled = random.Random(1).sample(range(300), 300)
    for rows in (list(range(300)), list(range(0, 300, 17)), shuffled[:50], shuffled):
        inputs = reader(file, rows)
        expected = [values[row] or b"" for row in rows]
        assert [inputs.read(number).data for number in range(len(inputs))] == expected
        assert [inputs.read(number).data for number in reversed(range(len(inputs)))] == expected[::-1]
        with ThreadPoolExecutor(8) as pool:
            assert [one.data for one in pool.map(inputs.read, range(len(inputs)))] == expected
        assert pickle.loads(pickle.dumps(inputs)).read(0).data == expected[0]  # noqa: S301 (its own)


def test_each_part_of_a_table_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in order by threads that overtake one another, no row group is begun twice, and what is kept is bounded."""
    begun: list[int] = []
    real = cells._Reader.seek

    def seek(self: Any, row: int) -> None:
        before = self._batches
        real(self, row)
        begun.extend([row] if self._batches is not before else [])

    monkeypatch.setattr(cells._Reader, "seek", seek)
    file = write(tmp_path / "t.parquet", {"data": [b"%d" % number for number in range(2000)]}, group=500)
    inputs = reader(file, list(range(0, 2000, 3)))
    with ThreadPoolExecutor(8) as pool:
        found = [one.data for one in pool.map(inputs.read, range(len(inputs)))]
    assert found == [b"%d" % number for number in range(0, 2000, 3)]
    assert len(begun) <= 4
    assert not inputs._passed


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_table_that_vanishes_is_told_in_its_own_words(tmp_path: Path) -> None:
    """The pictures can't be read, and nothing else is complained about."""
    file = write(tmp_path / "t.parquet", {"data": [b"x"] * 3})
    inputs = reader(file, [0, 1, 2])
    file.unlink()
    with pytest.raises(FileNotFoundError, match="No such file"):
        inputs.read(0)
    gc.collect()


def test_a_table_that_changes_while_it_is_read_gives_nothing(tmp_path: Path) -> None:
    """Rows of another table are never taken for those that were scanned, nor is one that is cut off."""
    file = write(tmp_path / "t.parquet", {"data": [b"%d" % number for number in range(9)]})
    inputs = reader(file, list(range(9)))
    write(file, {"data": [b"x"] * 12}, at=_LONG_AGO + 1)
    with pytest.raises(OSError, match="its file changed after it had been scanned"):
        inputs.read(0)
    whole = write(file, {"data": [os.urandom(1000) for number in range(9)]}).read_bytes()
    # The header of the first page, behind the magic number.
    file.write_bytes(whole[:4] + bytes(20) + whole[24:])
    with pytest.raises(OSError, match="of its table can't be decoded"):
        [reader(file, list(range(9))).read(number) for number in range(9)]
