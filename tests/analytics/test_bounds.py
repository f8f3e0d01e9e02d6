"""What a query may take: seconds and bytes, of which nothing is left when it took more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import fpve
from fpve.analytics import Bounds, Listed, Session, TableFunction
from fpve.config import Job
from fpve.errors import QueryError
from fpve.memory import usable
from fpve.store.snapshot import Snapshot

FOREVER = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b WHERE a.range * b.range % 7 = 3"
ENDLESS = "SELECT a.range AS a, b.range AS b FROM range(10_000_000) a, range(10_000_000) b"


@pytest.fixture
def store(job: Job) -> fpve.Store:
    """A store of the twelve pictures."""
    fpve.run(job)
    return fpve.open(job.store)


def test_a_query_that_takes_too_long_is_given_up(store: fpve.Store, tree: Callable[[Path], dict[str, bytes]]) -> None:
    """Whether it computes or is being fetched, it ends, with the remedy; no thread and no file is left of it."""
    before = tree(store.path)
    for query in (FOREVER, f"SELECT max(a) FROM ({ENDLESS})"):
        with pytest.raises(QueryError, match=r"no answer within 0.2 s; allow more \(timeout, --timeout\)"):
            store.sql(query, timeout=0.2)
    with store.sql_session(timeout=0.3) as session:
        with pytest.raises(QueryError, match=r"no answer within 0.3 s"):
            for _ in session.ask(ENDLESS).parts():
                pass
        # The next query has as much time as the first.
        assert session.ask("SELECT 1 AS a").collect().to_pylist() == [{"a": 1}]
    assert not [one for one in threading.enumerate() if one.name == "fpve-sql"]
    assert tree(store.path) == before


def test_searches_are_given_up_between_calls(store: fpve.Store) -> None:
    """A search of very many images ends when the time is up, though DuckDB can't interrupt Python."""
    many = "(SELECT image_id FROM images, range(100_000))"
    with pytest.raises(QueryError, match=r"no answer within 0\.5 s"):
        store.sql(f"SELECT count(*) FROM {many} i, neighbours(i.image_id, k := 3) n", timeout=0.5)
    assert not [one for one in threading.enumerate() if one.name == "fpve-sql"]


def test_a_query_that_does_not_end_keeps_others_from_its_session(store: fpve.Store) -> None:
    """What can't be interrupted holds its session, which says so until it ends, and then answers again."""
    result, waiting = pa.schema([("n", pa.int64())]), threading.Event()

    def answer(arguments: pa.Table) -> Listed:
        waiting.wait()
        return Listed(result.empty_table(), np.zeros(len(arguments) + 1, np.int64))

    wait = TableFunction("wait", "text", result, answer)
    with Session(Snapshot.open(store.path), functions=[wait], bounds=Bounds(timeout=0.2)) as session:
        with pytest.raises(QueryError, match=r"no answer within 0\.2 s"):
            session.ask("FROM wait('')").collect()
        with pytest.raises(QueryError, match="the query before this one has not ended yet"):
            session.ask("SELECT 1")
        waiting.set()
        for thread in threading.enumerate():
            if thread.name == "fpve-sql":
                thread.join()
        assert session.ask("SELECT 1 AS a").collect().to_pylist() == [{"a": 1}]


def test_a_query_that_needs_too_much_memory_is_given_up(store: fpve.Store) -> None:
    """DuckDB's own memory is bounded, and so is a result; what is told part by part is not."""
    with pytest.raises(QueryError, match="needs more than the 50 MB of memory"):
        store.sql("SELECT DISTINCT range, hash(range) AS b FROM range(10_000_000)", memory="50MB")
    large = "SELECT range AS a, hash(range) AS b FROM range(4_000_000)"
    with pytest.raises(QueryError, match=r"the result is larger than the 50 MB.*part by part \(--output\)"):
        store.sql(large, memory=50_000_000)
    with store.sql_session(memory="50MB") as session:
        answer = session.ask(large)
        assert answer.schema == pa.schema([("a", pa.int64()), ("b", pa.uint64())])
        assert sum(len(part) for part in answer.parts()) == 4_000_000
        first, count = session.ask(large).first(3)
        assert (first["a"].to_pylist(), count) == ([0, 1, 2], 4_000_000)


