"""SQL in processes of their own: answered there, and killed there."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import fpve
from fpve.config import Job
from fpve.errors import FpveError, QueryError, ServerBusy
from fpve.maintenance.prune import prune
from fpve.store.snapshot import Snapshot
from fpve.web.settings import Settings
from fpve.web.sql_pool import SqlPool

FOREVER = "(SELECT count(*) FROM range(1000000000000)) > 0"


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 12 pictures, one for all tests here: none changes it."""
    from samples import KINDS, draw, make_job

    folder = tmp_path_factory.mktemp("sql") / "pictures"
    lines = ["path,caption,kind,price"]
    for number in range(12):
        draw(folder / f"{number:02d}.png", number)
        lines.append(f"{number:02d}.png,{KINDS[number % 3]} number {number},{KINDS[number % 3]},{number}.50")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    store = folder.parent / "store"
    fpve.run(make_job(store, folder))
    return store


@pytest.fixture(scope="module")
def pool(store_path: Path) -> Iterator[SqlPool]:
    """Processes over the store, that give a query a second."""
    pool = SqlPool(store_path, Settings(sql_timeout=1.0, sql_memory=200_000_000))
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def store(store_path: Path) -> fpve.Store:
    """The store, in this process."""
    return fpve.open(store_path)


def test_a_query_is_answered_as_the_store_itself_does(pool: SqlPool, store: fpve.Store) -> None:
    """Rows, types and the number of all rows are those of `Store.sql`."""
    query = "SELECT image_id, kind, price FROM images ORDER BY image_id DESC"
    found = pool.query(store, query, 5)
    assert found.rows.equals(store.sql(query).slice(0, 5))
    assert found.total == 12


def test_a_condition_is_evaluated_as_in_this_process(pool: SqlPool, store_path: Path) -> None:
    """The rows that match are those that `Searcher.matching` finds by itself."""
    store = fpve.Store(store_path, conditions=pool.matching)
    plain = fpve.open(store_path)
    where = "kind = 'dog' OR price > 9"
    ids = [hit.image_id for hit in store.search(text="dog", k=12, where=where)]
    assert ids == [hit.image_id for hit in plain.search(text="dog", k=12, where=where)]
    assert len(ids) == 6


def test_texts_are_embedded_by_the_process_that_asks(pool: SqlPool, store: fpve.Store) -> None:
    """`search('…')` in SQL gives the hits of a search, though the other process has no model."""
    found = pool.query(store, "SELECT image_id FROM search('dog', k := 3) ORDER BY rank", 10)
    assert found.rows["image_id"].to_pylist() == [hit.image_id for hit in store.search(text="dog", k=3)]


def test_errors_come_as_what_they_are(pool: SqlPool, store: fpve.Store) -> None:
    """A wrong query is a QueryError with the text that it has in one process, also when it searches."""
    with pytest.raises(QueryError, match="no view 'nothing'"):
        pool.query(store, "FROM nothing", 1)
    with pytest.raises(QueryError, match="found an empty text"):
        pool.query(store, "FROM search('  ')", 1)
    with pytest.raises(QueryError, match='column "nope" not found'):
        pool.matching(Snapshot.open(store.path), "nope = 1")


@pytest.mark.parametrize("ask", ["condition", "query", "values"])
def test_what_takes_too_long_ends(pool: SqlPool, store: fpve.Store, ask: str) -> None:
    """A condition or query without end is given up in a line, and the next one is answered."""
    asked: dict[str, Callable[[], object]] = {
        "condition": lambda: pool.matching(Snapshot.open(store.path), FOREVER),
        "query": lambda: pool.query(store, f"SELECT {FOREVER}", 1),
        # Which DuckDB does not count, nor interrupt: two terabytes of text.
        "values": lambda: pool.query(store, "SELECT repeat('x', 1000000000) FROM range(2000)", 1),
    }
    with pytest.raises(QueryError, match="ask for less"):
        asked[ask]()
    assert pool.query(store, "SELECT count(*) AS n FROM images", 1).rows.to_pylist() == [{"n": 12}]


def test_a_process_that_dies_is_replaced(pool: SqlPool, store: fpve.Store) -> None:
    """Killed in the middle of a query, it costs that query an error in one line, and no other."""
    before = pool.killed
    failed: list[FpveError] = []

    def ask() -> None:
        try:
            pool.query(store, f"SELECT {FOREVER}", 1)
        except FpveError as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while pool._idle.qsize() == 2:
        time.sleep(0.01)
    for process in list(pool._begun):
        os.kill(process.pid, signal.SIGKILL)
    asking.join()
    assert len(failed) == 1
    assert "ask for less" in str(failed[0])
    assert pool.killed == before + 1
    assert pool.query(store, "SELECT 1 AS one", 1).rows.to_pylist() == [{"one": 1}]


def test_a_process_that_died_while_it_was_idle_costs_no_query(pool: SqlPool, store: fpve.Store) -> None:
    """The system may end the largest process: the next query is answered by another one."""
    assert pool.query(store, "SELECT 1", 1).total == 1
    for process in list(pool._begun):
        os.kill(process.pid, signal.SIGKILL)
        process._process.wait()
    assert pool.query(store, "SELECT 1 AS one", 1).rows.to_pylist() == [{"one": 1}]


