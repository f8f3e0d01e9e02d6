"""Commands that fill a store: init, check, run, encode."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fpve.cli import output
from fpve.cli.options import (
    EXIT_PARTLY,
    LOCAL,
    PATH,
    count_or_share,
    engine_options,
    given,
    object_output,
    run_options,
    store_argument,
)
from fpve.cli.progress import terminal_progress

if TYPE_CHECKING:
    from fpve.pipeline.report import RunReport
    from fpve.progress import Progress


@click.command()
@click.argument("source", type=PATH)
@click.option(
    "--output",
    "-o",
    "target",
    type=LOCAL,
    metavar="JOB.toml",
    help="The job file to write.  [default: SOURCE's name + .toml]",
)
def init(source: Path, target: Path | None) -> None:
    """Write a commented job file for a SOURCE: a folder of pictures, a table, or .tar archives."""
    import fpve

    path = fpve.init(source, output=target)
    output.note(f"wrote {path}; look it over, then: fpve check {path} && fpve run {path}")


@click.command()
@click.argument("job", type=LOCAL)
@object_output
def check(job: Path, kind: str) -> None:
    """Validate a JOB file, and say what a run would find and need."""
    import fpve

    found = fpve.check(fpve.load_job(job), progress=terminal_progress())
    if kind == "json":
        output.emit(output.to_json(found.to_dict()))
        return
    facts: list[tuple[str, object]] = [("store", f"{found.store} ({'exists' if found.exists else 'new'})")]
    facts += [
        (
            f"{block} encoder",
            f"{name} (its weights will be downloaded)"
            if name in found.downloads
            else f"{name} (weights are here, nothing to download)",
        )
        for block, name in found.encoders.items()
    ]
    for model in found.language_models:
        limit = "" if model.max_requests is None else f", at most {model.max_requests:,} a run"
        where = "here" if model.server is None else f"at {model.server}"
        facts.append(("language model", f"{model.model} {where}: {model.requests:,} requests{limit}"))
    output.emit(output.facts_text(facts))
    for one in found.collections:
        columns = ", ".join(f"{name} ({kind})" for name, kind in one.columns.items())
        facts = [
            ("collection", one.name),
            ("  source", one.source),
            ("  pictures", f"{one.pictures:,} ({_size(one.bytes)})"),
            ("  metadata", columns or "none"),
            (
                "  prefixes",
                f"{one.distinct_prefixes:,} different, {one.without_prefix:,} pictures without"
                + (f" ({one.without_answer:,} until a language model has answered)" if one.without_answer else ""),
            ),
            *(("  such as", text) for text in one.prefixes),
        ]
        for label, count in (
            ("pictures without a metadata row", one.without_metadata),
            ("metadata rows without a picture", one.unmatched_metadata),
            ("inputs that can't be images", one.skipped),
            ("files that are not there", one.missing),
            (f"files of formats that can't be decoded ({', '.join(one.undecodable)})", sum(one.undecodable.values())),
        ):
            facts += [("  warning", f"{count:,} {label}")] if count else []
        output.emit("\n" + output.facts_text(facts))
    for text in found.warnings:
        output.note(f"note: {text}")


@click.command()
@click.argument("job", type=LOCAL)
@run_options
@engine_options
@object_output
def run(
    job: Path,
    dry_run: bool,
    allow_removals: bool,
    retry_quarantined: bool,
    wait: bool,
    log: str | None,
    metrics: Path | None,
    on: dict[str, Any],
    kind: str,
) -> int:
    """Bring a store up to date with its JOB file, and publish one snapshot if anything changed.

    Exit code 3 means done, published or nothing to do, with some inputs in quarantine: they can't be encoded.
    """
    import fpve
    from fpve.cli.log import log_to
    from fpve.pipeline.journal import keep_failure, name_and_store
    from fpve.replica import shown

    def refused(error: OSError) -> None:
        name, store = name_and_store(job)
        keep_failure(error, job=name, store=store, metrics=metrics, dry_run=dry_run)

    with log_to(log, refused=refused):
        report = fpve.run(
            job,
            dry_run=dry_run,
            allow_removals=allow_removals,
            retry_quarantined=retry_quarantined,
            wait=wait,
            progress=_progress(log),
            metrics=metrics,
            **on,
        )
    root = name_and_store(job)[1]
    return _print_report(report, kind, store=None if root is None else shown(root), job=job)


@click.command()
@store_argument
@click.argument("source", type=PATH)
@click.option(
    "--collection", required=True, metavar="NAME", help="Name of the collection: the first part of every image_id."
)
@click.option(
    "--id", "id_", metavar="COLUMN|TEMPLATE", help='What images are called instead of by their paths, "{sku}".'
)
@click.option("--prefix", metavar="TEMPLATE", help='Text frozen with each picture, such as "a photo of a {species}".')
@click.option("--metadata", type=PATH, metavar="FILE", help="CSV, Parquet, JSON or JSONL with one row a picture.")
@click.option(
    "--label-from", metavar="folder|COLUMN", help="Make a column `label` from folder names, or copy a column."
)
@click.option(
    "--max-quarantine",
    type=count_or_share,
    metavar="N|SHARE",
    help="How many pictures may be broken: 5, or 0.01 for one in a hundred; 0 for none.  [default: 0.01]",
)
@run_options
@engine_options
@object_output
def encode(
    store: Path,
    source: Path,
    collection: str,
    id_: str | None,
    prefix: str | None,
    metadata: Path | None,
    label_from: str | None,
    max_quarantine: int | float | None,
    dry_run: bool,
    allow_removals: bool,
    retry_quarantined: bool,
    wait: bool,
    log: str | None,
    metrics: Path | None,
    on: dict[str, Any],
    kind: str,
) -> int:
    """Encode a SOURCE into a STORE, without a job file; again it takes up what changed.

    SOURCE is a folder of pictures, a table of their paths or of pictures in Parquet, or .tar archives.

    Exit codes are those of `fpve run`.
    """
    import fpve
    from fpve.cli.log import log_to
    from fpve.pipeline.encode import ENCODE_JOB
    from fpve.pipeline.journal import keep_failure

    def refused(error: OSError) -> None:
        keep_failure(error, job=ENCODE_JOB, store=store, metrics=metrics, dry_run=dry_run)

    with log_to(log, refused=refused):
        report = fpve.encode(
            store,
            source,
            collection=collection,
            dry_run=dry_run,
            allow_removals=allow_removals,
            retry_quarantined=retry_quarantined,
            wait=wait,
            progress=_progress(log),
            metrics=metrics,
            **given(id=id_, prefix=prefix, metadata=metadata, label_from=label_from, max_quarantine=max_quarantine),
            **on,
        )
    return _print_report(report, kind, store=str(store))


def _progress(log: str | None) -> Progress | None:
    """Bars on a terminal, but not between the lines of a log, where they can't be read."""
    from fpve.cli.log import STDERR

    return None if log == STDERR else terminal_progress()


