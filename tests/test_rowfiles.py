"""Rows as files: each format reads back as it was written, in parts, and a failure leaves what was there."""

from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fpve
from fpve.config import Job
from fpve.errors import QueryError
from fpve.rowfiles import check_target, kind_of, write_rows

ROWS = pa.table(
    {
        "name": ["a,b", None, 'say "hé"', "d"],
        "score": pa.array([1.0, float("nan"), None, 0.25], pa.float32()),
        "tags": [["x", "y"], [], None, ["z"]],
        "at": [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, None, None],
    }
)
PARTS = [ROWS.slice(0, 1), ROWS.slice(1, 0), ROWS.slice(1, 3)]
PLAIN = [
    {"name": "a,b", "score": 1.0, "tags": ["x", "y"], "at": "2026-01-02T03:04:05+00:00"},
    {"name": None, "score": None, "tags": [], "at": None},
    {"name": 'say "hé"', "score": None, "tags": None, "at": None},
    {"name": "d", "score": 0.25, "tags": ["z"], "at": None},
]


def test_every_format_reads_back(tmp_path: Path) -> None:
    """Parquet is the rows themselves; JSON and JSON Lines have plain values; CSV has lists as JSON."""
    for name in ("x.parquet", "x.json", "x.jsonl", "x.csv"):
        write_rows(tmp_path / name, ROWS.schema, PARTS)
    assert pq.read_table(tmp_path / "x.parquet").drop_columns("score") == ROWS.drop_columns("score")
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == PLAIN
    # As the command line prints an array.
    assert text == json.dumps(PLAIN, ensure_ascii=False, indent=1) + "\n"
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == PLAIN
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a,b", "", 'say "hé"', "d"]
    assert [row["tags"] for row in rows] == ['["x", "y"]', "[]", "", '["z"]']
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.json", "x.jsonl", "x.parquet"]


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl", "csv"])
def test_no_rows_are_a_whole_file(tmp_path: Path, kind: str) -> None:
    """A result without rows is a file that says so, whatever it is called."""
    path = tmp_path / "rows"
    write_rows(path, ROWS.schema, [], kind=kind)
    content = path.read_bytes()
    if kind == "parquet":
        assert pq.read_table(path) == ROWS.slice(0, 0)
    else:
        expected = {"json": b"[]\n", "jsonl": b"", "csv": b"name,score,tags,at\n"}
        assert content.replace(b'"', b"") == expected[kind]


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl", "csv"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    """A file is replaced by a whole one only: if the rows fail half-way, it is what it was, with nothing beside it."""

    def parts() -> Iterator[pa.Table]:
        yield ROWS
        raise RuntimeError("half-way")

    path = tmp_path / f"x.{kind}"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="half-way"):
        write_rows(path, ROWS.schema, parts())
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(path.name, "before")]


def test_links_and_pipes_stay_what_they_are(tmp_path: Path) -> None:
    """Behind a link its target is replaced; into a pipe rows are written as they come."""
    (tmp_path / "real.jsonl").write_text("before")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    write_rows(tmp_path / "link.jsonl", ROWS.schema, PARTS)
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text(encoding="utf-8").splitlines()) == 4
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text(encoding="utf-8")))
    thread.start()
    write_rows(tmp_path / "pipe", ROWS.schema, PARTS, kind="jsonl")
    thread.join()
    assert len(read[0].splitlines()) == 4


def test_names_that_say_nothing_are_refused(tmp_path: Path) -> None:
    """An unknown extension and a missing folder are errors that say what is expected."""
    assert kind_of(Path("x.NDJSON")) == "jsonl"
    assert kind_of(Path("x.txt")) is None
    with pytest.raises(QueryError, match=r"x.txt: expected .parquet, .csv, .json, .jsonl, .ndjson, found '.txt'"):
        write_rows(tmp_path / "x.txt", ROWS.schema, PARTS)
    with pytest.raises(QueryError, match=r"x.csv: no such folder: .*missing"):
        write_rows(tmp_path / "missing" / "x.csv", ROWS.schema, PARTS)
    with pytest.raises(QueryError, match=f"^{tmp_path}: expected a file to write, found a folder$"):
        write_rows(tmp_path, ROWS.schema, PARTS, kind="csv")
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_store_are_not_written_over(job: Job) -> None:
    """Whatever writes rows or pages refuses the paths of a store's own files, and takes others in its folder."""
    fpve.run(job)
    page = next(job.store.glob("images/pets/*.parquet"))
    before = page.read_bytes()
    for path in (page, job.store / "saved" / "mine.parquet", job.store / "snapshots" / "00000000000000000009.json"):
        path.parent.mkdir(exist_ok=True)
        with pytest.raises(QueryError, match="expected a file outside of stores"):
            check_target(path)
    assert page.read_bytes() == before
    check_target(job.store / "rows.csv")
