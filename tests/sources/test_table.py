"""A table of paths as a source: what its images are called, what changes mean, and what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import draw, make_job

import fpve
from fpve.config import CollectionConfig, Job, Limits
from fpve.errors import FpveError, GuardError, JobError, MetadataError, SourceError, SourceNotFound
from fpve.pipeline.report import RunReport
from fpve.sources.source import scan_source
from fpve.store.snapshot import Snapshot

Tree = Callable[[Path], dict[str, bytes]]
# Long before any test: what a scan may rely on.
_LONG_AGO = 1_600_000_000


def settle(*paths: Path) -> None:
    """Give files a time that proves something."""
    for path in paths:
        os.utime(path, (_LONG_AGO, _LONG_AGO))


def write(file: Path, *rows: str) -> Path:
    """A CSV of these lines, long ago."""
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    settle(file)
    return file


def scan(file: Path, **options: object) -> list[dict[str, object]]:
    """What a scan of a source finds."""
    return scan_source(CollectionConfig("c", file, **options)).files.to_pylist()


def ids(file: Path, **options: object) -> list[object]:
    """image_ids that a scan finds."""
    return [row["image_id"] for row in scan(file, **options)]


def counts(report: RunReport) -> tuple[int, ...]:
    """New, moved, changed, another prefix, other metadata, unchanged, removed."""
    names = ("new", "moved", "changed", "prefix_changed", "metadata_changed", "unchanged", "removed")
    return tuple(getattr(report, name) for name in names)


def rows(job: Job) -> dict[str, dict[str, object]]:
    """Image rows by id."""
    return {row["image_id"]: row for row in fpve.open(job.store).images.to_pylist()}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten pictures in two folders, and a CSV beside them that names them with a caption and a price."""
    lines = ["path,sku,caption,price"]
    for number in range(10):
        path = f"shots/{'cat' if number % 2 else 'dog'}/{number}.png"
        draw(tmp_path / "data" / path, number)
        settle(tmp_path / "data" / path)
        lines.append(f"{path},{number:03d},text {number},{number}.50")
    return write(tmp_path / "data/table.csv", *lines)


@pytest.fixture
def job(tmp_path: Path, table: Path) -> Job:
    """A job over the table."""
    return make_job(tmp_path / "store", table, metadata=None)


def test_a_table_is_its_own_metadata(job: Job, table: Path) -> None:
    """Paths are relative to the table, the other columns are metadata, and full paths can be opened."""
    report = fpve.run(job)
    assert (report.encoded, report.quarantined, report.without_metadata) == (10, 0, 0)
    row = rows(job)["pets/shots/cat/3.png"]
    assert (row["sku"], row["caption"], row["price"], row["prefix"]) == ("003", "text 3", 3.5, "text 3")
    assert row["path"] == str(table.parent / "shots/cat/3.png")
    assert Snapshot.open(job.store).manifest.collections[0].source == str(table)


def test_a_night_without_changes_reads_nothing(job: Job, tree: Tree) -> None:
    """The same table and the same files cost no reading, and nothing is published."""
    fpve.run(job)
    before = tree(job.store / "snapshots") | tree(job.store / "images") | tree(job.store / "state/scan")
    report = fpve.run(job)
    assert (counts(report), report.bytes_to_read, report.published) == ((0, 0, 0, 0, 0, 10, 0), 0, False)
    assert tree(job.store / "snapshots") | tree(job.store / "images") | tree(job.store / "state/scan") == before


def test_rows_and_files_change_by_themselves(job: Job, table: Path) -> None:
    """A new price reads no picture, a new picture reads itself, a row that is gone removes its image."""
    fpve.run(job)
    text = table.read_text().replace("003,text 3,3.50", "003,text 3,9.50")
    table.write_text("\n".join(line for line in text.splitlines() if "/5.png" not in line) + "\n")
    report = fpve.run(job)
    assert (counts(report), report.bytes_to_read) == ((0, 0, 0, 0, 1, 8, 1), 0)
    draw(table.parent / "shots/dog/0.png", 100)
    draw(table.parent / "shots/new.png", 101)
    with table.open("a") as file:
        file.write("shots/new.png,100,new,1.00\n")
    report = fpve.run(job)
    assert (counts(report), report.encoded) == ((1, 0, 1, 0, 0, 8, 0), 2)


