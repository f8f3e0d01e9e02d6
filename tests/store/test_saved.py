"""Saved results: tables under a name, beside the snapshots."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Done, command_here

import fpve
from fpve.config import Job
from fpve.errors import QueryError, StoreConflict, StoreCorrupt
from fpve.store.saved import read_saved


@pytest.fixture
def store(job: Job) -> fpve.Store:
    """A store of the twelve pictures."""
    fpve.run(job)
    return fpve.open(job.store)


def test_rows_are_kept_as_they_are(store: fpve.Store) -> None:
    """Hits and any Arrow table come back with their types, in the order of names, with what made them and when."""
    before = datetime.now(UTC)
    hits = store.search(id="pets/cat/00.png", k=3)
    store.save("Hits", hits)
    kinds = pa.table(
        {
            "words": pa.array([["a", None], None], pa.list_(pa.string())),
            "at": pa.array([datetime(2024, 5, 1, tzinfo=UTC), None], pa.timestamp("us", tz="UTC")),
            "which": pa.array([{"a": 1, "b": [1.5]}, None]),
            "word": pa.array(["x", "y"]).dictionary_encode(),
            "nothing": pa.nulls(2),
        }
    )
    store.save("every_1", kinds.replace_schema_metadata({"pandas": "{}"}), command="fpve outliers --save every_1")
    assert read_saved(store.path, "HITS").equals(hits.to_arrow())
    back = read_saved(store.path, "every_1")
    assert back.equals(kinds)
    assert back.schema.metadata is None
    listed = store.saved().to_pylist()
    assert [(one["name"], one["rows"], one["snapshot"]) for one in listed] == [("every_1", 2, 1), ("hits", 3, 1)]
    assert [one["command"] for one in listed] == ["fpve outliers --save every_1", "Store.save"]
    assert listed[0]["columns"] == kinds.column_names
    assert before <= listed[1]["saved_at"] <= listed[0]["saved_at"] <= datetime.now(UTC)


def test_a_name_has_one_table(store: fpve.Store, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Saving again replaces, whatever the case of the name; removing leaves nothing, and no snapshot changes."""
    before = tree(store.path)
    store.save("mine", pa.table({"a": [1]}))
    store.save("MINE", pa.table({"b": [2, 3]}))
    assert read_saved(store.path, "Mine").to_pylist() == [{"b": 2}, {"b": 3}]
    assert [one.name for one in (store.path / "saved").iterdir()] == ["mine.parquet"]
    fpve.prune(store.path, keep=1, grace=timedelta(0))
    assert fpve.verify(store.path).ok
    assert store.saved()["name"].to_pylist() == ["mine"]
    store.remove_saved("Mine")
    assert len(store.saved()) == 0
    assert tree(store.path) == before


@pytest.mark.parametrize("name", ["", "1st", "a b", "a-b", "../a", "a/b", "a.parquet", "é", "a" * 64, "a\n", "\u212a"])
def test_names_are_those_of_sql(store: fpve.Store, name: str) -> None:
    """What SQL would not take without quotes is refused in one line, and nothing is written."""
    for call in (lambda: store.save(name, store.images), lambda: store.remove_saved(name)):
        with pytest.raises(QueryError, match=r"saved name: expected a letter or _, .*found") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (store.path / "saved").exists()
    store.save("_" * 63, pa.table({"a": [1]}))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (pa.table([[1], [2]], names=["a", "A"]), "expected columns of different names, found 'a' twice"),
        (pa.table({}), "expected a table with columns, found none"),
        (pa.table({"a": pa.array([None], pa.month_day_nano_interval())}), "cast the column"),
        (
            pa.table(
                {"a": pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])}
            ),
            "cast the column",
        ),
    ],
)
def test_tables_are_such_as_parquet_holds(store: fpve.Store, rows: pa.Table, reason: str) -> None:
    """Names that are there twice and types that Parquet lacks are refused in one line, and nothing is left."""
    with pytest.raises(QueryError, match=reason) as caught:
        store.save("mine", rows)
    assert "\n" not in str(caught.value)
    assert [path for path in store.path.glob("saved/*") if path.is_file()] == []


