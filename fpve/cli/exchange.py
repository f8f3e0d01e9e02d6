"""Commands that exchange images and vectors with other programs: export, import."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import TARGET, at_option, given, object_output, store_argument
from fpve.cli.progress import terminal_progress


class _Names(click.ParamType[tuple[str, ...]]):
    """Names, with commas between them."""

    name = "names"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002 (click's)
        """Take a text apart; what is a tuple already stays."""
        if isinstance(value, tuple):
            return value
        return tuple(one.strip() for one in str(value).split(",") if one.strip())


@click.command()
@store_argument
@click.option(
    "--to",
    type=click.Choice(["parquet", "csv", "npy", "embedding-atlas"]),
    help="The format.  [default: by --output's extension]",
)
@click.option("--output", "-o", "target", type=TARGET, required=True, metavar="FILE", help="The file to write.")
@click.option(
    "--vectors",
    type=click.Choice(["fused", "image", "prefix", "none"]),
    help="Which vectors go along: the store's own, or raw ones of a block.  [default: fused; in CSV none]",
)
@click.option("--where", metavar="SQL", help="Only images for which this condition holds.")
@click.option("--columns", type=_Names(), metavar="A,B,…", help="Only these metadata columns.  [default: all]")
@click.option(
    "--projection", type=click.Choice(["pca", "umap"]), help="Of the points for Embedding Atlas.  [default: pca]"
)
@at_option
@object_output
def export(
    store: Path,
    to: str | None,
    target: Path,
    vectors: str | None,
    where: str | None,
    columns: tuple[str, ...] | None,
    projection: str | None,
    at: int | None,
    kind: str,
) -> None:
    """Write the images of a STORE to a file for other programs, one row an image.

    Parquet and CSV are one table; npy is a matrix of vectors, with its rows in a Parquet file beside it;
    embedding-atlas is what Apple's viewer of that name opens: thumbnails, points and neighbours.
    """
    import fpve

    options = given(to=to, vectors=vectors, where=where, columns=columns, projection=projection)
    done = fpve.open(store, at=at).export(target, **options, progress=terminal_progress())
    if kind == "json":
        output.emit(output.to_json(done.to_dict()))
    else:
        vector = f"{done.vectors}, {done.dim:,} numbers" if done.dim else "none"
        facts = [*(("file", one) for one in done.files), ("images", f"{done.rows:,}"), ("vectors", vector)]
        output.emit(output.facts_text([*facts, ("snapshot", f"{done.snapshot}")]))
    if done.command is not None:
        output.note(f"open it: {done.command}")


COMMANDS = (export,)
