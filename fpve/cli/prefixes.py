"""Commands that deal with prefixes: prefix preview, list, set, freeze; and align, which predicts them."""

from __future__ import annotations

from pathlib import Path

import click

from fpve.cli import output
from fpve.cli.options import LOCAL, at_option, given, object_output, row_output, store_argument, wait_option
from fpve.cli.progress import terminal_progress, working


@click.group()
def prefix() -> None:
    """See, list, correct and generate the prefixes of images."""


@prefix.command()
@click.argument("job", type=LOCAL)
@click.option("-n", "--images", type=int, metavar="N", help="Of how many images of each collection.  [default: 10]")
@click.option("--collection", metavar="NAME", help="Of this collection only.")
@click.option("--ask/--no-ask", default=True, help="Whether language models are asked.  [default: ask]")
@row_output
def preview(
    job: Path, images: int | None, collection: str | None, ask: bool, kind: str | None, output_file: Path | None
) -> None:
    """Show what prefixes a JOB would give a few images; touches no store.

    Language models are asked for those of the images, and what they say is not kept; --no-ask shows prompts only.
    `unseen` is how many characters at the end of a prefix the text model does not see.
    """
    import fpve

    options = given(images=images, collection=collection)
    rows = fpve.preview(job, ask=ask, progress=terminal_progress(), **options)
    hide = [name for name in ("prompt", "unseen", "problem") if not any(rows[name].to_pylist())]
    output.print_rows(rows, kind, output_file, hide=hide)


@prefix.command("list")
@store_argument
@click.option(
    "--where", metavar="SQL", help="Only prefixes for which this condition holds, such as \"origin = 'generated'\"."
)
@at_option
@row_output
def list_(store: Path, where: str | None, at: int | None, kind: str | None, output_file: Path | None) -> None:
    """List the prefixes of a STORE: how many images have each, and where it came from.

    All that is known of a generated one is in fpve sql STORE "FROM prefixes".
    """
    import fpve

    rows = fpve.open(store, at=at).prefixes(where=where)
    empty = [name for name in ("corrected", "template", "model", "prompt") if not any(rows[name].to_pylist())]
    output.print_rows(rows, kind, output_file, hide=("prefix_id", "created_at", *empty))


@prefix.command("set")
@store_argument
@click.option("--where", required=True, metavar="SQL", help="The images: a condition over the columns of `images`.")
@click.option("--text", metavar="TEXT", help="Their prefix from now on.")
@click.option("--undo", is_flag=True, help="Put back what they had before.")
@wait_option
@object_output
def set_(store: Path, where: str, text: str | None, undo: bool, wait: bool, kind: str) -> None:
    """Give images of a STORE the prefix that a person wrote.

    It wins over the job in every later run, until it is taken back. No picture is opened, for features are stored.
    """
    import fpve

    if undo == (text is not None):
        raise click.UsageError("give it either --text TEXT or --undo")
    with working("setting prefixes"):
        found = fpve.set_prefix(store, where=where, text=text, undo=undo, wait=wait)
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    facts: list[tuple[str, object]] = [
        ("images", f"{found.matched:,} meet the condition, {found.changed:,} {'put back' if undo else 'changed'}"),
        ("fused", f"{found.fused:,} vectors from stored features"),
        ("snapshot", f"{found.snapshot} ({'published' if found.published else 'nothing to do'})"),
    ]
    output.emit(output.facts_text(facts))


@prefix.command()
@click.argument("job", type=LOCAL)
@wait_option
@object_output
def freeze(job: Path, wait: bool, kind: str) -> None:
    """Have language models answer the prompts of a JOB now; its next run uses the answers.

    Encodes and publishes nothing. What is answered once is never asked again.
    """
    import fpve

    found = fpve.freeze(job, wait=wait, progress=terminal_progress())
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    facts: list[tuple[str, object]] = [
        ("waited", f"{found.waiting:,} images for the answer to their prompt"),
        ("requests", f"{found.requests:,} ({found.failed:,} without a usable answer)"),
        ("tokens", f"{found.prompt_tokens:,} of prompts, {found.completion_tokens:,} of answers"),
        ("still waiting", f"{found.left:,} images"),
        ("kept", f"{found.kept:,} answers, for the next run to publish"),
    ]
    output.emit(output.facts_text(facts))
    if found.first_error is not None:
        output.note(f"note: {found.first_error}")


@click.command()
@store_argument
@click.option("--off", is_flag=True, help="Drop the predictions, and predict no more.")
@wait_option
@object_output
def align(store: Path, off: bool, wait: bool, kind: str) -> None:
    """Let a text find pictures of a STORE that have no prefix, by predicting one from the picture.

    The map is learnt from the pictures with a prefix, and measured on a half of them that it has not seen: the share of
    texts that find a picture of theirs among the first k. A prediction never takes the place of a real prefix, and hits
    show it as prefix_predicted. Later runs predict for new pictures, and learn from new prefixes.
    """
    import fpve

    found = fpve.align(store, off=off, wait=wait, progress=terminal_progress())
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    state = f"{found.snapshot} ({'published' if found.published else 'nothing to do'})"
    if off:
        output.emit(output.facts_text([("alignment", "off"), ("snapshot", state)]))
        return
    facts: list[tuple[str, object]] = [
        ("learnt from", f"{found.rows:,} pictures with a prefix; the store has {found.prefixes:,} different ones"),
        ("predicted", f"{found.predicted:,} pictures without a prefix"),
        ("snapshot", state),
    ]
    output.emit(output.facts_text(facts))
    rows = [(f"recall@{k}", found.recall[k], found.ridge[k], found.chance[k]) for k in sorted(found.recall, key=int)]
    columns = [f"on {found.held_out:,} held-out pictures", "this map", "plain ridge", "chance"]
    output.emit("\n" + output.rows_text(columns, rows))


COMMANDS = (prefix, align)