@pytest.mark.parametrize(
    ("memory", "size"),
    [("2GB", 2 * 10**9), ("512 MiB", 2**29), ("1.5gb", 15 * 10**8), ("100000000", 10**8), (10**8, 10**8)],
)
def test_sizes_are_read(memory: str | int, size: int) -> None:
    """Sizes are bytes or have a unit; without one half of what there is."""
    assert Bounds(memory=memory).bytes == size
    assert Bounds().bytes == usable() // 2


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"timeout": 0}, "timeout: expected seconds above 0, found 0"),
        ({"timeout": -1.5}, "timeout: expected seconds above 0, found -1.5"),
        ({"timeout": float("nan")}, "timeout: expected seconds above 0, found nan"),
        ({"memory": "lots"}, "memory: expected bytes, or a size such as 2GB, found 'lots'"),
        ({"memory": "1KB"}, "memory: expected at least 16MB, found 1KB"),
        ({"memory": -1}, "memory: expected at least 16MB, found -1"),
    ],
)
def test_bounds_that_are_none_are_refused(store: fpve.Store, bounds: dict[str, object], reason: str) -> None:
    """A bound says what it must be."""
    with pytest.raises(QueryError, match=reason):
        store.sql("SELECT 1", **bounds)


def test_parts_are_of_one_kind(store: fpve.Store) -> None:
    """Sums of integers are integers in every part; beyond 64 bits that is an error, and a float in a whole table."""
    with store.sql_session() as session:
        parts = list(session.ask("SELECT range::HUGEINT AS a, 1.50 AS b, range AS a FROM range(40_000)").parts())
        assert len(parts) > 1
        assert {str(part.schema) for part in parts} == {"a: int64\nb: double\na_1: int64"}
        beyond = "SELECT 9223372036854775807::HUGEINT * 2 AS big"
        with pytest.raises(QueryError, match=r"column 'big' has a number beyond 64 bits; cast it: …::DOUBLE"):
            list(session.ask(beyond).parts())
    assert store.sql(beyond).to_pylist() == [{"big": 2.0**64 - 2}]
    empty = store.sql("SELECT sum(price) AS a, 'x'::ENUM('x') AS b FROM images WHERE false GROUP BY ALL")
    assert empty.schema.types == [pa.float64(), pa.string()]


def test_many_threads_ask_at_once(store: fpve.Store) -> None:
    """Each query has a connection of its own, and searches in it, too."""
    query = "SELECT count(*) AS n FROM images i, neighbours(i.image_id, k := 3) n"
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: store.sql(query)["n"][0].as_py(), range(16)))
    assert found == [36] * 16


def test_a_session_sees_one_snapshot(store: fpve.Store, job: Job, pictures: Path) -> None:
    """What is published meanwhile is not in it; what is saved meanwhile is."""
    with store.sql_session() as session:
        assert session.ask("SELECT count(*) AS n FROM images").collect().to_pylist() == [{"n": 12}]
        (pictures / "bird/02.png").unlink()
        fpve.run(job)
        assert fpve.open(job.store).sql("SELECT count(*) AS n FROM images").to_pylist() == [{"n": 11}]
        assert session.ask("SELECT count(*) AS n FROM images").collect().to_pylist() == [{"n": 12}]
        store.save("mine", pa.table({"a": [1]}))
        assert session.ask("FROM saved.mine").collect().to_pylist() == [{"a": 1}]
        store.save("mine", pa.table({"b": [2]}))
        assert session.ask("FROM saved.mine").collect().to_pylist() == [{"b": 2}]
        assert session.columns["saved.mine"] == ["b"]
        for name, columns in session.columns.items():
            assert session.ask(f"FROM {name} LIMIT 0").schema.names == columns


def test_nothing_is_printed_while_a_query_takes_long(store: fpve.Store) -> None:
    """DuckDB draws no bar of progress on stdout, where data goes."""
    shown = store.sql("SELECT current_setting('enable_progress_bar') AS bar")
    assert shown.to_pylist() == [{"bar": False}]
