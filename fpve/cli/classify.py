"""The command `classify`: some pictures, or those of a folder or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fpve.cli import output
from fpve.cli.options import (
    EXIT_PARTLY,
    LOCAL,
    PATH,
    at_option,
    engine_options,
    given,
    head_option,
    html_option,
    name_failed,
    row_output,
    store_argument,
    votes,
)
from fpve.cli.progress import terminal_progress, working

if TYPE_CHECKING:
    import pyarrow as pa

# Wider than any terminal.
_HIDDEN = ("probabilities", "neighbours")


@click.command()
@store_argument
@click.argument("files", type=PATH, nargs=-1)
@click.option(
    "--queries",
    type=PATH,
    metavar="SOURCE",
    help="Classify every picture of a folder, or every row of a table: its pictures, texts, image_ids or vectors.",
)
@click.option(
    "--text", metavar="TEXT", help="A caption of the pictures, to be fused with them as the store's prefixes are."
)
@click.option(
    "--metadata",
    type=LOCAL,
    metavar="FILE",
    help="A table with the paths of FILES, and the columns that the store's prefixes are filled in with.",
)
@click.option("--collection", metavar="NAME", help="Whose prefix is filled in, if several collections have one.")
@head_option
@votes
@click.option(
    "--abstain-below", type=float, metavar="P", help="Predict nothing where the confidence is lower, from 0 to 1."
)
@click.option(
    "--abstain-novel",
    type=float,
    metavar="P",
    help="Predict nothing where the novelty is higher: 0.99 leaves out what is like few images of the store.",
)
@html_option("the pictures and the neighbours that voted")
@at_option
@engine_options
@row_output
def classify(
    store: Path,
    files: tuple[Path, ...],
    queries: Path | None,
    text: str | None,
    metadata: Path | None,
    collection: str | None,
    html: Path | None,
    at: int | None,
    on: dict[str, Any],
    kind: str | None,
    output_file: Path | None,
    **wanted: Any,
) -> int:
    """Predict a label for picture FILES by the votes of their nearest labelled images (k-NN), or by a trained head.

    The confidence is the probability that a prediction is right, as images of the store that are classified by the
    others tell it; novelty the share of the store's labelled images that are more like the others than the picture is.

    With --queries there is a column query, and exit code 3 means that some queries have no answer.
    """
    import fpve

    abstains = wanted["abstain_below"] is not None or wanted["abstain_novel"] is not None
    single = given(text=text, metadata=metadata, collection=collection)
    if bool(files) == (queries is not None) or (queries is not None and (single or html is not None)):
        raise click.UsageError("give it picture FILES, or --queries SOURCE alone")
    if on and queries is None:
        raise click.UsageError("--engine is for --queries: one query is answered here")
    opened = fpve.open(store, at=at)
    if queries is not None:
        batch = opened.classify_many(queries, progress=terminal_progress(), **given(**wanted), **on)
        if output_file is not None and output.is_data(kind, output_file):
            with output.one_line_errors(kind or output_file.suffix.removeprefix(".")):
                report = batch.write(output_file, kind=kind)
        else:
            rows, report = batch.collect()
            _print(rows, kind, output_file)
            if abstains:
                _say_answered(rows)
        name_failed(report.failed)
        return EXIT_PARTLY if report.failed else 0
    with working("classifying"):
        found = opened.classify(list(files), **single, **given(**wanted))
    if html is not None:
        from fpve.classify import Abstention
        from fpve.report.predictions import write_predictions

        write_predictions(
            html,
            found,
            [str(file) for file in files],
            list(files),
            opened,
            label=wanted["label"],
            abstention=Abstention(wanted["abstain_below"], wanted["abstain_novel"]),
        )
        output.note(f"wrote {html}")
    import pyarrow as pa

    _print(found.to_arrow().add_column(0, "path", pa.array([str(file) for file in files])), kind, output_file)
    for said in found.notes:
        output.note(f"note: {said}")
    if abstains:
        _say_answered(found.to_arrow())
    return 0


def _say_answered(rows: pa.Table) -> None:
    output.note(f"note: answered {len(rows) - rows['prediction'].null_count} of {len(rows)}")


def _print(rows: pa.Table, kind: str | None, output_file: Path | None) -> None:
    empty = [name for name in ("novelty",) if rows[name].null_count == len(rows)]
    output.print_rows(rows, kind, output_file, hide=(*_HIDDEN, *empty))


COMMANDS = (classify,)
