"""Copies of pages: written with them, checked by what they say, and never needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

import fpve
from fpve.config import Job
from fpve.store import copies, pages
from fpve.store import manifest as manifests
from fpve.store.manifest import Page
from fpve.store.schema import Column, page_schema

Tree = Callable[[Path], dict[str, bytes]]
COLUMNS = (Column("price", "float64"), Column("sizes", "list<float64>"))


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """A page of three rows in a store of its own, whose prices and sizes are numbers, nulls and NaN."""
    values = {
        "image_id": ["c/a", "c/b", "c/c"],
        "collection": ["c"] * 3,
        "path": ["a", "b", "c"],
        "segment": ["s"] * 3,
        "row": [0, 1, 2],
        "price": [1.5, None, np.nan],
        "sizes": [[1.0, None], None, [np.nan]],
    }
    schema = page_schema(COLUMNS)
    rows = pa.table([values.get(field.name, [None] * 3) for field in schema], schema=schema)
    (found,) = pages.write_pages(tmp_path, "c", rows, ())
    return found


def copy_of(root: Path, page: Page) -> Path:
    """Where the copy of a page is."""
    return root / page.file.path.replace(".parquet", ".arrow")


def rewrite(root: Path, page: Page, change: Callable[[pa.Table], pa.Table]) -> None:
    """Put other rows into a copy, with the right checksum."""
    copy = copy_of(root, page)
    with ipc.open_file(copy) as reader:
        rows = change(reader.read_all())
    with ipc.new_file(str(copy), rows.schema) as writer:
        writer.write_table(rows)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    copy.with_name(copy.name + ".sha256").write_text(f"{digest}  {copy.name}\n")


def with_values(name: str, values: list[object], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    """Puts other values into a column."""

    def change(rows: pa.Table) -> pa.Table:
        at = rows.schema.get_field_index(name)
        field = rows.schema.field(at)
        field = field if kind is None else field.with_type(kind)
        return rows.set_column(at, field, pa.array(values, field.type))

    return change


def test_a_copy_holds_the_rows_of_its_page(tmp_path: Path, page: Page) -> None:
    """It opens in anything that reads Arrow, and `sha256sum -c` takes its checksum."""
    copy = copy_of(tmp_path, page)
    with ipc.open_file(copy) as reader:
        rows = reader.read_all()
    assert rows.num_rows == 3
    assert rows.column_names == page_schema(COLUMNS).names
    assert rows["image_id"].to_pylist() == ["c/a", "c/b", "c/c"]
    checksum = copy.with_name(copy.name + ".sha256").read_text()
    assert checksum == f"{hashlib.sha256(copy.read_bytes()).hexdigest()}  {copy.name}\n"
    assert page.copy == tuple(str(copy.relative_to(tmp_path)) + end for end in ("", ".sha256"))
    mapped = copies.open_copy(tmp_path, page)
    assert mapped is not None
    assert mapped["price"].to_pylist()[:2] == [1.5, None]
    assert copies.check_copy(tmp_path, page) is None


def test_writing_it_again_gives_the_same_bytes(tmp_path: Path, page: Page, tree: Tree) -> None:
    """A copy is made of the page alone."""
    before = tree(tmp_path)
    copies.write_copy(tmp_path, page)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("price", [1.5, None, 2.5]),
        ("price", [1.5, 0.0, np.nan]),
        ("sizes", [[1.0, None], None, [np.inf]]),
        ("sizes", [[1.0], None, [None, np.nan]]),
        ("image_id", ["c/a", "c/x", "c/c"]),
    ],
)
def test_a_copy_of_other_values_is_found(tmp_path: Path, page: Page, name: str, values: list[object]) -> None:
    """Though its checksum is right, and readers can't see it: `verify` compares every value."""
    rewrite(tmp_path, page, with_values(name, values))
    assert copies.check_copy(tmp_path, page) == "its rows are not those of its page"
    assert copies.open_copy(tmp_path, page) is not None


