"""The command that labels images."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import LOCAL, object_output, store_argument, wait_option

# How like another a new name is that may be a slip: lable and label are at 0.8, rating and caption at 0.62.
_SLIP = 0.75


@click.command()
@store_argument
@click.argument("file", type=LOCAL)
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
    for text in _misspelt(store, file, found.new_columns):
        output.note(f"note: {text}")
    if undo and found.published:
        output.note("note: these cells are empty until the next run puts the job's own values there")


def _misspelt(store: Path, file: Path, new_columns: tuple[str, ...]) -> Iterator[str]:
    """Of each new column that is called nearly as one that was there: which one may be meant, and the way back."""
    import fpve

    if not new_columns:
        return
    known = [column.name for column in fpve.open(store).columns if column.name not in new_columns]
    for name in new_columns:
        for meant in difflib.get_close_matches(name.casefold(), known, n=1, cutoff=_SLIP):
            undo = shlex.join(["fpve", "label", str(store), str(file), "--undo"])
            yield f"the column {name!r} is new; did you mean {meant!r}? Take it back: {undo}"


COMMANDS = (label,)
