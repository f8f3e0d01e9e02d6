"""The command demo: a tour on pictures that come along."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import LOCAL
from fpve.cli.progress import terminal_progress


@click.command()
@click.argument("directory", type=LOCAL, metavar="[DIR]", default=Path("fpve-demo"))
def demo(directory: Path) -> None:
    """Make sample collections, encode, search, classify and query them; ends with a page to open.

    Everything is put into DIR, fpve-demo by default.
    """
    from fpve.demo.tour import take_tour

    page = take_tour(directory, say=output.note, progress=terminal_progress())
    output.emit(str(page))


COMMANDS = (demo,)