def _print_report(report: RunReport, kind: str, *, store: str | None = None, job: Path | None = None) -> int:
    """Print what a run did, with commands that say more of it, to be copied."""
    sql = f"fpve sql {'STORE' if store is None else shlex.quote(store)}"
    look = "" if job is None else f": see fpve check {shlex.quote(str(job))}"
    preview = "" if job is None else f": see fpve prefix preview {shlex.quote(str(job))}"
    if kind == "json":
        output.emit(output.to_json(report.to_dict()))
    else:
        output.emit(output.facts_text(_facts(report)))
    for count, text in (
        (report.without_metadata, "pictures have no row in their metadata file"),
        (report.unmatched_metadata, "metadata rows name no picture"),
        (
            report.undecodable,
            f"files are left out, as their formats can't be decoded (.heic, .svg, …){look}",
        ),
        (
            report.without_answer,
            "images get another prefix, and another vector, once a language model has answered: not counted above"
            if report.dry_run
            else "images wait for the answer of a language model; the next run asks again",
        ),
        (report.without_prefix, "pictures have no prefix: what their rules take it from is empty"),
        (
            report.corrections_without_image,
            "prefixes that people gave are of images that are gone or have another name now, and wait for them: "
            f'{sql} "FROM corrections ANTI JOIN images USING (image_id)"',
        ),
        (report.cut_prefixes, f"prefixes are longer than the text model sees{preview}"),
        (
            report.labels_without_image,
            "labels are of images that are gone or have another name now, and wait for them: "
            f'{sql} "FROM labels ANTI JOIN images USING (image_id)"',
        ),
        (report.quarantined, f'inputs are in quarantine: {sql} "SELECT path, reason FROM quarantine"'),
    ):
        if count:
            output.note(f"note: {count:,} {text}")
    if report.generation_error:
        output.note(f"note: {report.generation_error}")
    for text in report.warnings:
        output.note(f"note: {text}")
    if report.compact_error:
        output.note(f"note: small files could not be merged, the next run tries again: {report.compact_error}")
    if report.metrics_error:
        output.note(f"note: {report.metrics_error}")
    return EXIT_PARTLY if report.quarantined and not report.dry_run else 0


