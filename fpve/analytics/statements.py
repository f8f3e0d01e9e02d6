"""What may be asked: one query, or the plan of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fpve.errors import QueryError

if TYPE_CHECKING:
    import duckdb

_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*EXPLAIN\b(\s+ANALYZE\b)?", re.IGNORECASE | re.DOTALL)


def checked_statement(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """A text that is one query; of the plan of a query made anew, of what was looked at.

    Raises:
        QueryError: it is no statement, several, or one of another kind.
        duckdb.Error: it can't be parsed.
    """
    import duckdb

    kind, rest = _kind(connection, text), text
    if kind == duckdb.StatementType.EXPLAIN:
        # The plan of a statement that changes something is no harm; to analyse it is to execute it.
        found = _EXPLAIN.match(text)
        if found is None:
            raise QueryError("SQL: expected EXPLAIN or EXPLAIN ANALYZE before a SELECT query, found a comment between")
        rest = text[found.end() :]
        kind = _kind(connection, rest)
        text = f"EXPLAIN {'ANALYZE ' if found[1] else ''}{rest}"
    if kind == duckdb.StatementType.MULTI:
        raise QueryError(
            "SQL: a PIVOT needs the values that become columns: PIVOT … ON kind IN ('cat', 'dog'); or count them by "
            "count(*) FILTER (kind = 'cat')"
        )
    if kind != duckdb.StatementType.SELECT:
        raise QueryError(f"SQL: expected a SELECT query, found {kind.name}; a store is changed by `fpve run`")
    return text


def _kind(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.StatementType:
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        raise QueryError(f"SQL: expected one query, found {len(statements)}")
    return statements[0].type
