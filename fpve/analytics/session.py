"""Queries over one snapshot, one after the other, within bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from fpve.analytics.connection import in_one_line, lock, open_connection
from fpve.analytics.functions import Calls, TableFunction, VectorFunction, add_cosines, add_functions
from fpve.analytics.results import plain_part, plain_schema, plain_table
from fpve.analytics.statements import checked_statement
from fpve.analytics.views import Views
from fpve.analytics.waiting import Overdue, Waiter
from fpve.errors import FpveError, QueryError, StoreCorrupt, nearest
from fpve.memory import usable
from fpve.store.snapshot import Snapshot

Found = TypeVar("Found")
# Rows that are fetched at once: of 1,664 numbers each some 100 MB.
_ROWS = 16_384
# Of the memory that this process may use; the models of a search need some as well.
_SHARE = 0.5
_LEAST_MEMORY = 16_000_000
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
# What Arrow says of vectors whose file is gone, here or in a bucket.
_LOST = re.compile(r"(vectors/\w+/rows\.parquet).*(?:\[errno 2\]|FileNotFoundError)")
_NO_TABLE = re.compile(r'Table with name "?(.+?)"? does not exist')


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a query may take.

    Attributes:
        timeout: seconds; None is no bound.
        memory: bytes, or a text such as `2GB`, that DuckDB may take, and so much again a result that is collected; None
            is half of what the process may use.
    """

    timeout: float | None = None
    memory: int | str | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise QueryError(f"timeout: expected seconds above 0, found {self.timeout:g}")
        if self.bytes < _LEAST_MEMORY:
            raise QueryError(f"memory: expected at least {_LEAST_MEMORY / 1e6:g}MB, found {self.memory}")

    @property
    def bytes(self) -> int:
        """The bound of memory in bytes."""
        if self.memory is None:
            return max(_LEAST_MEMORY, int(_SHARE * usable()))
        if not isinstance(self.memory, str):
            return self.memory
        found = _SIZE.fullmatch(self.memory)
        if found is None:
            raise QueryError(f"memory: expected bytes, or a size such as 2GB, found {self.memory!r}")
        return int(float(found[1]) * _UNITS[found[2].lower()])


class Answer:
    """What a query is answered with, fetched as it is asked for: once, by `parts` or by `collect`.

    Attributes:
        schema: the columns of the parts.
    """

    def __init__(self, session: Session, reader: pa.RecordBatchReader) -> None:
        self._session = session
        self._reader = reader
        self.schema = plain_schema(reader.schema)

    def parts(self) -> Iterator[pa.Table]:
        """The rows, some at a time; sums of integers are integers.

        Raises:
            QueryError: the query fails, takes too long or too much, or such a sum is beyond 64 bits.
        """
        for batch in self._batches():
            yield plain_part(batch)

    def collect(self) -> pa.Table:
        """All rows; sums of integers are integers, as long as 64 bits hold all of them.

        Raises:
            QueryError: the query fails, takes too long or too much; or its result does.
        """
        return self.first(None)[0]

    def first(self, rows: int | None) -> tuple[pa.Table, int]:
        """The first rows, or all, as `collect` gives them; and how many there are."""
        found, size, count, bound = [], 0, 0, self._session.bounds.bytes
        for batch in self._batches():
            kept = batch if rows is None else batch.slice(0, max(0, rows - count))
            count += len(batch)
            size += kept.nbytes
            if size > bound:
                raise QueryError(
                    f"SQL: the result is larger than the {_size_text(bound)} that it may take; have it written to a "
                    "file, part by part (--output), ask for less, or allow more (memory, --memory)"
                )
            found.append(kept)
        whole = pa.concat_tables(found) if found else pa.Table.from_batches([], self._reader.schema)
        return plain_table(whole), count

    def _batches(self) -> Iterator[pa.Table]:
        while True:
            batch = self._session.fetch(self._reader)
            if batch is None:
                return
            yield batch


