"""The command `map`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fpve.cli import output
from fpve.cli.options import (
    at_option,
    given,
    html_option,
    image_weight,
    row_output,
    save_option,
    save_rows,
    store_argument,
)
from fpve.cli.progress import working


@click.command("map")
@store_argument
@click.option(
    "--method",
    type=click.Choice(["pca", "umap"]),
    help="How images are placed: by two straight axes, or neighbours by neighbours (needs the extra map)."
    "  [default: pca]",
)
@image_weight
@click.option("--where", metavar="SQL", help="Only images for which this condition holds.")
@click.option("--color", metavar="COLUMN", help="Colour the page by this column, and have it in the rows.")
@click.option("--seed", type=int, metavar="N", help="Of what umap draws at random.  [default: 0]")
@html_option("the map: pictures at points, to be zoomed, searched and filtered")
@save_option
@at_option
@row_output
def map_(
    store: Path,
    html: Path | None,
    save: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
    **wanted: Any,
) -> None:
    """Place the images of a STORE in a plane: what a search finds alike is near.

    Rows are image_id, x and y. With --html or --save they are printed only if --format or --output is there too.
    """
    import fpve

    opened = fpve.open(store, at=at)
    with working("placing"):
        found = opened.map(**given(**wanted))
    save_rows(opened, save, found)
    if html is not None:
        from fpve.report.map import write_map

        with working("drawing"):
            write_map(html, found, opened)
        output.note(f"wrote {html}")
    if kind is not None or output_file is not None or (html is None and save is None):
        output.print_rows(found.to_arrow(), kind, output_file)


COMMANDS = (map_,)
