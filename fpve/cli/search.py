"""The command `search`: one query, or those of a folder or a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fpve.cli import output
from fpve.cli.options import (
    EXIT_PARTLY,
    PATH,
    at_option,
    engine_options,
    given,
    html_option,
    image_weight,
    name_failed,
    row_output,
    save_option,
    save_rows,
    store_argument,
)
from fpve.cli.progress import terminal_progress, working

if TYPE_CHECKING:
    import pyarrow as pa

    from fpve.api import Store
    from fpve.records import Explanation
    from fpve.report.hits import Question

Command = TypeVar("Command", bound=Callable[..., Any])

# Steps of a search that are named one by one.
_NAMED = 5


def _selection(command: Command) -> Command:
    """Options that say which hits are wanted, and how they are found."""
    for option in (
        click.option("--explain", is_flag=True, help="Say on stderr what the search did."),
        click.option("--exact", is_flag=True, default=None, help="Score every vector, whatever index there is."),
        click.option("--group-by", metavar="COLUMN", help="Only the best hit of each value of this column."),
        click.option(
            "--dedup",
            type=float,
            metavar="COSINE",
            help="Leave out hits whose pictures are this near to a better hit's: 0.97, say.",
        ),
        click.option("--min-score", type=float, metavar="SCORE", help="Only hits that score at least this."),
        click.option("--offset", type=int, metavar="N", help="Skip the first N hits.  [default: 0]"),
        click.option("-k", "k", type=int, metavar="N", help="How many hits.  [default: 10]"),
        click.option("--where", metavar="SQL", help="Only images for which this condition holds."),
    ):
        command = option(command)
    return command


@click.command()
@store_argument
@click.option("--image", type=PATH, metavar="FILE", help="Find images that look like this picture.")
@click.option("--id", "image_id", metavar="IMAGE_ID", help="Find images like this one of the store.")
@click.option("--text", metavar="TEXT", help="Find images whose prefix, or picture, is close to this text.")
@click.option(
    "--queries",
    type=PATH,
    metavar="SOURCE",
    help="Search by every picture of a folder, or every row of a table: its pictures, texts, image_ids or vectors.",
)
@image_weight
@_selection
@html_option("what was searched by, and the hits")
@at_option
@engine_options
@row_output
@save_option
def search(
    store: Path,
    image: Path | None,
    image_id: str | None,
    text: str | None,
    queries: Path | None,
    explain: bool,
    html: Path | None,
    at: int | None,
    on: dict[str, Any],
    kind: str | None,
    output_file: Path | None,
    save: str | None,
    **wanted: Any,
) -> int:
    """Find the images of a STORE most like a picture, a text, both, or one of its own images.

    The score is A * image_score + (1 - A) * prefix_score, where both are cosines and A is the image weight. Where
    pictures and texts are encoded into one space, as CLIP does it, a text alone is compared with the pictures too:
    cross_score then stands for image_score.

    With --queries hits have the columns query and rank, and exit code 3 means that some queries have no answer.
    """
    import fpve

    single = given(image=image, id=image_id, text=text)
    if bool(single) == (queries is not None):
        found = " and ".join(f"--{name}" for name in single)
        raise click.UsageError(
            f"--queries is instead of {found}"
            if single
            else "give it --image FILE, --text TEXT, both, or --id IMAGE_ID"
        )
    if on and queries is None:
        raise click.UsageError("--engine is for --queries: one query is answered here")
    opened = fpve.open(store, at=at)
    if queries is not None:
        batch = opened.search_many(queries, progress=terminal_progress(), **given(**wanted), **on)
        if output_file is not None and save is None and html is None and output.is_data(kind, output_file):
            with output.one_line_errors(kind or output_file.suffix.removeprefix(".")):
                report = batch.write(output_file, kind=kind)
        else:
            rows, report = batch.collect()
            save_rows(opened, save, rows)
            if html is not None:
                from fpve.report.hits import questions_of, totals

                questions = questions_of(rows, batch.queries)
                _write_page(html, questions, opened, options={"queries": queries, **wanted}, **totals(report))
            output.print_rows(rows, kind, output_file, hide=_hidden(rows))
        if explain and report.explanation is not None:
            _explain(report.explanation)
        name_failed(report.failed)
        return EXIT_PARTLY if report.failed else 0
    with working("searching"):
        hits = opened.search(**single, **given(**wanted))
    save_rows(opened, save, hits)
    if html is not None:
        from fpve.report.hits import Question
        from fpve.report.pictures import asked

        picture = None if image is None else asked(str(image), image)
        question = Question(hits, picture, text, image_id)
        options = {"image": image, "id": image_id, "text": text, **wanted}
        _write_page(html, [question], opened, explanation=hits.explanation, options=options)
    output.print_rows(hits.to_arrow(), kind, output_file, hide=_hidden(hits.to_arrow()))
    if explain:
        _explain(hits.explanation)
    return 0


def _write_page(html: Path, questions: Iterable[Question], opened: Store, **told: Any) -> None:
    """Write hits as a page."""
    from fpve.report.hits import write_hits

    write_hits(html, questions, opened, **told)
    output.note(f"wrote {html}")


def _explain(explanation: Explanation) -> None:
    """Say what a search did."""
    low, high = explanation.weights
    facts: list[tuple[str, object]] = [
        ("queries", f"{explanation.queries:,}"),
        ("images", f"{explanation.images:,} that may be found"),
        ("image weight", f"{low:g}" if low == high else f"{low:g} to {high:g}"),
    ]
    for step in explanation.steps[:_NAMED]:
        segments = f"{step.segments:,} segment{'' if step.segments == 1 else 's'}"
        note = f" ({step.note})" if step.note else ""
        facts.append((step.way, f"{step.vectors:,} vectors in {segments}: {_WAYS[step.way]}{note}"))
    if len(explanation.steps) > _NAMED:
        facts.append(("…", f"and {len(explanation.steps) - _NAMED:,} more"))
    recall = explanation.target_recall
    facts += [
        ("looked at", f"the {explanation.ranked:,} best images of a query"),
        ("hits", "exact" if recall is None else f"approximate, made to have {recall:.1%} of the true ones"),
    ]
    output.note(output.facts_text(facts))


_WAYS = {
    "exact": "every one was scored",
    "codes": "every one was scored in a compressed form, and the best of them exactly",
    "graph": "those were scored that a graph led to",
    "prefixes": "every prefix was scored, and then images of the best",
}


def _hidden(hits: pa.Table) -> list[str]:
    """Columns that a person need not see.

    Metadata that is empty for all hits, or the prefix once more; of image_score and cross_score the one that is empty.
    """
    metadata = hits.column_names[hits.column_names.index("prefix") + 1 :]
    repeated = [name for name in metadata if hits[name].equals(hits["prefix"])]
    either = ["image_score", "cross_score"] if "cross_score" in hits.column_names else []
    empty = [name for name in (*metadata, *either) if hits[name].null_count == len(hits)]
    return ["collection", "path", *repeated, *empty]


COMMANDS = (search,)
