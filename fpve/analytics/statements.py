"""What may be asked: one query, or the plan of one; and where queries that follow each other end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fpve.errors import QueryError

if TYPE_CHECKING:
    import duckdb

_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*EXPLAIN\b(\s+ANALYZE\b)?", re.IGNORECASE | re.DOTALL)
# What holds no end of a statement, be there a ; in it: texts, quoted names, texts between $tags$, and comments, in
# which there may be others. One that is not closed goes on to the end, as `open`.
_CLOSED = re.compile(
    r"""
    (?P<text> (?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '[^']*' | "[^"]*" | (?<!\w)\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | (?P<remark> --[^\n]* )
    | (?P<comment> /\* )
    | (?P<open> ['"] | (?<!\w)\$(?:[^\W\d]\w*)?\$ )
    | (?P<end> ; )
    | (?P<blank> \s+ )
    | (?P<other> \w+ | . )
    """,
    re.DOTALL | re.VERBOSE,
)
_COMMENT = re.compile(r"/\*|\*/")


def split_statements(text: str) -> tuple[list[str], str]:
    """The statements of a text that have a ; at their end, and what follows the last; comments alone are nothing."""
    found, start, at, said = [], 0, 0, False
    while at < len(text):
        piece = _CLOSED.match(text, at)
        if piece is None:
            break
        at = piece.end()
        if piece.lastgroup == "end":
            if said:
                found.append(text[start:at].strip())
            start, said = at, False
        elif piece["open"]:
            return found, text[start:]
        elif piece["comment"]:
            closed = _end_of_comment(text, at)
            if closed is None:
                return found, text[start:]
            at = closed
        elif piece["text"] or piece["other"]:
            said = True
    return found, text[start:] if said else ""


def _end_of_comment(text: str, start: int) -> int | None:
    """Where the comment ends whose beginning ends at `start`; None if it does not."""
    depth = 1
    for one in _COMMENT.finditer(text, start):
        depth += 1 if one[0] == "/*" else -1
        if not depth:
            return one.end()
    return None


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
