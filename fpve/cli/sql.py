"""The command `sql`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.answers import print_answer
from fpve.cli.options import at_option, row_output, save_option, save_rows, store_argument
from fpve.cli.progress import working
from fpve.rowfiles import kind_of, write_rows


@click.command()
@store_argument
@click.argument("query", required=False)
@click.option("--interactive", "-i", is_flag=True, help="Ask one query after the other, each with a ; at its end.")
@click.option("--timeout", type=float, metavar="S", help="Give up a query after so many seconds.  [default: never]")
@click.option("--memory", metavar="SIZE", help="What a query may take, such as 2GB.  [default: half of what there is]")
@at_option
@row_output
@save_option
def sql(
    store: Path,
    query: str | None,
    interactive: bool,
    timeout: float | None,
    memory: str | None,
    at: int | None,
    kind: str | None,
    output_file: Path | None,
    save: str | None,
) -> None:
    """Answer an SQL QUERY (DuckDB) over a STORE; without one, or with -, it is read from stdin.

    Its views: images (one row an image), vectors (image_id, vector), prefixes, labels, predictions, quarantine, runs;
    generated, corrections, means, predicted, where the store has such; saved, and saved.NAME for what --save NAME kept.
    Functions beside DuckDB's: cosine(a, b), FROM search('text', k := 10), FROM neighbours(image_id, k := 10). It can
    read nothing else, and change nothing.
    """
    import fpve

    if query is not None and interactive:
        raise click.UsageError("--interactive asks for queries itself: leave out QUERY")
    talks = interactive or (query is None and sys.stdin.isatty())
    if talks and (output_file or save):
        raise click.UsageError("--output and --save are of one query: give it as QUERY")
    if query == "-" or (query is None and not talks):
        query = sys.stdin.read()
    opened = fpve.open(store, at=at)
    with opened.sql_session(timeout=timeout, memory=memory) as session:
        if query is None or talks:
            from fpve.cli.prompt import talk

            talk(session, kind)
            return
        with working("asking"):
            answer = session.ask(query)
        if output_file is not None and save is None and output.is_data(kind, output_file):
            with output.one_line_errors(kind or kind_of(output_file) or "a file"), working("writing"):
                write_rows(output_file, answer.schema, answer.parts(), kind=kind)
        elif save is None and output_file is None:
            print_answer(answer, kind)
        else:
            with working("asking"):
                rows = answer.collect()
            save_rows(opened, save, rows)
            output.print_rows(rows, kind, output_file)


COMMANDS = (sql,)
