"""Commands that ask a store: search, classify, evaluate, sql."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fpve.cli import output
from fpve.cli.options import PATH, at_option, given, image_weight, object_output, row_output, store_argument, votes
from fpve.cli.progress import working

if TYPE_CHECKING:
    import pyarrow as pa


@click.command()
@store_argument
@click.option("--image", type=PATH, metavar="FILE", help="Find images that look like this picture.")
@click.option("--id", "image_id", metavar="IMAGE_ID", help="Find images like this one of the store.")
@click.option("--text", metavar="TEXT", help="Find images whose prefix, or picture, is close to this text.")
@image_weight
@click.option("-k", "k", type=int, metavar="N", help="How many hits.  [default: 10]")
@click.option("--where", metavar="SQL", help="Only images for which this condition holds.")
@at_option
@row_output
def search(
    store: Path,
    image: Path | None,
    image_id: str | None,
    text: str | None,
    image_weight: float | None,
    k: int | None,
    where: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
) -> None:
    """Find the images of a STORE most like a picture, a text, both, or one of its own images.

    The score is A * image_score + (1 - A) * prefix_score, where both are cosines and A is the image weight. Where
    pictures and texts are encoded into one space, as CLIP does it, a text alone is compared with the pictures too:
    cross_score then stands for image_score.
    """
    import fpve

    if image is None and image_id is None and text is None:
        raise click.UsageError("give it --image FILE, --text TEXT, both, or --id IMAGE_ID")
    options = given(image=image, id=image_id, text=text, image_weight=image_weight, k=k, where=where)
    with working("searching"):
        hits = fpve.open(store, at=at).search(**options).to_arrow()
    output.print_rows(hits, kind, output_file, hide=("collection", "path", *_uninformative(hits)))


@click.command()
@store_argument
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option(
    "--text", metavar="TEXT", help="A caption of the pictures, to be fused with them as the store's prefixes are."
)
@votes
@at_option
@row_output
def classify(
    store: Path,
    files: tuple[Path, ...],
    label: str,
    text: str | None,
    image_weight: float | None,
    k: int | None,
    temperature: float | None,
    where: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
) -> None:
    """Predict a label for picture FILES by the votes of their nearest labelled images (k-NN)."""
    import pyarrow as pa

    import fpve

    options = given(text=text, image_weight=image_weight, k=k, temperature=temperature, where=where)
    with working("classifying"):
        found = fpve.open(store, at=at).classify(list(files), label=label, **options)
    named = found.to_arrow().add_column(0, "path", pa.array([str(file) for file in files]))
    output.print_rows(named, kind, output_file, hide=("probabilities", "neighbours"))


@click.command()
@store_argument
@votes
@click.option(
    "--mode", type=click.Choice(["balanced", "concat"]), help="Evaluate another fusion mode than the store's."
)
@click.option("--ablation", is_flag=True, help="Compare picture only, text only, balanced and concat.")
@at_option
@object_output
def evaluate(
    store: Path,
    label: str,
    image_weight: float | None,
    mode: str | None,
    ablation: bool,
    k: int | None,
    temperature: float | None,
    where: str | None,
    at: int | None,
    kind: str,
) -> None:
    """Measure k-NN by leave-one-out on a label column of a STORE.

    Copies of a picture and images with the same prefix don't vote for one another; the naive accuracy, where they do,
    stands beside.
    """
    import dataclasses

    import fpve

    opened = fpve.open(store, at=at)
    options = given(k=k, temperature=temperature, where=where)
    if ablation:
        if image_weight is not None or mode is not None:
            raise click.UsageError("--ablation sets image weight and mode itself")
        with working("evaluating"):
            found = opened.ablation(label=label, **options)
        rows = [
            (name, one.accuracy, one.balanced_accuracy, one.macro_f1, one.naive_accuracy) for name, one in found.items()
        ]
        if kind == "json":
            output.emit(output.to_json({name: dataclasses.asdict(one) for name, one in found.items()}))
        else:
            columns = ["what is compared", "accuracy", "balanced_accuracy", "macro_f1", "naive_accuracy"]
            output.emit(output.rows_text(columns, rows))
        warnings = {text for one in found.values() for text in one.warnings}
    else:
        with working("evaluating"):
            result = opened.evaluate(label=label, **options, **given(image_weight=image_weight, mode=mode))
        warnings = set(result.warnings)
        if kind == "json":
            output.emit(output.to_json(dataclasses.asdict(result)))
        else:
            names = (
                "accuracy",
                "balanced_accuracy",
                "macro_f1",
                "naive_accuracy",
                "rows",
                "k",
                "temperature",
                "image_weight",
                "mode",
            )
            output.emit(output.facts_text((name, getattr(result, name)) for name in names))
            classes = [(one.label, one.precision, one.recall, one.f1, one.rows) for one in result.classes]
            output.emit("\n" + output.rows_text([label, "precision", "recall", "f1", "rows"], classes))
    for text in sorted(warnings):
        output.note(f"note: {text}")


@click.command()
@store_argument
@click.argument("query")
@at_option
@row_output
def sql(store: Path, query: str, at: int | None, kind: str | None, output_file: Path | None) -> None:
    """Answer an SQL QUERY (DuckDB) over a STORE.

    Its views: images (one row an image), vectors (image_id, vector), prefixes, labels, quarantine, runs. It can read
    nothing else, and change nothing.
    """
    import fpve

    with working("asking"):
        rows = fpve.open(store, at=at).sql(query)
    output.print_rows(rows, kind, output_file)


def _uninformative(hits: pa.Table) -> list[str]:
    """Columns that a person need not see.

    Metadata that is empty for all hits, or the prefix once more; of image_score and cross_score the one that is empty.
    """
    metadata = hits.column_names[hits.column_names.index("prefix") + 1 :]
    repeated = [name for name in metadata if hits[name].equals(hits["prefix"])]
    either = ["image_score", "cross_score"] if "cross_score" in hits.column_names else []
    return [*repeated, *(name for name in (*metadata, *either) if hits[name].null_count == len(hits))]


COMMANDS = (search, classify, evaluate, sql)
