"""The command `saved`."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import row_output, store_argument


@click.command()
@store_argument
@click.option("--remove", metavar="NAME", help="Delete what is saved under this name.")
@row_output
def saved(store: Path, remove: str | None, kind: str | None, output_file: Path | None) -> None:
    """List the rows that are saved in a STORE by --save NAME: SQL has them as saved.NAME."""
    import fpve

    opened = fpve.open(store)
    if remove is None:
        output.print_rows(opened.saved(), kind, output_file, hide=("columns",))
        return
    if kind or output_file:
        raise click.UsageError("--remove prints no rows: leave out --format and --output")
    opened.remove_saved(remove)
    output.note(f"{store}: removed what was saved as {remove}")


COMMANDS = (saved,)
