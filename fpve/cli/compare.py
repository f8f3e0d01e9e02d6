"""The command compare: which encoders, which prefix, which fusion and which head serve a collection best."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import LOCAL, given, row_output
from fpve.cli.progress import terminal_progress


@click.command()
@click.argument("job", type=LOCAL)
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
@click.option(
    "--text-encoder",
    "text_encoders",
    multiple=True,
    metavar="NAME",
    help="A text encoder, as a job names it; may be repeated.  [default: the job's]",
)
@click.option(
    "--prefix",
    "prefixes",
    multiple=True,
    metavar="TEMPLATE",
    help="A prefix in the place of the job's, such as \"a {kind}, {caption}\"; may be repeated.  [default: the job's]",
)
@click.option(
    "--fusion",
    "fusions",
    multiple=True,
    type=click.Choice(["image only", "prefix only", "balanced", "concat"]),
    help="How pictures and prefixes are joined; may be repeated.  [default: image only, balanced]",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Choice(["knn", "logistic", "mlp"]),
    help="What classifies; may be repeated.  [default: knn]",
)
@click.option(
    "--folds",
    type=int,
    metavar="N",
    help="Divide pictures into N parts, and predict each by the others.  [default: leave one out; 5 with heads]",
)
@click.option("--sample", type=int, metavar="N", help="Take N labelled pictures, drawn at random, instead of all.")
@row_output
def compare(
    job: Path,
    label: str,
    image_encoders: tuple[str, ...],
    poolings: tuple[str, ...],
    text_encoders: tuple[str, ...],
    prefixes: tuple[str, ...],
    fusions: tuple[str, ...],
    heads: tuple[str, ...],
    folds: int | None,
    sample: int | None,
    kind: str | None,
    output_file: Path | None,
) -> None:
    """Compare encoders, prefixes, fusions and heads on the labelled pictures of a JOB; touches no store.

    Each row is evaluated as in evaluate; features are computed once. `behind` is the distance to the best row whose
    queries know as much, their prefix or not: where behind_low is above 0, that row is better beyond chance.
    query_prefix says what a query's own prefix is good for; a new picture that comes without one has it `unused`.
    """
    import fpve

    several = {
        "image_encoders": image_encoders,
        "poolings": poolings,
        "text_encoders": text_encoders,
        "prefixes": prefixes,
        "fusions": fusions,
        "heads": heads,
    }
    options = given(**{name: one or None for name, one in several.items()}, folds=folds, sample=sample)
    found = fpve.compare(job, label=label, progress=terminal_progress(), **options)
    table = found.to_arrow()
    same = [name for name in _ASKED if len(table[name].drop_null().unique()) < 2]
    output.print_rows(table, kind, output_file, hide=(*_HIDDEN, *same))
    for text in found.notes:
        output.note(f"note: {text}")


# With these a table is wider than most terminals.
_HIDDEN = ("balanced_accuracy", "macro_f1", "calibration_error", "accuracy_without_prefix", "image_weight", "rows")
# What need not be said where it is the same in all rows.
_ASKED = ("text_encoder", "prefix", "head")
COMMANDS = (compare,)
