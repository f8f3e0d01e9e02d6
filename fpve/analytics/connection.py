"""A DuckDB in memory that reaches no file, and its errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fpve.errors import QueryError

if TYPE_CHECKING:
    import duckdb

# Without external access there is no file to read, write, attach or install. A directory for temporary files would be
# an exception from that, so there is none. Python variables are no tables either.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "temp_directory": "",
    "python_enable_replacements": False,
}


def open_connection(*, memory: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open one whose times are UTC; `memory` is how many bytes it may take."""
    import duckdb

    bound = {} if memory is None else {"memory_limit": f"{memory}B"}
    connection = duckdb.connect(config=_CONFIG | bound)
    connection.execute("SET TimeZone = 'UTC'")
    # It would be printed on stdout, among the data, after two seconds.
    connection.execute("SET enable_progress_bar = false")
    return connection


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Take away every way to allow what is not allowed."""
    connection.execute("SET lock_configuration = true")


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def in_one_line(error: Exception) -> str:
    """What an error says, without the excerpt of the query, nor what would drive a terminal."""
    lines = [line.strip() for line in str(error).split("\nLINE ")[0].splitlines()]
    text = " ".join(line for line in lines if line)
    return "".join(one if one.isprintable() else " " for one in text)


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turn DuckDB's errors into a QueryError of one line."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise QueryError(f"{what}: {in_one_line(error)}") from None