class Session:
    """A connection to one snapshot that answers queries, one at a time. It reaches nothing else, and changes nothing.

    The views are `images`, `vectors`, `prefixes`, `quarantine`, `labels`, `predictions`, `runs`, `generated`,
    `corrections`, `means`, `predicted`; `saved`, which lists what is saved, and `saved.NAME`, also as `hits('NAME')`.

    Attributes:
        bounds: what each query may take.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        functions: Sequence[TableFunction | VectorFunction] = (),
        bounds: Bounds | None = None,
    ) -> None:
        self.bounds = bounds or Bounds()
        self._snapshot = snapshot
        self._calls = Calls()
        self._statement = ""
        self._connection = open_connection(memory=self.bounds.bytes)
        self._views = Views(self._connection, snapshot)
        add_cosines(self._connection, snapshot.fusion)
        add_functions(self._connection, functions, self._calls)
        lock(self._connection)
        self._waiter = Waiter(self.bounds.timeout)

    def ask(self, query: str) -> Answer:
        """Begin to answer one query.

        Raises:
            QueryError: it is not one valid query, it reaches for anything but the views, or takes too long or too much;
                or one that was given up has not ended yet.
            StoreCorrupt: a file that it needs is damaged, or a link out of the store.
        """
        if not self._waiter.is_idle:
            # To begin anew would let its searches go on, and then wait for them.
            raise QueryError(
                "SQL: the query before this one has not ended yet; ask again later, or open another session"
            )
        self._calls.clear()
        self._waiter = Waiter(self.bounds.timeout)
        return Answer(self, self._wait(lambda: self._begin(query)))

    def fetch(self, reader: pa.RecordBatchReader) -> pa.Table | None:
        """The next rows of an answer; None after the last.

        Raises:
            QueryError: as `ask`.
        """

        def next_rows() -> pa.Table | None:
            try:
                return pa.Table.from_batches([reader.read_next_batch()])
            except StopIteration:
                return None

        return self._wait(next_rows)

    @property
    def columns(self) -> dict[str, list[str]]:
        """The views, and the columns of each."""
        return self._views.columns

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered any more, nor goes on though it was given up."""
        return self._waiter.is_idle

    def interrupt(self) -> None:
        """End what is being answered, from any thread."""
        self._calls.stopped.set()
        self._connection.interrupt()

    def close(self) -> None:
        """Let go of the connection; what does not end is left to itself."""
        if self._waiter.is_idle:
            self._views.close()
            self._connection.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, query: str) -> pa.RecordBatchReader:
        import duckdb

        self._statement = query
        statement = checked_statement(self._connection, query)
        self._views.broken.clear()
        self._views.add_named(statement)
        try:
            return self._read(statement)
        except duckdb.CatalogException:
            # Its text may not name what it asks for, such as by query_table('im' || 'ages').
            self._views.add_all()
            return self._read(statement)

    def _read(self, statement: str) -> pa.RecordBatchReader:
        return self._connection.sql(statement).to_arrow_reader(_ROWS)

    def _wait(self, work: Callable[[], Found]) -> Found:
        with self._one_line_errors():
            return self._waiter.wait(work, self.interrupt)

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Say in one line what went wrong, and what to do."""
        import duckdb

        try:
            yield
        except Overdue:
            raise QueryError(
                f"SQL: no answer within {self.bounds.timeout:g} s; allow more (timeout, --timeout), or ask for less"
            ) from None
        # Of what is fetched Arrow tells the error.
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if self._calls.failed:
                raise self._calls.failed[0] from None
            with self._snapshot.reading():
                raise self._told(in_one_line(error)) from None

    def _told(self, text: str) -> FpveError:
        if "Out of Memory" in text:
            return QueryError(
                f"SQL: the query needs more than the {_size_text(self.bounds.bytes)} of memory that it may take; "
                "allow more (memory, --memory), or ask for less"
            )
        lost = _LOST.search(text)
        if lost is not None:
            return StoreCorrupt(f"{self._snapshot.root / lost[1]}: a file of the store is missing")
        missing = _NO_TABLE.search(text)
        if missing is None:
            return QueryError(f"SQL: {text}")
        name = missing[1].rpartition(".")[2].strip('"').lower()
        if name in self._views.broken:
            return self._views.broken[name]
        if re.search(rf"\b(saved\s*\.|hits\s*\(\s*')\s*\"?{re.escape(name)}\b", self._statement, re.IGNORECASE):
            return self._views.not_saved(name)
        known = self._views.names
        return QueryError(f"SQL: no view {missing[1]!r}{nearest(name, known) or '; there is ' + ', '.join(known)}")


def _size_text(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
