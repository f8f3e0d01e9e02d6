"""Printing results: rows as a table, JSON, CSV or Parquet; objects as text or JSON. Data goes to stdout."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fpve.errors import FpveError
from fpve.rowfiles import flat, kind_of, write_rows
from fpve.rowfiles import to_json as to_json  # commands print objects by it

if TYPE_CHECKING:
    import pyarrow as pa

# A table wider than any line, for files and pipes: nothing is cut off there.
_UNBOUNDED = 1_000_000
_CELL_WIDTH = 60
_NARROWEST = 8


def print_rows(
    table: pa.Table,
    kind: str | None,
    output: Path | None = None,
    *,
    hide: Iterable[str] = (),
    shown: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
    """Print rows, or write them to a file.

    Args:
        table: the rows.
        kind: the format; without it that of the file's extension, or a table.
        output: the file.
        hide: columns that only the table leaves out.
        shown: a row as only the table has it.
    """
    if kind is None:
        kind = (kind_of(output) if output else None) or "table"
    with one_line_errors(kind):
        _print_rows(table, kind, output, hide, shown)


@contextmanager
def one_line_errors(kind: str) -> Iterator[None]:
    """Say in one line why rows can't be written in a format."""
    try:
        yield
    except FpveError:
        raise
    except (OverflowError, NotImplementedError, ValueError) as error:
        # A time that Python does not reach, or a type that the format has not.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise click.ClickException(f"can't write this result as {kind}: {reason}; cast the column to VARCHAR") from None


def is_data(kind: str | None, output: Path) -> bool:
    """Whether rows are to be written to a file for programs, not as a table for people."""
    return (kind or kind_of(output) or "table") != "table"


def _print_rows(
    table: pa.Table,
    kind: str,
    output: Path | None,
    hide: Iterable[str],
    shown: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    if kind == "table":
        names = [name for name in table.column_names if name not in set(hide)]
        emit(rows_text(names, [[row[name] for name in names] for row in map(shown, table.to_pylist())]), output)
    elif output is not None:
        write_rows(output, table.schema, [table], kind=kind)
    elif kind == "parquet":
        _print_parquet(table)
    elif kind == "csv":
        emit(_csv(table))
    elif kind == "json":
        emit(to_json(table.to_pylist()))
    elif len(table):
        # Of no rows no line: an empty one is no JSON.
        emit("\n".join(to_json(row, indent=None) for row in table.to_pylist()))


def emit(text: str, output: Path | None = None) -> None:
    """Print text, or write it to a file."""
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


def rows_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as a text table: cut to the terminal's width there, complete elsewhere."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size().columns
    # Where not even the beginnings of all columns have room, lines that wrap are better than columns that are missing.
    terminal = sys.stdout.isatty() and len(columns) * _NARROWEST <= width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    cells = [[_cell(value, cut=terminal) for value in row] for row in rows]
    for at, name in enumerate(columns):
        numeric = bool(rows) and all(row[at] is None or _is_number(row[at]) for row in rows)
        table.add_column(
            Text(name),
            justify="right" if numeric else "left",
            no_wrap=True,
            overflow="ellipsis" if terminal else "ignore",
            # Where there is no room for everything, a text may be cut, a number never.
            min_width=max(len(row[at]) for row in cells) if numeric else None,
        )
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(
        width=width if terminal else _UNBOUNDED, color_system=None, highlight=False, emoji=False, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().removesuffix("\n").split("\n"))


def facts_text(facts: Iterable[tuple[str, Any]]) -> str:
    """Names and values, one line each."""
    pairs = [(name, _cell(value, cut=False)) for name, value in facts]
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in pairs)


def note(text: str) -> None:
    """Say something to the person, on stderr, where it is not part of the data."""
    click.echo(text, err=True)


def printable(text: str) -> str:
    """A text in one line: a file name or a caption may hold line breaks, and escapes that would drive the terminal."""
    return "".join(one if one.isprintable() else " " for one in text)


def _cell(value: Any, *, cut: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        text = f"{value:.4f}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.4g}"
    elif isinstance(value, list | dict):
        text = to_json(value, indent=None)
    else:
        text = str(value)
    text = printable(text)
    return text[: _CELL_WIDTH - 1] + "…" if cut and len(text) > _CELL_WIDTH else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _csv(table: pa.Table) -> str:
    import io

    import pyarrow.csv as pacsv

    buffer = io.BytesIO()
    pacsv.write_csv(flat(table), buffer, pacsv.WriteOptions(quoting_style="needed"))
    return buffer.getvalue().decode().removesuffix("\n")


def _print_parquet(table: pa.Table) -> None:
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise click.UsageError("--format parquet is binary: give it a file with --output")
    pq.write_table(table, sys.stdout.buffer)
