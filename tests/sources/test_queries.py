"""Queries of folders, archives and tables: by what they search, what they are called, and what is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpve.errors import FpveError
from fpve.sources.queries import QuerySource, read_queries


def write(path: Path, columns: dict[str, Any]) -> Path:
    """Write columns as a table of the file's kind."""
    table = pa.table(columns)
    if path.suffix == ".parquet":
        # Several row groups, which are no parts of queries.
        pq.write_table(table, path, row_group_size=2)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()), encoding="utf-8")
    else:
        lines = [",".join(table.column_names)]
        lines += [",".join("" if one is None else str(one) for one in row.values()) for row in table.to_pylist()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(source: QuerySource) -> list[bytes]:
    """The bytes of all pictures."""
    return [source.inputs.read(int(at)).data for at in np.flatnonzero(source.pictured)]


def test_pictures_of_a_folder(pictures: Path) -> None:
    """Every picture is a query, called by its relative path; sidecar tables are none."""
    found = read_queries(pictures)
    assert found.kinds == ("pictures",)
    assert found.names.to_pylist()[:2] == ["bird/02.png", "bird/05.png"]
    assert read(found) == [(pictures / name).read_bytes() for name in found.names.to_pylist()]
    assert len(found) == 12


def test_pictures_of_an_archive(pictures: Path, tmp_path: Path) -> None:
    """The members of a .tar are queries as well."""
    with tarfile.open(tmp_path / "queries.tar", "w") as tar:
        tar.add(pictures / "cat", "cat")
    found = read_queries(tmp_path / "queries.tar")
    assert found.names.to_pylist()[0] == "queries.tar/cat/00.png"
    assert read(found)[0] == (pictures / "cat/00.png").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_texts_in_the_order_of_the_table(tmp_path: Path, suffix: str) -> None:
    """A column text; queries are called by their rows, and what is blank is no text."""
    found = read_queries(write(tmp_path / f"q.{suffix}", {"text": ["zebra", " ", " a cat "]}))
    assert (found.kinds, found.names.to_pylist()) == (("texts",), ["0", "1", "2"])
    assert found.texts.to_pylist() == ["zebra", None, "a cat"]
    assert not found.pictured.any()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("key", ["path", "file_name", "image"])
def test_paths_and_texts(pictures: Path, suffix: str, key: str) -> None:
    """Paths are relative to the table or absolute; a row may lack either; an id names the query."""
    columns = {
        "id": ["07", "x", "y", "z"],
        key: ["cat/00.png", str(pictures / "dog/01.png"), None, "nowhere.png"],
        "text": ["one", None, "three", "four"],
    }
    found = read_queries(write(pictures / f"q.{suffix}", columns))
    assert (found.kinds, found.names.to_pylist()) == (("pictures", "texts"), ["07", "x", "y", "z"])
    assert found.pictured.tolist() == [True, True, False, True]
    assert found.texts.to_pylist() == ["one", None, "three", "four"]
    assert found.inputs.read(1).data == (pictures / "dog/01.png").read_bytes()
    with pytest.raises(FileNotFoundError):
        found.inputs.read(3)
    del columns["id"]
    found = read_queries(write(pictures / f"q.{suffix}", columns))
    assert found.names.to_pylist() == ["cat/00.png", str(pictures / "dog/01.png"), "2", "nowhere.png"]


@pytest.mark.parametrize("struct", [False, True])
def test_pictures_in_cells(pictures: Path, tmp_path: Path, struct: bool) -> None:
    """A Parquet table may hold the pictures themselves, as bytes or as Hugging Face has them; an empty cell is none."""
    data = [(pictures / "cat/00.png").read_bytes(), None, (pictures / "cat/03.png").read_bytes()]
    names = ["a.png", "b.png", "c.png"]
    cells = [{"bytes": one, "path": name} for one, name in zip(data, names, strict=True)] if struct else data
    columns = {"image": cells, "text": ["x", "y", None]} | ({} if struct else {"file_name": names})
    found = read_queries(write(tmp_path / "q.parquet", columns))
    assert (found.kinds, found.names.to_pylist()) == (("pictures", "texts"), names)
    assert found.pictured.tolist() == [True, False, True]
    assert read(found) == [data[0], data[2]]
    found = read_queries(write(tmp_path / "q.parquet", {"image": cells[::2]}))
    assert found.names.to_pylist() == (["a.png", "c.png"] if struct else ["0", "1"])
    assert found.pictured.tolist() == [True, True]


@pytest.mark.parametrize("name", ["id", "image_id"])
def test_ids_of_the_store(tmp_path: Path, name: str) -> None:
    """A column image_id, or id where there is nothing else to search by, names images of the store, and the queries."""
    found = read_queries(write(tmp_path / "q.csv", {name: ["c/a.png", "c/b.png"], "year": [1, 2]}))
    assert (found.kinds, found.ids.to_pylist()) == (("ids",), ["c/a.png", "c/b.png"])
    assert found.names.to_pylist() == ["c/a.png", "c/b.png"]
    found = read_queries(write(tmp_path / "q.csv", {name: ["c/a.png"], "text": ["a cat"]}))
    assert (found.kinds, found.names.to_pylist()) == (("texts",), ["c/a.png"])


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_vectors_come_in_parts(tmp_path: Path, suffix: str) -> None:
    """Lists of numbers are read so many or fewer at a time, in order, whatever the row groups; null stays null."""
    rows = [[1.0, 2.0], [3.0, 4.0], None, [5.0], [6.0, 7.0]]
    found = read_queries(
        write(tmp_path / f"q.{suffix}", {"image_id": list("abcde"), "vector": rows, "path": ["x"] * 5})
    )
    assert (found.kinds, found.names.to_pylist()) == (("vectors",), list("abcde"))
    for size in (1, 2, 3, 100):
        parts = [part.to_pylist() for part in found.vectors(size)]
        assert [row for part in parts for row in part] == rows
        assert max(map(len, parts)) <= size


def test_a_table_of_nothing_but_vectors(tmp_path: Path) -> None:
    """Vectors of a fixed size, as DuckDB writes an array, and no other column: queries are called by their rows."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float32)), 2)
    found = read_queries(write(tmp_path / "q.parquet", {"vector": column}))
    assert found.names.to_pylist() == ["0", "1", "2"]
    assert [row for part in found.vectors(2) for row in part.to_pylist()] == [[0, 1], [2, 3], [4, 5]]


WRONG = [
    ("q.csv", {"query": ["a cat"]}, "q.csv: expected a column text, image_id, vector, or one of pictures or of their"),
    ("q.csv", {"vector": ["1 2 3"]}, "q.csv: expected lists of numbers in its column 'vector', found string"),
    ("q.parquet", {"vector": [["a"]]}, "expected lists of numbers in its column 'vector', found list<"),
    ("q.jsonl", {"text": [["a", "b"]]}, "expected texts in its column 'text', found list<"),
    (
        "q.csv",
        {"query_id": ["a", "a"], "text": ["x", "y"]},
        "query_id 'a' stands in rows 1 and 2; keep one of them, or ",
    ),
    ("q.csv", {"path": ["a.png", "a.png"]}, "path 'a.png' stands in rows 1 and 2; keep one of them, or name the queri"),
    ("q.csv", {"text": []}, "q.csv: expected one row a query, found no rows"),
    ("q.parquet", {"a": [b"1"], "b": [b"2"]}, "columns a, b hold bytes; leave out those that are no pictures"),
]


@pytest.mark.parametrize(("name", "columns", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_wrong_tables_are_refused(tmp_path: Path, name: str, columns: dict[str, Any], message: str) -> None:
    """What can't be searched by is said in one line."""
    with pytest.raises(FpveError) as caught:
        read_queries(write(tmp_path / name, columns))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_sources_are_refused(tmp_path: Path) -> None:
    """A table, a folder and a file of another kind that are not there, empty, or nothing to search by."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("x")
    for name, message in (
        ("missing.csv", "missing.csv: no such table"),
        ("missing", "missing: no such folder"),
        ("empty", "the folder is empty"),
        ("note.txt", "expected a folder of pictures, a .tar archive or a table"),
    ):
        with pytest.raises(FpveError, match=message):
            read_queries(tmp_path / name)
