"""SQL conditions: which image rows meet one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.analytics.connection import lock, one_line_errors, open_connection
from fpve.analytics.views import images_query
from fpve.errors import QueryError
from fpve.store.snapshot import Snapshot

if TYPE_CHECKING:
    import duckdb

_ROW = "__row"


def matching_rows(snapshot: Snapshot, where: str, *, memory: int | None = None) -> NDArray[np.int64]:
    """Numbers of the image rows, in the order of image_id, for which an SQL condition holds.

    Args:
        snapshot: of which store.
        where: the condition.
        memory: bytes that it may take; None is what DuckDB allows itself.

    Raises:
        QueryError: it is not an SQL condition over the columns of `images`, or takes too much.
    """
    with open_connection(memory=memory) as connection, one_line_errors("where"):
        connection.register("image_rows", _numbered(snapshot.rows.table(full_paths=False)))
        connection.execute(f"CREATE VIEW images AS {images_query(snapshot, 'image_rows')}")
        return _rows_where(connection, where)


def rows_where(images: pa.Table, where: str) -> NDArray[np.int64]:
    """Numbers of the rows of a table, ascending, for which an SQL condition over its columns holds.

    Raises:
        QueryError: it is not one.
    """
    with open_connection() as connection, one_line_errors("where"):
        connection.register("images", _numbered(images))
        return _rows_where(connection, where)


def _rows_where(connection: duckdb.DuckDBPyConnection, where: str) -> NDArray[np.int64]:
    if not where.strip():
        raise QueryError("where: expected an SQL condition, found an empty text")
    lock(connection)
    # As an expression of its own: pasted into a query it could end that query.
    found = connection.table("images").filter(where).project(_ROW).to_arrow_table()
    rows: NDArray[np.int64] = np.sort(found[_ROW].to_numpy())
    return rows


def _numbered(images: pa.Table) -> pa.Table:
    return images.append_column(_ROW, pa.array(np.arange(len(images))))