def test_a_table_that_was_cut_off_removes_nothing(job: Job, table: Path, tree: Tree) -> None:
    """Rows that are gone count for max_removed, whatever files there are."""
    fpve.run(job)
    before = tree(job.store / "snapshots")
    table.write_text("\n".join(table.read_text().splitlines()[:6]) + "\n")
    with pytest.raises(GuardError, match=r"5 of 10 images are gone from .*table\.csv.* --allow-removals"):
        fpve.run(job)
    assert tree(job.store / "snapshots") == before
    assert fpve.run(job, allow_removals=True).removed == 5


def test_a_row_without_its_file_keeps_its_image(job: Job, table: Path) -> None:
    """The row says that there is a picture: it is in quarantine until the file is back, and its image as it was."""
    fpve.run(job)
    away = table.parent / "shots/cat/3.png"
    away.rename(table.parent / "away")
    write(table.parent / "table.csv", *table.read_text().splitlines(), "shots/never.png,999,none,1.00")
    limits = Limits(max_quarantine=2)
    report = fpve.run(replace(job, limits=limits))
    assert (report.removed, report.quarantined, report.unchanged, "pets/shots/cat/3.png" in rows(job)) == (
        0,
        2,
        10,
        True,
    )
    reasons = {row["path"]: row["reason"] for row in Snapshot.open(job.store).table("quarantine").to_pylist()}
    assert reasons == {
        "shots/cat/3.png": "can't be read: No such file or directory; kept as it was",
        "shots/never.png": "can't be read: No such file or directory",
    }
    (table.parent / "away").rename(away)
    assert fpve.run(replace(job, limits=limits)).quarantined == 1


def test_files_that_are_all_gone_are_an_unmounted_disk(job: Job, table: Path, tree: Tree) -> None:
    """Nothing is published, not even with removals allowed: the table says that there are pictures."""
    fpve.run(job)
    before = tree(job.store / "snapshots")
    shutil.rmtree(table.parent / "shots")
    with pytest.raises(SourceNotFound, match=r"none of the 10 files that it names is there, the first is 'shots/cat"):
        fpve.run(job, allow_removals=True)
    table.unlink()
    with pytest.raises(SourceNotFound, match="no such table; is its disk mounted"):
        fpve.run(job, allow_removals=True)
    assert tree(job.store / "snapshots") == before


def test_a_table_that_moves_with_its_files_is_the_same(job: Job, table: Path) -> None:
    """Files are read once more, for nobody knows them there; no id changes and nothing is encoded."""
    fpve.run(job)
    moved = table.parent.rename(table.parent.with_name("elsewhere")) / "table.csv"
    report = fpve.run(make_job(job.store, moved, metadata=None))
    assert (counts(report), report.encoded, report.bytes_to_read > 0) == ((0, 0, 0, 0, 0, 10, 0), 0, True)
    assert rows(job)["pets/shots/cat/3.png"]["path"] == str(moved.parent / "shots/cat/3.png")
    assert fpve.run(make_job(job.store, moved, metadata=None)).bytes_to_read == 0


@pytest.mark.parametrize("suffix", [".tsv", ".parquet", ".jsonl", ".json"])
def test_every_format_is_a_source(tmp_path: Path, table: Path, suffix: str) -> None:
    """The same rows are the same images, whichever file they come in."""
    found = [dict(zip(("path", "sku"), line.split(",")[:2], strict=True)) for line in table.read_text().split()[1:]]
    found = [row for row in found if row["path"].endswith(".png")]
    file = table.with_suffix(suffix)
    if suffix == ".tsv":
        file.write_text("path\tsku\n" + "".join(f"{row['path']}\t{row['sku']}\n" for row in found))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(found), file)
    elif suffix == ".jsonl":
        file.write_text("\n".join(map(json.dumps, found)))
    else:
        file.write_text(json.dumps(found))
    assert ids(file) == ids(table)


