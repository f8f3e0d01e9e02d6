"""Many queries at once: those of a folder or a table, answered part by part in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from fpve.asking import prepare
from fpve.errors import QueryError
from fpve.images import without_warnings
from fpve.neighbours import Rows
from fpve.opened import Opened
from fpve.progress import Progress, SilentProgress, Stage
from fpve.queries import Queries
from fpve.records import Explanation, Response
from fpve.rowfiles import write_rows
from fpve.sources.queries import QuerySource, read_queries
from fpve.urls import any_path

# Queries that are answered at once: enough for products of matrices to pay, whatever the size of the batch.
_AT_ONCE = 1_000
# Rows that are in memory at once, with their metadata.
_ROWS = 1_000_000


class Answering(Protocol):
    """What answers queries: a search, or a classification."""

    @property
    def name(self) -> str:
        """What it does, in one word."""

    @property
    def image_weight(self) -> float | None:
        """The weight that all queries get, if any."""

    @property
    def rows_each(self) -> int:
        """How many rows a query is answered with, at most."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of responses."""

    def respond(self, queries: Queries) -> Response:
        """Answer queries of one kind."""


@dataclass(frozen=True, slots=True)
class FailedQuery:
    """A query without an answer.

    Attributes:
        query: what it is called.
        reason: why it has none.
    """

    query: str
    reason: str


