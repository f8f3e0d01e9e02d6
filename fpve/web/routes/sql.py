"""SQL over the store, in which it can change nothing."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field

from fpve.errors import QueryError
from fpve.rowfiles import plain
from fpve.web.routing import StoreRouter
from fpve.web.served import PinnedStore, ServedStore

router = StoreRouter(prefix="/api", tags=["SQL"])

_DEFAULT_ROWS = 1_000
_MOST_ROWS = 10_000
# Longer than anything that a person writes; a list of a thousand ids has a place in it.
_LONGEST = 100_000


class SqlQuestion(BaseModel):
    """A query."""

    query: str = Field(
        description="One SELECT query (DuckDB) over the views of the store.",
        examples=["SELECT collection, count(*) AS images FROM images GROUP BY ALL"],
        max_length=_LONGEST,
    )
    limit: int = Field(_DEFAULT_ROWS, ge=1, le=_MOST_ROWS, description="How many rows at most are told.")


class SqlColumn(BaseModel):
    """A column of a result."""

    name: str
    type: str = Field(description="Its type, as Arrow calls it.")


class SqlResult(BaseModel):
    """The result of a query."""

    snapshot: int
    columns: list[SqlColumn]
    rows: list[list[Any]] = Field(
        description="The first ones, a value a column: times in ISO 8601, bytes in base64, NaN as null."
    )
    total: int = Field(description="How many rows there are.")
    seconds: float


@router.post("/sql", summary="Ask in SQL")
def ask(question: SqlQuestion, store: PinnedStore, served: ServedStore) -> SqlResult:
    """Answer an SQL query over the views `images`, `vectors`, `prefixes`, `quarantine`, `runs` and the others.

    It reads nothing but the store, and runs in a process of its own that is killed when it takes too long or too much.
    """
    found = served.sql.query(store, question.query, question.limit)
    rows = found.rows
    columns = [_values(name, column) for name, column in zip(rows.column_names, rows.columns, strict=True)]
    return SqlResult(
        snapshot=store.snapshot,
        columns=[SqlColumn(name=field.name, type=str(field.type)) for field in rows.schema],
        rows=[list(row) for row in zip(*columns, strict=True)],
        total=found.total,
        seconds=round(found.seconds, 6),
    )


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    """The values (n,) of a column, as JSON has them.

    Raises:
        QueryError: Python has no such times.
    """
    try:
        return [plain(value) for value in column.to_pylist()]
    except (OverflowError, ValueError) as error:
        raise QueryError(f"SQL: column {name!r} can't be told: {error}; cast it to VARCHAR") from None