def test_what_goes_on_though_it_was_given_up_is_killed(pool: SqlPool, store: fpve.Store) -> None:
    """A function that DuckDB can't interrupt does not keep a core busy beside the queries that come after it."""
    before = pool.killed
    with pytest.raises(QueryError, match="no answer within 1 s; ask for less"):
        pool.query(store, "SELECT jaro_similarity(repeat('ab', 1000000), repeat('ba', 1000000))", 1)
    assert pool.killed == before + 1


def test_a_process_with_too_little_memory_left_says_so() -> None:
    """What is set aside counts, used or not: with less left than a query may take another process is to be asked."""
    code = """
import mmap
from fpve.web.sql_worker import bound_memory, lacks_memory
bound_memory(1_000_000_000)
print(lacks_memory(1_000_000_000))
held = mmap.mmap(-1, 4_000_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print(lacks_memory(1_000_000_000))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "True"]


def test_a_spent_process_is_asked_no_more(store: fpve.Store, store_path: Path) -> None:
    """The query that leaves it with too little memory is answered, and the next one by another process."""
    pool = SqlPool(store_path, Settings(sql_memory=200_000_000))
    assert pool.query(store, "SELECT 1", 1).total == 1
    (spent,) = pool._begun
    pages = int(Path(f"/proc/{spent.pid}/statm").read_text().split()[5])
    bound = pages * resource.getpagesize() + 300_000_000
    resource.prlimit(spent.pid, resource.RLIMIT_DATA, (bound, bound))
    assert pool.query(store, "SELECT 2", 1).total == 1
    assert pool.killed == 1
    assert pool.query(store, "SELECT 3", 1).total == 1
    assert [process.pid for process in pool._begun] != [spent.pid]
    assert pool.killed == 1
    pool.close()


def test_a_condition_may_take_no_more_than_a_query(store: fpve.Store, store_path: Path) -> None:
    """DuckDB's own bound would be most of the machine's memory."""
    pool = SqlPool(store_path, Settings(sql_timeout=60.0, sql_memory=100_000_000))
    with pytest.raises(QueryError, match="more memory than it may take; ask for less"):
        pool.matching(Snapshot.open(store.path), "(SELECT count(DISTINCT i) FROM range(1000000000) t(i)) > 0")
    pool.close()


def test_long_texts_are_not_embedded(pool: SqlPool, store: fpve.Store) -> None:
    """Here nothing could be killed that takes too long."""
    with pytest.raises(QueryError, match="of at most 10,000 characters"):
        pool.query(store, "FROM search(repeat('x ', 5001))", 1)
    assert pool.query(store, "FROM search(repeat('x ', 5000), k := 1)", 1).total == 1


def test_a_process_that_does_not_begin_is_no_fault_of_the_query(
    store: fpve.Store, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is busy then; whoever only wants it warm is told nothing."""
    pool = SqlPool(store_path, Settings())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool.warm_up()
    with pytest.raises(ServerBusy, match="no process could be begun"):
        pool.query(store, "SELECT 1", 1)
    monkeypatch.setattr(sys, "executable", "/nowhere")
    with pytest.raises(ServerBusy, match="no process could be begun"):
        pool.query(store, "SELECT 1", 1)


def test_more_than_a_screen_shows_is_refused(pool: SqlPool, store: fpve.Store) -> None:
    """A result of more than 16 MB is refused before it is told, with what to do."""
    with pytest.raises(QueryError, match="the first 3 rows are 24 MB, expected at most 16 MB"):
        pool.query(store, "SELECT repeat('x', 8000000) AS x FROM range(3)", 3)


def test_who_waits_too_long_is_told_to_come_back(store: fpve.Store, store_path: Path) -> None:
    """When all processes are busy for longer than a query may take, the server is busy."""
    pool = SqlPool(store_path, Settings(sql_timeout=0.5, sql_memory=200_000_000))
    pool.warm_up()
    taken = [pool._take(), pool._take()]
    with pytest.raises(ServerBusy, match="ask again"):
        pool.query(store, "SELECT 1", 1)
    for process in taken:
        pool._idle.put(process)
    assert pool.query(store, "SELECT 1 AS one", 1).total == 1
    pool.close()
    with pytest.raises(ServerBusy, match="being stopped"):
        pool.query(store, "SELECT 1", 1)


def test_an_old_snapshot_is_let_go(job: Job, tmp_path: Path) -> None:
    """A process that is idle keeps no snapshot from being pruned that is not the newest."""
    fpve.run(job)
    store = fpve.open(job.store)
    pool = SqlPool(job.store, Settings())
    assert pool.query(store, "SELECT count(*) AS n FROM images", 1).rows.to_pylist() == [{"n": 12}]
    labels = tmp_path / "labels.csv"
    labels.write_text("image_id,kind\npets/cat/00.png,lion\n", encoding="utf-8")
    fpve.label(job.store, labels)
    store.close()
    until = time.monotonic() + 60
    while not prune(job.store, keep=1, grace=timedelta(0)).removed and time.monotonic() < until:
        time.sleep(0.2)
    assert [path.stem.lstrip("0") for path in (job.store / "snapshots").iterdir()] == ["2"]
    assert pool.query(fpve.open(job.store), "SELECT count(*) AS n FROM images WHERE kind = 'lion'", 1).total == 1
    pool.close()
