"""Pages: a small change rewrites little."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fpve.store import pages
from fpve.store.manifest import Page
from fpve.store.schema import Column, page_schema

COLUMNS = (Column("label", "string"),)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of ten rows, so that a test has several."""
    monkeypatch.setattr(pages, "PAGE_ROWS", 10)


def rows(numbers: list[int], **labels: str) -> pa.Table:
    """Image rows of these numbers; `n7="x"` labels row 7."""
    ids = [f"c/{number:03d}" for number in numbers]
    values = {
        "image_id": ids,
        "collection": ["c"] * len(ids),
        "path": [f"{number:03d}" for number in numbers],
        "segment": ["s"] * len(ids),
        "row": numbers,
        "label": [labels.get(f"n{number}") for number in numbers],
    }
    schema = page_schema(COLUMNS)
    arrays = [
        pa.array(values[field.name], field.type) if field.name in values else pa.nulls(len(ids), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def written_and_read(root: Path, table: pa.Table, old: tuple[Page, ...] = ()) -> tuple[Page, ...]:
    """Write rows, and check that the pages hold exactly them, in order, none of them too long."""
    made = pages.write_pages(root, "c", table, old)
    assert pages.read_pages(root, made, COLUMNS).equals(table)
    assert all(0 < page.rows <= 10 for page in made)
    assert [(page.first, page.last) for page in made] == sorted((page.first, page.last) for page in made)
    return made


def test_one_changed_label_rewrites_one_page(tmp_path: Path) -> None:
    """Of 100 rows in ten pages, a new label changes one page and leaves nine."""
    first = written_and_read(tmp_path, rows(list(range(100))))
    before = {page.file.path: (tmp_path / page.file.path).stat().st_ino for page in first}
    second = written_and_read(tmp_path, rows(list(range(100)), n42="new"), first)
    # The other nine are the very same files: not even written again with the same content.
    assert sum((tmp_path / page.file.path).stat().st_ino == before.get(page.file.path) for page in second) == 9
    assert len(first) == len(second) == 10
    assert len(set(first) - set(second)) == 1


def test_rows_that_come_and_go_touch_their_own_page(tmp_path: Path) -> None:
    """Inserting and removing rows rewrites the pages they fall into; a page that gets too long is halved."""
    even = list(range(0, 200, 2))
    first = written_and_read(tmp_path, rows(even))
    second = written_and_read(tmp_path, rows(sorted([*even, 51])), first)
    assert len(second) == 11
    assert len(set(second) - set(first)) == 2
    third = written_and_read(tmp_path, rows([number for number in even if number != 150]), first)
    assert len(set(third) - set(first)) == 1
    before = written_and_read(tmp_path, rows([-1 + 1, *even[1:]]), first)
    assert before == first


def test_a_whole_page_can_vanish(tmp_path: Path) -> None:
    """Removing all rows of a page leaves no empty page behind; removing all rows leaves none at all."""
    first = written_and_read(tmp_path, rows(list(range(30))))
    assert written_and_read(tmp_path, rows([*range(10), *range(20, 30)]), first) == (first[0], first[2])
    assert pages.write_pages(tmp_path, "c", rows([]), first) == ()


def test_a_page_of_an_older_schema_is_read_with_nulls(tmp_path: Path) -> None:
    """A column that came later is null in pages that were written before it."""
    made = written_and_read(tmp_path, rows([1, 2], n1="x"))
    wider = (*COLUMNS, Column("price", "float64"))
    found = pages.read_pages(tmp_path, made, wider)
    assert found["price"].to_pylist() == [None, None]
    assert found["label"].to_pylist() == ["x", None]
