"""Commands that exchange images and vectors with other programs: export, import."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import LOCAL, TARGET, at_option, given, object_output, store_argument, wait_option
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


@click.command("import")
@store_argument
@click.option("--vectors", type=LOCAL, required=True, metavar="FILE", help="Parquet, or a matrix FILE.npy.")
@click.option(
    "--collection", metavar="NAME", help="What the rows become.  [default: the exported one, or the file's name]"
)
@click.option(
    "--ids", type=LOCAL, metavar="TABLE", help="Of a matrix: ids and metadata of its rows.  [default: beside it]"
)
@click.option("--image-encoder", metavar="NAME", help="What made the vectors; it encodes the pictures of queries.")
@click.option("--text-encoder", metavar="NAME", help="What embeds prefixes and the texts of queries; none for none.")
@click.option(
    "--prefix", metavar="TEMPLATE", help='Each row\'s text, such as "{caption}".  [default: the column prefix]'
)
@click.option("--columns", type=_Names(), metavar="A,B,…", help="Only these as metadata.  [default: all]")
@click.option("--allow-removals", is_flag=True, help="Publish even if much of the collection is gone.")
@wait_option
@object_output
def import_vectors(
    store: Path,
    vectors: Path,
    collection: str | None,
    ids: Path | None,
    image_encoder: str | None,
    text_encoder: str | None,
    prefix: str | None,
    columns: tuple[str, ...] | None,
    allow_removals: bool,
    wait: bool,
    kind: str,
) -> None:
    """Make vectors that somebody else computed a collection of a STORE; again it takes up what changed.

    FILE has the columns image_id and vector (raw features of a picture); path, prefix and others if it likes. What
    `fpve export --vectors image` wrote says itself what made its vectors.
    """
    import fpve

    options = given(
        collection=collection,
        ids=ids,
        image_encoder=image_encoder,
        text_encoder=text_encoder,
        prefix=prefix,
        columns=columns,
    )
    done = fpve.import_vectors(
        store, vectors=vectors, **options, allow_removals=allow_removals, wait=wait, progress=terminal_progress()
    )
    if kind == "json":
        output.emit(output.to_json(done.to_dict()))
        return
    counted = {name: getattr(done, name) for name in ("new", "moved", "changed", "prefix_changed", "metadata_changed")}
    became = [f"{count:,} {name.replace('_', ' ')}" for name, count in counted.items() if count]
    became += [
        f"{count:,} {name}" for name, count in (("unchanged", done.unchanged), ("removed", done.removed)) if count
    ]
    facts: list[tuple[str, object]] = [
        ("collection", done.collection),
        ("images", f"{done.rows:,} ({', '.join(became)})"),
        ("vectors", f"{done.fused:,} made, of {done.dim:,} numbers"),
        *((f"{block} encoder", name) for block, name in done.encoders.items()),
        ("snapshot", f"{done.snapshot} ({'published' if done.published else 'nothing to do'})"),
    ]
    output.emit(output.facts_text(facts))
    for note in done.notes:
        output.note(f"note: {note}")


COMMANDS = (export, import_vectors)