def test_a_link_to_a_table_is_that_table(tmp_path: Path, table: Path) -> None:
    """Its files are beside the link, or else beside what it leads to."""
    (tmp_path / "links").mkdir()
    link = tmp_path / "links/table.csv"
    link.symlink_to(table)
    assert ids(link) == ids(table)
    draw(tmp_path / "links/shots/cat/1.png", 1)
    settle(tmp_path / "links/shots/cat/1.png")
    assert scan_source(CollectionConfig("c", link)).folder == tmp_path / "links"


def test_bytes_in_a_table_of_paths_are_not_read(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of bytes that are no pictures is neither read nor metadata, and folders make no columns."""
    file = table.parent / "shots/year=2020/t.parquet"
    file.parent.mkdir()
    draw(file.parent / "a.png", 1)
    pq.write_table(pa.table({"path": ["a.png"], "sha": [b"x"], "n": [1]}), file)
    read: list[object] = []
    real = pq.ParquetFile.read
    monkeypatch.setattr(pq.ParquetFile, "read", lambda self, names: read.extend(names) or real(self, names))
    found = scan_source(CollectionConfig("c", file))
    assert (read, found.metadata.columns.column_names) == (["path", "n"], ["n"])


def test_ids_of_paths_that_lead_elsewhere_are_sane(tmp_path: Path, table: Path) -> None:
    """Absolute paths and `..` are allowed, but no id begins with `/` or has a `..` in it."""
    draw(tmp_path / "beside/a.png", 50)
    draw(tmp_path / "data/u\u0308.png", 51)
    lines = ["../beside/a.png", f"{tmp_path}/beside/a.png", f"{table.parent}/shots/cat/1.png", ".//shots/./dog/0.png"]
    file = write(table.parent / "odd.csv", "path", *lines, "shots/x/../cat/3.png", "\u00fc.png")
    found = {row["path"]: row["image_id"] for row in scan(file)}
    assert found == {
        "../beside/a.png": "c/beside/a.png",
        f"{tmp_path}/beside/a.png": f"c{tmp_path}/beside/a.png",
        f"{table.parent}/shots/cat/1.png": "c/shots/cat/1.png",
        "shots/./dog/0.png": "c/shots/dog/0.png",
        "shots/x/../cat/3.png": "c/shots/cat/3.png",
        # As it can be opened.
        "u\u0308.png": "c/\u00fc.png",
    }


def test_include_and_exclude_choose_rows(table: Path) -> None:
    """Globs are over paths as image_ids have them; rows that are left out need no file."""
    assert ids(table, include=("shots/cat/*",)) == [f"c/shots/cat/{number}.png" for number in (1, 3, 5, 7, 9)]
    assert ids(table, exclude=("*/dog/*", "**/1.png")) == [f"c/shots/cat/{number}.png" for number in (3, 5, 7, 9)]
    with pytest.raises(SourceError, match="no picture is left by include and exclude"):
        ids(table, include=("nothing/*",))


def test_a_label_from_folders(job: Job) -> None:
    """`label_from = "folder"` takes the folder that the path names."""
    config = replace(job.collections[0], label_from="folder", prefix="a {folder}, {stem}")
    fpve.run(replace(job, collections=(config,)))
    row = rows(job)["pets/shots/cat/3.png"]
    assert (row["label"], row["prefix"]) == ("cat", "a cat, 3")


def test_files_that_are_not_there_are_counted(table: Path) -> None:
    """`fpve check` says so before a run puts them in quarantine."""
    file = write(table.parent / "some.csv", "path", "shots/cat/1.png", "gone/1.png", "gone/2.png")
    assert scan_source(CollectionConfig("c", file)).missing == 2
    assert scan_source(CollectionConfig("c", table)).missing == 0


def test_what_is_no_file_is_skipped(tmp_path: Path, table: Path) -> None:
    """An empty cell, a folder and a fifo are told by row or path, and nothing hangs."""
    os.mkfifo(table.parent / "fifo.png")
    file = write(table.parent / "odd.csv", "path,x", "shots/cat/1.png,1", ",2", "shots/cat,3", "fifo.png,4")
    found = scan_source(CollectionConfig("c", file))
    assert found.files["image_id"].to_pylist() == ["c/shots/cat/1.png"]
    assert [(one.path, one.reason) for one in found.skipped] == [
        ("odd.csv, row 2", "its path is no path: the cell is empty"),
        ("fifo.png", "not a regular file"),
        ("shots/cat", "not a regular file"),
    ]


@pytest.mark.parametrize(
    ("lines", "options", "error", "message"),
    [
        (["path"], {}, SourceError, "expected one row a picture, found no rows"),
        (["a,b", "1,2"], {}, MetadataError, "expected a column of paths named path, .* source_key ="),
        (
            ["path,a", "x.png,1"],
            {"source_key": "pth"},
            MetadataError,
            r"no column 'pth' \(source_key\); did you mean 'p",
        ),
        (["path", "x.png", "x.png"], {}, MetadataError, "path 'x.png' stands in rows 1 and 2; .* id ="),
        (["path", "x.png", "../x.png"], {}, MetadataError, "path 'x.png' stands in rows 1 and 2"),
        (["path", "https://a.b/c.jpg"], {}, SourceError, "row 1: expected the path of a file in 'path', found 'https"),
        (["path,a", "x.png,1"], {"columns": ("b",)}, MetadataError, r"no column 'b' \(columns\)"),
        (["path,a", "x.png,1"], {"metadata": Path("m.csv")}, JobError, "whose own columns are the metadata; leave"),
    ],
)
def test_a_table_that_can_not_be_used_is_told(
    tmp_path: Path, lines: list[str], options: dict[str, object], error: type[FpveError], message: str
) -> None:
    """One line says which file and which row, what was expected, and the key that settles it."""
    file = write(tmp_path / "t.csv", *lines)
    with pytest.raises(error, match=message) as caught:
        scan(file, **options)
    assert "\n" not in str(caught.value)


def test_wide_tables_are_narrowed(job: Job, table: Path) -> None:
    """A column that a store can't hold, or calls its own, is an error until `columns` names those that are wanted."""
    file = table.with_name("wide.csv")
    write(file, "path,width,caption", "shots/cat/1.png,40,hello")
    wide = replace(job, collections=(replace(job.collections[0], source=file),))
    with pytest.raises(MetadataError, match=r"column 'width' is reserved by fpve; .* columns = \["):
        fpve.run(wide)
    fpve.run(replace(wide, collections=(replace(wide.collections[0], columns=("caption",)),)))
    assert rows(job)["pets/shots/cat/1.png"]["caption"] == "hello"


def test_another_file_of_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    """Where a column names the images, a row may be given another file: its path is looked at."""
    for number in range(2):
        draw(tmp_path / f"{number}.bmp", number)
        settle(tmp_path / f"{number}.bmp")
    file = write(tmp_path / "t.csv", "path,sku", "0.bmp,a", "1.bmp,b")
    job = make_job(tmp_path / "store", file, metadata=None, prefix=None, id="sku")
    fpve.run(job)
    before = rows(job)
    write(file, "path,sku", "1.bmp,a", "0.bmp,b")
    assert fpve.run(job).changed == 2
    after = rows(job)
    assert [after[one]["content_hash"] for one in ("pets/a", "pets/b")] == [
        before[one]["content_hash"] for one in ("pets/b", "pets/a")
    ]
    assert after["pets/a"]["path"] == str(tmp_path / "1.bmp")


def test_a_key_without_a_meaning_is_refused(tmp_path: Path, pictures: Path) -> None:
    """`source_key` of a folder, `metadata_key` and `columns` without metadata: each error names the remedy."""
    with pytest.raises(JobError, match=r"source_key names a column of a table, and .* leave it out"):
        scan_source(CollectionConfig("c", pictures, source_key="path"))
    with pytest.raises(JobError, match="metadata_key names a column of a metadata file, and there is none; add"):
        CollectionConfig("c", pictures, metadata_key="path")
    with pytest.raises(JobError, match="columns chooses among those of its metadata, but it has none"):
        fpve.run(make_job(tmp_path / "store", pictures, metadata=None, prefix=None, columns=("a",)))
