"""The command `sql`."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import at_option, row_output, store_argument
from fpve.cli.progress import working


@click.command()
@store_argument
@click.argument("query")
@at_option
@row_output
def sql(store: Path, query: str, at: int | None, kind: str | None, output_file: Path | None) -> None:
    """Answer an SQL QUERY (DuckDB) over a STORE.

    Its views: images (one row an image), vectors (image_id, vector), prefixes, labels, quarantine, runs; and generated,
    corrections, means, predicted, where the store has such. It can read nothing else, and change nothing.
    """
    import fpve

    with working("asking"):
        rows = fpve.open(store, at=at).sql(query)
    output.print_rows(rows, kind, output_file)


COMMANDS = (sql,)