@pytest.mark.parametrize(
    "change",
    [
        with_values("image_id", ["c/a", "c/b", "c/d"]),
        with_values("content_hash", [None, None, None], pa.int64()),
        lambda rows: rows.drop_columns("row"),
        lambda rows: rows.drop_columns("sizes"),
        lambda rows: rows.rename_columns(["pric" if one == "price" else one for one in rows.column_names]),
        lambda rows: rows.slice(1),
        lambda rows: rows.replace_schema_metadata(None),
        lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(1)]),
    ],
    ids=["another image", "another type", "no row", "no column", "another name", "two rows", "no names", "two batches"],
)
def test_readers_take_no_copy_of_another_shape(
    tmp_path: Path, page: Page, change: Callable[[pa.Table], pa.Table]
) -> None:
    """Though its checksum is right."""
    rewrite(tmp_path, page, change)
    assert copies.check_copy(tmp_path, page) == "it is no copy of its page"
    assert copies.open_copy(tmp_path, page) is None


def test_what_is_not_there_is_no_problem(tmp_path: Path, page: Page) -> None:
    """A copy may be missing, and one of an earlier version is; a copy without a checksum can't be checked."""
    copy = copy_of(tmp_path, page)
    checksum = copy.with_name(copy.name + ".sha256")
    line = checksum.read_bytes()
    checksum.unlink()
    assert copies.check_copy(tmp_path, page) == f"{checksum.name} is missing"
    checksum.write_bytes(line[1:])
    assert copies.check_copy(tmp_path, page) == "it or its checksum has changed"
    copy.unlink()
    assert copies.check_copy(tmp_path, page) is None
    assert copies.open_copy(tmp_path, page) is None
    assert not copies.is_there(tmp_path, page)


@pytest.mark.parametrize("call", ["replace", "write_text"])
def test_a_writer_that_fails_leaves_no_copy_that_cannot_be_checked(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The checksum comes first: without a copy it says nothing, and a copy without it could not be checked."""
    copy = copy_of(tmp_path, page)
    copy.unlink()
    real = getattr(Path, call)

    def fail(path: Path, argument: object) -> object:
        if call == "write_text" or argument == copy:
            raise OSError("the disk is full")
        return real(path, argument)

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, fail)
        with pytest.raises(OSError, match="the disk is full"):
            copies.write_copy(tmp_path, page)
    assert sorted(path.suffix for path in copy.parent.iterdir()) == [".parquet", ".sha256"]
    assert copies.check_copy(tmp_path, page) is None
    copies.write_copy(tmp_path, page)
    assert copies.is_there(tmp_path, page)


def test_a_night_copies_the_page_that_it_writes(
    job: Job, pictures: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three pages one changes: one copy and its checksum are written, and the bytes are in the report."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 4)
    fpve.run(job)
    before = tree(job.store / "images")
    table = (pictures / "metadata.csv").read_text()
    (pictures / "metadata.csv").write_text(table.replace("cat/03.png,,cat,3.50", "cat/03.png,,cat,4.50"))
    report = fpve.run(job)
    fresh = {name: data for name, data in tree(job.store / "images").items() if name not in before}
    assert sorted(name.partition(".")[2] for name in fresh) == ["arrow", "arrow.sha256", "parquet"]
    assert report.bytes_written["images"] == sum(map(len, fresh.values()))


def test_a_store_without_copies_is_whole(job: Job, pictures: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of an earlier version answers as before; the next run copies the pages that it takes over, too."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 4)
    fpve.run(job)
    whole = tree(job.store / "images")
    expected = fpve.open(job.store).images
    for name in whole:
        if ".arrow" in name:
            (job.store / "images" / name).unlink()
    store = fpve.open(job.store)
    assert store.images.equals(expected)
    assert store.search(id="pets/cat/00.png", k=1)[0].image_id
    assert fpve.verify(job.store).ok
    (pictures / "dog/01.png").unlink()
    fpve.run(job)
    found = tree(job.store / "images")
    taken_over = [name for name in whole if name in found]
    assert len(taken_over) == 6 + 1  # two pages that did not change, with copies and checksums; and one that did
    assert {name: found[name] for name in taken_over} == {name: whole[name] for name in taken_over}
    made = manifests.load(job.store).collections[0].pages
    assert all(copies.check_copy(job.store, page) is None and copies.is_there(job.store, page) for page in made)
