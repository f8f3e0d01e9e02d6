"""The command that labels images."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import PATH, object_output, store_argument, wait_option


@click.command()
@store_argument
@click.argument("file", type=PATH)
@click.option("--undo", is_flag=True, help="Take back the labels of the cells that FILE names.")
@wait_option
@object_output
def label(store: Path, file: Path, undo: bool, wait: bool, kind: str) -> None:
    """Give images of a STORE new metadata from FILE, by image_id, without running their job.

    FILE is CSV, TSV, Parquet, JSON or JSONL with a column image_id and others; an empty cell changes nothing. A label
    wins over the job's metadata in every later run, until it is taken back. It changes no prefix and no vector.
    """
    import fpve

    found = fpve.label(store, file, undo=undo, wait=wait)
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    what = "taken back" if undo else "labelled"
    rest = "had no label" if undo else "as they were"
    facts: list[tuple[str, object]] = [
        ("cells", f"{found.changed:,} {what}, {found.unchanged:,} {rest}"),
        ("images", f"{found.images:,}"),
        ("new columns", ", ".join(found.new_columns) or "none"),
        ("snapshot", f"{found.snapshot} ({'published' if found.published else 'nothing to do'})"),
    ]
    output.emit(output.facts_text(facts))
    if undo and found.published:
        output.note("note: these cells are empty until the next run puts the job's own values there")


COMMANDS = (label,)
