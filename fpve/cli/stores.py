"""Commands that look after a store: status, history, verify, repair, rollback, compact, prune."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fpve.cli import output
from fpve.cli.options import at_option, given, object_output, row_output, store_argument
from fpve.cli.progress import terminal_progress

if TYPE_CHECKING:
    from fpve.status import Status


@click.command()
@store_argument
@at_option
@object_output
def status(store: Path, at: int | None, kind: str) -> None:
    """Say what a STORE holds."""
    import fpve

    found = fpve.open(store, at=at).status()
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    facts: list[tuple[str, object]] = [
        ("store", found.store),
        ("snapshot", f"{found.snapshot} of {found.created_at} ({found.snapshots:,} in all)"),
        ("images", f"{found.images:,}"),
        ("vectors", f"{found.vectors:,} of {found.dim:,} numbers ({found.dead_vectors:,} dead)"),
        ("segments", f"{found.segments:,}"),
        ("prefixes", f"{found.prefixes:,}"),
        ("quarantined", f"{found.quarantined:,}"),
        ("size", f"{found.bytes / 1e6:,.1f} MB"),
        *((f"{block} encoder", name) for block, name in found.encoders.items()),
        ("fusion", ", ".join(f"{name} {_short(value)}" for name, value in found.fusion.items())),
        *(
            [("alignment", ", ".join(f"{name} {_short(value)}" for name, value in found.alignment.items()))]
            if found.alignment
            else []
        ),
        *(("head", ", ".join(f"{name} {_short(value)}" for name, value in one.items())) for one in found.heads),
        *(("predicted", _prediction_text(one)) for one in found.predictions),
        ("index", _index_text(found)),
        ("columns", ", ".join(f"{name} ({kind})" for name, kind in found.columns.items()) or "none"),
    ]
    output.emit(output.facts_text(facts))
    columns = ["collection", "images", "with prefix", "job", "source"]
    rows = [(one.name, one.images, one.with_prefix, one.job, one.source) for one in found.collections]
    output.emit("\n" + output.rows_text(columns, rows))


def _prediction_text(one: dict[str, str | int]) -> str:
    """What a rule of predictions has come to, in one line."""
    if "reason" in one:
        # It names the label, and says that there is nothing of it.
        return f"{one['reason']} (job {one['job']})"
    return f"{one['label']} of {one['images']:,} images, by {one['head']} (job {one['job']})"


def _index_text(found: Status) -> str:
    """How a store is searched, in one line."""
    index, size = found.index, f"{found.index['bytes'] / 1e6:,.1f} MB mapped"
    if not index["approximate_vectors"]:
        return f"exact, {size}"
    recalls = [
        f"{index[f'recall_{name}']:.3f} {words}"
        for name, words in (("image", "by picture"), ("both", "by both"), ("prefix", "by text"))
        if f"recall_{name}" in index
    ]
    return (
        f"ANN for {index['approximate_vectors']:,} vectors, target recall {index['target_recall']:g}, measured "
        f"{', '.join(recalls)}, {index['recall_lowest']:.3f} at worst; {size}"
    )


def _short(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


@click.command()
@store_argument
@row_output
def history(store: Path, kind: str | None, output_file: Path | None) -> None:
    """List the snapshots of a STORE, newest first: what published each, and what it holds."""
    import fpve

    output.print_rows(fpve.history(store), kind, output_file, hide=("written_by",))


@click.command()
@store_argument
@click.option("--quick", is_flag=True, help="Look at manifests, sizes and row counts only; read no content.")
@click.option("--at", type=int, metavar="SNAPSHOT", help="Only this snapshot.  [default: all]")
@object_output
def verify(store: Path, quick: bool, at: int | None, kind: str) -> int:
    """Check that a STORE is whole: every file that a snapshot needs, and what they say of one another.

    Exit code 1 means that something is damaged; `fpve repair` makes it whole.
    """
    import fpve

    found = fpve.verify(store, at=at, quick=quick, progress=terminal_progress())
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
    else:
        numbers = ", ".join(map(str, found.snapshots))
        facts = [
            ("snapshots", numbers),
            ("files", f"{found.files:,} ({found.bytes / 1e6:,.1f} MB){', not read' if quick else ''}"),
            ("left over", f"{found.unnamed_files:,} ({found.unnamed_bytes / 1e6:,.1f} MB); `fpve prune` deletes them"),
            ("problems", f"{len(found.problems):,}"),
        ]
        output.emit(output.facts_text(fact for fact in facts if fact[0] != "left over" or found.unnamed_files))
        if found.problems:
            rows = [(one.file, ", ".join(map(str, one.snapshots)), one.problem) for one in found.problems]
            output.emit("\n" + output.rows_text(["file", "snapshots", "problem"], rows))
    if found.ok:
        return 0
    raise click.ClickException(
        f"{store} is damaged (problems: {len(found.problems):,}); `fpve repair {store}` makes it whole"
    )


@click.command()
@store_argument
@object_output
def repair(store: Path, kind: str) -> None:
    """Make a damaged STORE whole: build indexes again, take damaged files out, and say what is lost.

    What was taken out is made again from its sources by the next run of its job.
    """
    import fpve

    done = fpve.repair(store, progress=terminal_progress())
    if kind == "json":
        output.emit(output.to_json(done.to_dict()))
        return
    parts = (("rebuilt", done.rebuilt), ("taken out", done.taken_out), ("lost", done.lost))
    facts: list[tuple[str, object]] = [(name, one) for name, found in parts for one in found or ("nothing",)]
    state = "published" if done.published else "as it was"
    facts.append(("snapshot", f"{done.snapshot} ({state})" if done.snapshot else "none is left"))
    output.emit(output.facts_text(facts))
    if done.taken_out or done.snapshot is None:
        output.note("note: run the store's jobs; they make again what was taken out")


@click.command()
@store_argument
@click.option(
    "--to", type=int, metavar="SNAPSHOT", help="Which one to go back to.  [default: what was before the last change]"
)
@object_output
def rollback(store: Path, to: int | None, kind: str) -> None:
    """Publish an older snapshot of a STORE once more, as its newest. Nothing is deleted.

    Labels stay; the next run lays them over.
    """
    import fpve

    done = fpve.rollback(store, to)
    if kind == "json":
        output.emit(output.to_json(done.to_dict()))
        return
    again = ", and encodes every picture again, for the image encoder was another" if done.encodes_again else ""
    output.note(
        f"published snapshot {done.snapshot}, which holds what snapshot {done.to} held; the next run of a job brings "
        f"it up to date with its sources again{again}"
    )


@click.command()
@store_argument
@object_output
def compact(store: Path, kind: str) -> None:
    """Merge the small files of a STORE, and drop vectors that no image names; answers stay the same.

    Runs do this by themselves where small files have become many.
    """
    import fpve

    done = fpve.compact(store, progress=terminal_progress())
    if kind == "json":
        output.emit(output.to_json(done.to_dict()))
        return
    facts: list[tuple[str, object]] = [
        (name, f"{after:,} (before: {before:,})")
        for name, (after, before) in (("segments", done.segments), ("pages", done.pages), ("table files", done.files))
    ]
    facts.append(("dropped", f"{done.vectors_dropped:,} vectors"))
    facts.append(("snapshot", f"{done.snapshot} ({'published' if done.published else 'nothing to do'})"))
    output.emit(output.facts_text(facts))


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d+)([smhdw])", str(value))
        if match is None:
            self.fail(f"expected a number with s, m, h, d or w, such as 30d, found {value!r}", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


@click.command()
@store_argument
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep the newest N snapshots.")
@click.option("--newer-than", type=_Duration(), metavar="AGE", help="Keep those that are newer, such as 30d or 12h.")
@click.option("--grace", type=_Duration(), metavar="AGE", help="Keep what was in use within this time.  [default: 1h]")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; delete nothing.")
@object_output
def prune(
    store: Path, keep: int | None, newer_than: timedelta | None, grace: timedelta | None, dry_run: bool, kind: str
) -> None:
    """Delete old snapshots of a STORE, and the files that no other one needs.

    What a reader has open stays. With both --keep and --newer-than, what either of them keeps stays.
    """
    import fpve

    if keep is None and newer_than is None:
        raise click.UsageError("say what to keep: --keep N, --newer-than AGE, or both")
    done = fpve.prune(store, dry_run=dry_run, **given(keep=keep, newer_than=newer_than, grace=grace))
    if kind == "json":
        output.emit(output.to_json(done.to_dict()))
        return
    would = "would be " if dry_run else ""
    facts: list[tuple[str, object]] = [
        ("snapshots", f"{len(done.removed):,} {would}deleted, {len(done.kept):,} kept"),
        ("files", f"{done.files:,} {would}deleted ({done.bytes / 1e6:,.1f} MB)"),
    ]
    facts += [("in use", f"snapshots {', '.join(map(str, done.held))}: a reader has them open")] if done.held else []
    output.emit(output.facts_text(facts))


COMMANDS = (status, history, verify, repair, rollback, compact, prune)