def _facts(report: RunReport) -> list[tuple[str, object]]:
    would = "would be " if report.dry_run else ""
    state = (
        f"{report.snapshot} (published)"
        if report.published
        else f"{report.snapshot or 'none'} ({'dry run' if report.dry_run else 'nothing to do'})"
    )
    rate = f", {report.images_per_second:,.1f} images/s" if report.images_per_second else ""
    counts = [
        ("new", report.new),
        ("moved", report.moved),
        ("changed", report.changed),
        ("with another prefix", report.prefix_changed),
        ("with other metadata", report.metadata_changed),
        ("unchanged", report.unchanged),
    ]
    facts: list[tuple[str, object]] = [
        ("scanned", f"{report.scanned:,} ({', '.join(f'{count:,} {name}' for name, count in counts)})"),
        ("encoded", f"{would}{report.encoded:,} pictures{rate}"),
        ("fused", f"{would}{report.fused:,} vectors from stored features"),
        *([("predicted", f"{report.predicted:,} labels")] if report.predicted else []),
        *_generated_facts(report),
        ("removed", f"{would}{report.removed:,}"),
        *(_forecast_facts(report) if report.dry_run else _written_facts(report)),
        ("snapshot", state),
        *([("compacted", f"into snapshot {report.snapshot}")] if report.compacted else []),
    ]
    return [*facts, ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in report.seconds.items()))]


def _generated_facts(report: RunReport) -> list[tuple[str, object]]:
    if report.dry_run or not report.language_model_requests:
        return []
    failed = f", {report.generation_failed:,} without a usable answer" if report.generation_failed else ""
    tokens = f"{report.prompt_tokens:,} tokens of prompts, {report.completion_tokens:,} of answers"
    return [("generated", f"{report.language_model_requests:,} requests{failed} ({tokens})")]


def _forecast_facts(report: RunReport) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("runs on", report.runs_on)] if report.runs_on else []
    facts += [
        ("estimated", f"{report.estimated_minutes:,.1f} minutes ({report.estimate_basis})"),
        ("to read", _size(report.bytes_to_read)),
        ("to write", f"about {_size(report.bytes_to_write or 0)}"),
    ]
    if report.downloads:
        facts.append(("to download", f"weights of {', '.join(report.downloads)}; everything would be encoded"))
    return [*facts, ("requests", f"{report.language_model_requests:,} to a language model")]


def _written_facts(report: RunReport) -> list[tuple[str, object]]:
    if not report.published:
        return []
    return [("written", ", ".join(f"{name} {_size(size)}" for name, size in report.bytes_written.items()))]


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"


COMMANDS = (init, check, run, encode)
