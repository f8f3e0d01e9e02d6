"""The command compare: which image encoder, and which pooling, serves a collection best."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import PATH, given, row_output
from fpve.cli.progress import terminal_progress


@click.command()
@click.argument("job", type=PATH)
@click.option("--label", required=True, metavar="COLUMN", help="The metadata column of true classes.")
@click.option(
    "--image-encoder",
    "image_encoders",
    multiple=True,
    metavar="NAME",
    help="An image encoder, as a job names it; may be repeated.  [default: the job's]",
)
@click.option(
    "--pooling",
    "poolings",
    multiple=True,
    type=click.Choice(["gem", "mean", "text"]),
    help="How its feature map is pooled, text by likeness to the prefix; may be repeated.  [default: all]",
)
@click.option("--sample", type=int, metavar="N", help="Take N labelled pictures, drawn at random, instead of all.")
@row_output
def compare(
    job: Path,
    label: str,
    image_encoders: tuple[str, ...],
    poolings: tuple[str, ...],
    sample: int | None,
    kind: str | None,
    output_file: Path | None,
) -> None:
    """Compare image encoders and poolings on the labelled pictures of a JOB; touches no store.

    Each row is k-NN by leave-one-out, as in evaluate, of pictures alone or balanced with the job's prefixes. `behind`
    is the distance to the best row whose queries know as much, their prefix or not: where behind_low is above 0, that
    row is better beyond chance. query_prefix says what a query's own prefix is good for; a new picture that comes
    without one has it `unused`.
    """
    import fpve

    options = given(image_encoders=image_encoders or None, poolings=poolings or None, sample=sample)
    found = fpve.compare(job, label=label, progress=terminal_progress(), **options)
    output.print_rows(found.to_arrow(), kind, output_file, hide=_HIDDEN)
    for text in found.notes:
        output.note(f"note: {text}")


# With these a table is wider than most terminals.
_HIDDEN = ("balanced_accuracy", "macro_f1", "image_weight", "rows")
COMMANDS = (compare,)
