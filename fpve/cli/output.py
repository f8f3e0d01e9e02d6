"""Printing results: rows as a table, JSON, CSV or Parquet; objects as text or JSON. Data goes to stdout."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pyarrow as pa

# A table wider than any line, for files and pipes: nothing is cut off there.
_UNBOUNDED = 1_000_000
_CELL_WIDTH = 60
_NARROWEST = 8


def print_rows(table: pa.Table, kind: str | None, output: Path | None = None, *, hide: Iterable[str] = ()) -> None:
    """Print rows, or write them to a file; `hide` names columns that only the table leaves out.

    Without a kind it is that of the file's extension, or a table.
    """
    kind = kind or _KINDS.get(output.suffix.lower() if output else "", "table")
    try:
        _print_rows(table, kind, output, hide)
    except (OverflowError, NotImplementedError, ValueError) as error:
        # A time that Python does not reach, or a type that the format has not.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise click.ClickException(f"can't write this result as {kind}: {reason}; cast the column to VARCHAR") from None


_KINDS = {".json": "json", ".csv": "csv", ".parquet": "parquet"}


def _print_rows(table: pa.Table, kind: str, output: Path | None, hide: Iterable[str]) -> None:
    if kind == "parquet":
        _write_parquet(table, output)
        return
    if kind == "csv":
        text = _csv(table)
    elif kind == "json":
        text = to_json(table.to_pylist())
    else:
        shown = [name for name in table.column_names if name not in set(hide)]
        text = rows_text(shown, [[row[name] for name in shown] for row in table.to_pylist()])
    emit(text, output)


def emit(text: str, output: Path | None = None) -> None:
    """Print text, or write it to a file."""
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


def to_json(value: Any) -> str:
    """JSON with times as ISO 8601, and null for NaN and infinity, which JSON has not."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=1, default=str)


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


def _cell(value: Any, *, cut: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        text = f"{value:.4f}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.4g}"
    elif isinstance(value, list | dict):
        text = json.dumps(_plain(value), ensure_ascii=False, default=str)
    else:
        text = str(value)
    # A file name or a caption may hold line breaks, and escape sequences that would drive the terminal.
    text = "".join(one if one.isprintable() else " " for one in text)
    return text[: _CELL_WIDTH - 1] + "…" if cut and len(text) > _CELL_WIDTH else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value


def _csv(table: pa.Table) -> str:
    import io

    import pyarrow as pa
    import pyarrow.csv as pacsv

    for at, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            # CSV has no lists.
            texts = [
                None if one is None else json.dumps(_plain(one), default=str) for one in table[field.name].to_pylist()
            ]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    buffer = io.BytesIO()
    pacsv.write_csv(table, buffer, pacsv.WriteOptions(quoting_style="needed"))
    return buffer.getvalue().decode().removesuffix("\n")


def _write_parquet(table: pa.Table, output: Path | None) -> None:
    import pyarrow.parquet as pq

    if output is None and sys.stdout.isatty():
        raise click.UsageError("--format parquet is binary: give it a file with --output")
    pq.write_table(table, output if output is not None else sys.stdout.buffer)