def test_what_is_missing_or_broken_is_told_when_it_is_asked_for(store: fpve.Store) -> None:
    """A damaged and a foreign file are listed by name alone; asked for, they are named with the remedy."""
    for name in ("hits", "torn", "foreign"):
        store.save(name, store.images)
    damaged, foreign = (store.path / f"saved/{name}.parquet" for name in ("torn", "foreign"))
    data = bytearray(damaged.read_bytes())
    data[200] ^= 1
    damaged.write_bytes(data)
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(StoreCorrupt, match=r"torn\.parquet.*save it again, or remove it with `fpve saved .* --remove"):
        read_saved(store.path, "torn")
    damaged.write_bytes(b"PAR1")
    with pytest.raises(StoreCorrupt, match=r"foreign\.parquet: expected a saved result.*--remove foreign"):
        read_saved(store.path, "foreign")
    with pytest.raises(QueryError, match=r"nothing is saved as 'hist'; did you mean 'hits'\?"):
        read_saved(store.path, "hist")
    assert [(one["name"], one["rows"]) for one in store.saved().to_pylist()] == [
        ("foreign", None),
        ("hits", 12),
        ("torn", None),
    ]
    store.remove_saved("torn")
    store.remove_saved("foreign")
    assert store.saved()["name"].to_pylist() == ["hits"]


def test_links_are_no_saved_rows(store: fpve.Store, tmp_path: Path) -> None:
    """A link is neither listed nor read; saving under its name replaces it, and not what it leads to."""
    outside = tmp_path / "outside.parquet"
    pq.write_table(pa.table({"a": [1]}), outside)
    before = outside.read_bytes()
    (store.path / "saved").mkdir()
    (store.path / "saved/mine.parquet").symlink_to(outside)
    assert len(store.saved()) == 0
    with pytest.raises(QueryError, match="nothing is saved as 'mine'"):
        read_saved(store.path, "mine")
    store.save("mine", pa.table({"b": [1]}))
    assert outside.read_bytes() == before
    assert read_saved(store.path, "mine").column_names == ["b"]
    store.remove_saved("mine")
    (store.path / "saved").rmdir()
    (store.path / "saved").symlink_to(tmp_path)
    with pytest.raises(StoreConflict, match="expected a folder of the store, found a link"):
        store.save("mine", pa.table({"b": [1]}))


def test_a_failed_write_leaves_what_was_there(store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the rows that had the name stay, and no temporary file does."""
    store.save("mine", pa.table({"a": [1]}))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        store.save("mine", pa.table({"a": [2]}))
    assert read_saved(store.path, "mine").to_pylist() == [{"a": 1}]
    assert [one.name for one in (store.path / "saved").iterdir()] == ["mine.parquet"]


def test_a_search_is_saved_from_the_command_line(store: fpve.Store, pictures: Path) -> None:
    """`--save` keeps hits, of one query and of many, with the command; `saved` lists them, and removes them."""

    def call(*words: object) -> Done:
        return command_here(words)

    done = call("search", store.path, "--id", "pets/cat/00.png", "-k", 2, "--save", "Cats", "-f", "json")
    assert done.stderr == f'saved 2 rows: `fpve sql {store.path} "SELECT * FROM saved.cats"`\n'
    assert read_saved(store.path, "cats").to_pylist() == json.loads(done.stdout)
    target = store.path.parent / "hits.csv"
    done = call("search", store.path, "--queries", pictures, "-k", 2, "--save", "all_hits", "-o", target)
    assert len(read_saved(store.path, "all_hits")) == 24 == len(target.read_text().splitlines()) - 1
    listed = json.loads(call("saved", store.path, "-f", "json").stdout)
    assert [one["name"] for one in listed] == ["all_hits", "cats"]
    assert listed[1]["command"] == f"fpve search {store.path} --id pets/cat/00.png -k 2 --save Cats -f json"
    assert call("search", store.path, "--id", "pets/cat/00.png", "--save", "a-b").stderr.startswith("fpve: saved name:")
    assert call("saved", store.path, "--remove", "cats").stderr == f"{store.path}: removed what was saved as cats\n"
    gone = call("saved", store.path, "--remove", "cats")
    assert (gone.returncode, gone.stderr) == (1, f"fpve: {store.path}: nothing is saved as 'cats'\n")