@dataclass(frozen=True, slots=True)
class BatchPart:
    """Some of the queries of a batch.

    Attributes:
        table: `query`, and the columns of answers; the rows of a query together. Of a search they are hits, best first,
            with their `rank` from 1; of a classification predictions, one each.
        queries: how many were answered, with hits or without.
        failed: those that could not be.
        explanation: what a search did; None if none was answered.
    """

    table: pa.Table
    queries: int
    failed: tuple[FailedQuery, ...]
    explanation: Explanation | None


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        queries: how many were answered, with hits or without.
        rows: how many rows they were answered with.
        failed: the queries that could not be answered.
        explanation: what a search did; None of a classification.
    """

    queries: int
    rows: int
    failed: tuple[FailedQuery, ...]
    explanation: Explanation | None


class Batch:
    """The queries of a source, which are answered when they are gone through: `for part in batch: part.table`.

    Attributes:
        source: the folder, table or archives.
        kinds: by what they search: `vectors`, `ids`, or `pictures`, `texts`, or both.

    Args:
        opened: the store.
        source: the queries.
        answering: what answers them.
        progress: is told how many are answered.
        close: lets go of what answering needs beyond the store, whenever the queries have been gone through.
    """

    def __init__(
        self,
        opened: Opened,
        source: str | os.PathLike[str],
        answering: Answering,
        progress: Progress | None = None,
        *,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.source = any_path(source)
        self._opened = opened
        self._answering = answering
        self._source = read_queries(self.source)
        self._progress = progress or SilentProgress()
        self._close = close
        self.kinds = self._source.kinds

    def __len__(self) -> int:
        """How many queries there are."""
        return len(self._source)

    @property
    def queries(self) -> QuerySource:
        """What is asked: what queries are called, their texts, and where their pictures are."""
        return self._source

    @property
    def schema(self) -> pa.Schema:
        """The columns of tables of answers."""
        return self._answering.schema.insert(0, pa.field("query", pa.string()))

    def __iter__(self) -> Iterator[BatchPart]:
        """Answer the queries, in their order.

        Raises:
            QueryError: nothing in the store can be compared with them.
        """
        at_once = max(1, min(_AT_ONCE, _ROWS // self._answering.rows_each))
        skipped = tuple(FailedQuery(one.path, one.reason) for one in self._source.skipped)
        if skipped:
            yield BatchPart(self.schema.empty_table(), 0, skipped, None)
        with ExitStack() as stack:
            if self._close is not None:
                stack.callback(self._close)
            stage = stack.enter_context(self._progress.stage(self._answering.name, len(self)))
            for numbers, vectors in _parts(self._source, at_once):
                yield self._answer(numbers, vectors, stage)

    def write(self, path: str | os.PathLike[str], *, kind: str | None = None) -> BatchReport:
        """Answer all queries, and write the answers to a file, which is there when all of them are.

        Args:
            path: where to; what was there is replaced.
            kind: `parquet`, `csv`, `json` or `jsonl`; None leaves it to the extension.

        Raises:
            QueryError: no query could be answered, or the extension or the folder is wrong.
            OSError: it can't be written.
        """
        tally = _Tally(self)
        with without_warnings():
            write_rows(Path(path), self.schema, tally.tables(), kind=kind)
        return tally.report()

    def collect(self) -> tuple[pa.Table, BatchReport]:
        """Answer all queries; the answers to all of them, and what became of the queries.

        Raises:
            QueryError: no query could be answered.
        """
        tally = _Tally(self)
        with without_warnings():
            rows = pa.concat_tables([self.schema.empty_table(), *tally.tables()])
        return rows, tally.report()

    def _answer(self, numbers: Rows, vectors: pa.Array | None, stage: Stage) -> BatchPart:
        """Answer the queries of these numbers."""
        before = 0

        def advance(count: int) -> None:
            nonlocal before
            before += count
            stage.advance(count)

        weight = self._answering.image_weight
        asking = prepare(self._source, numbers, vectors, self._opened, image_weight=weight, advance=advance)
        answers, failed = [], dict(asking.failed)
        for mine, queries in asking.groups:
            try:
                answers.append((mine, self._answering.respond(queries)))
            except QueryError as error:
                # What these ask for, the store does not have: texts where nothing can be compared with them.
                failed |= dict.fromkeys(mine.tolist(), str(error))
        stage.advance(len(numbers) - before)
        names = self._source.names
        return BatchPart(
            table=self._joined(answers),
            queries=len(numbers) - len(failed),
            failed=tuple(FailedQuery(names[one].as_py(), reason) for one, reason in sorted(failed.items())),
            explanation=_together(one.explanation for _, one in answers),
        )

    def _joined(self, answers: list[tuple[Rows, Response]]) -> pa.Table:
        """The answers to groups of queries, each with the numbers (m,) of its queries."""
        number = np.concatenate([np.zeros(0, np.int64), *(mine[found.query] for mine, found in answers)])
        table = pa.concat_tables([self._answering.schema.empty_table(), *(found.table for _, found in answers)])
        if len(answers) > 1:
            order = np.argsort(number, kind="stable")
            number, table = number[order], table.take(pa.array(order))
        return table.add_column(0, "query", self._source.names.take(pa.array(number)))


class _Tally:
    """Counts what becomes of the queries of a batch while its answers are taken."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._queries = self._rows = 0
        self._failed: list[FailedQuery] = []
        self._explanation: Explanation | None = None

    def tables(self) -> Iterator[pa.Table]:
        """The answers of each part.

        Raises:
            QueryError: at the end, if none of the queries could be answered.
        """
        for part in self._batch:
            self._queries += part.queries
            self._rows += len(part.table)
            self._failed += part.failed
            self._explanation = _together((self._explanation, part.explanation))
            yield part.table
        if not self._queries:
            first = self._failed[0]
            raise QueryError(
                f"{self._batch.source}: none of its {len(self._failed):,} queries can be answered; the first is "
                f"{first.query}: {first.reason}"
            )

    def report(self) -> BatchReport:
        """What became of them."""
        return BatchReport(self._queries, self._rows, tuple(self._failed), self._explanation)


def _parts(source: QuerySource, size: int) -> Iterator[tuple[Rows, pa.Array | None]]:
    """Numbers of queries that follow on one another, so many or fewer at a time, and their vectors if there are any."""
    if source.vectors is None:
        for start in range(0, len(source), size):
            yield np.arange(start, min(start + size, len(source))), None
        return
    start = 0
    for vectors in source.vectors(size):
        yield np.arange(start, start + len(vectors)), vectors
        start += len(vectors)


def _together(explanations: Iterable[Explanation | None]) -> Explanation | None:
    """What several searches of one store did; None if there were none."""
    every = [one for one in explanations if one is not None]
    if not every:
        return None
    return replace(
        every[0],
        queries=sum(one.queries for one in every),
        weights=(min(one.weights[0] for one in every), max(one.weights[1] for one in every)),
        ranked=max(one.ranked for one in every),
        target_recall=next((one.target_recall for one in every if one.target_recall is not None), None),
        steps=tuple(dict.fromkeys(step for one in every for step in one.steps)),
    )
