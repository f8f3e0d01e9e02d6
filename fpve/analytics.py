"""SQL over a snapshot: the only module that imports duckdb. It sees the store's tables and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.errors import QueryError
from fpve.store.snapshot import Snapshot

if TYPE_CHECKING:
    import duckdb

_ROW = "__row"


def run_sql(snapshot: Snapshot, query: str) -> pa.Table:
    """Answer one SQL query over the views `images`, `vectors`, `prefixes`, `quarantine` and `runs`.

    Raises:
        QueryError: it is not one valid query, or it reaches for anything but these views.
    """
    with _connect() as connection:
        connection.register("images", snapshot.images)
        connection.register("vector_rows", snapshot.vector_rows())
        for name in ("prefixes", "quarantine"):
            connection.register(name, snapshot.table(name))
        connection.register("runs", snapshot.runs())
        connection.execute(
            "CREATE VIEW vectors AS SELECT i.image_id, v.vector FROM images i JOIN vector_rows v "
            "ON v.segment = i.segment "
            "AND v.content_hash IS NOT DISTINCT FROM i.content_hash AND v.prefix_id IS NOT DISTINCT FROM i.prefix_id"
        )
        connection.execute("SET lock_configuration = true")
        return _one_result(connection, query)


def matching_rows(snapshot: Snapshot, where: str) -> NDArray[np.int64]:
    """Numbers of the image rows, in the order of image_id, for which an SQL condition holds.

    Raises:
        QueryError: it is not an SQL condition over the columns of `images`.
    """
    images = snapshot.images
    with _connect() as connection:
        connection.register("images", images.append_column(_ROW, pa.array(np.arange(len(images)))))
        connection.execute("SET lock_configuration = true")
        # The line break ends a comment in the condition.
        found = _one_result(connection, f"SELECT {_ROW} FROM images WHERE ({where}\n) ORDER BY {_ROW}", what="where")
    rows: NDArray[np.int64] = found[_ROW].to_numpy()
    return rows


@contextmanager
def _connect() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    # Without external access there is no file to read, write, attach or install; Python variables are no tables either.
    connection = duckdb.connect(config={"enable_external_access": False, "python_enable_replacements": False})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _one_result(connection: duckdb.DuckDBPyConnection, query: str, what: str = "SQL") -> pa.Table:
    import duckdb

    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            raise QueryError(f"{what}: expected one query, found {len(statements)}")
        if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            kind = statements[0].type.name
            raise QueryError(f"{what}: expected a query that reads, found {kind}; a store is changed by `fpve run`")
        relation = connection.sql(query)
        return relation.to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(f"{what}: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    """DuckDB's message without the excerpt of the query, in one line."""
    lines = [line.strip() for line in str(error).split("\nLINE ")[0].splitlines()]
    return " ".join(line for line in lines if line)
