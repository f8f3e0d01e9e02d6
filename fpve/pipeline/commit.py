"""Turning the outcome of a run into one snapshot: pages, segments, tables, manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpve._version import __version__
from fpve.config import rule_settings
from fpve.mapper import Mapper
from fpve.pipeline.align import with_derived
from fpve.pipeline.header import Header
from fpve.pipeline.predict import with_predictions
from fpve.pipeline.rows import SIZES, ImageRows, Ready
from fpve.pipeline.weight import weighted
from fpve.planning.prefixes import prefix_row
from fpve.prefixes import prefix_id
from fpve.store import manifest as manifests
from fpve.store import publishing, tables
from fpve.store.answers import AnswerLog
from fpve.store.encoding import AlignmentRef
from fpve.store.manifest import Collection, Manifest, Operation, Segment, Table
from fpve.store.pages import update_pages
from fpve.store.pending import Shard, adopt_rows, adopt_thumbnails
from fpve.store.predict import rules_of
from fpve.store.schema import Column, merge, page_schema
from fpve.store.snapshot import Snapshot


def commit(
    root: Path,
    previous: Snapshot | None,
    header: Header,
    collections: list[Ready],
    sources: Iterable[Segment | Shard],
    summary: dict[str, int],
    *,
    operation: Operation = "run",
    over: Mapper | None = None,
) -> Manifest | None:
    """Write all files of a new snapshot, then the manifest that names them.

    Args:
        root: the store.
        previous: its last snapshot.
        header: what the manifest says besides.
        collections: the job's collections; all others stay as they are.
        sources: where the collections' vectors are.
        summary: numbers of images by what became of them, for the history.
        operation: what commits it.
        over: builds indexes, and searches segments, elsewhere.

    Returns:
        The new manifest; None if it would say what the last one says.
    """
    now = datetime.now(UTC)
    last = previous.manifest if previous else None
    mine = {one.contents.plan.name for one in collections}
    others = tuple(one for one in last.collections if one.name not in mine) if last else ()
    columns = merge(
        {
            **{one.name: one.columns for one in others},
            **{one.contents.plan.name: one.contents.plan.own.columns for one in collections},
        }
    )
    kept_segments = last.segments if last and header.keeps_segments else ()
    known_pictures = last.tables_named(tables.THUMBNAILS) if last else ()
    # With the same encoder a picture was encoded because it is new.
    all_segments, new_tables = _segments(root, kept_segments, sources, () if kept_segments else known_pictures)
    kept_tables = tuple(_kept_tables(last, header))
    sizes = _sizes(root, new_tables, known_pictures, collections)
    entries = [_collection(root, last, header, one, columns, sizes) for one in collections]
    new_tables += _prefix_tables(root, previous, collections, now)
    answers = AnswerLog(root)
    new_tables += _generated_tables(root, previous, answers)
    new_tables += _quarantine_tables(root, previous, mine, collections)
    number = publishing.next_number(root, last.snapshot if last else 0)
    manifest = Manifest(
        snapshot=number,
        parent=last.snapshot if last else None,
        created_at=now.isoformat(timespec="seconds"),
        written_by=f"fpve {__version__}",
        encoders=header.encoders,
        fusion=replace(header.fusion, centred=last.fusion.centred if last and header.keeps_segments else None),
        columns=columns,
        collections=tuple(sorted((*others, *entries), key=lambda one: one.name)),
        segments=all_segments,
        tables=manifests.sorted_tables((*kept_tables, *new_tables)),
        alignment=_kept_alignment(last, header),
        # Those that don't fit any more are dropped when it is known what does.
        heads=last.heads if last else (),
        predict=rules_of(header.job, header.predict, last, (one.job for one in (*others, *entries))),
        target_recall=header.target_recall,
        operation=operation,
        summary=summary,
    )
    if last is not None and manifest.says_the_same(last):
        # A run that was killed as soon as it had published left them.
        answers.discard()
        # Labels that people gave since may be enough to choose a weight by; a repair may have dropped predictions.
        manifest = with_predictions(
            root, manifest if last.operation == "run" else weighted(root, manifest, over=over), last, over=over
        )
        if manifest.says_the_same(last):
            return None
    manifest = weighted(root, with_derived(root, manifest, last, over=over), over=over)
    manifest = with_predictions(root, manifest, last, over=over)
    publishing.publish(root, manifest)
    answers.discard()
    return manifest


def _kept_alignment(last: Manifest | None, header: Header) -> AlignmentRef | None:
    """The alignment of the last snapshot; of another encoder's vectors it has to be fitted anew."""
    if last is None or last.alignment is None or header.keeps_segments:
        return last.alignment if last is not None else None
    return AlignmentRef()


# Of vectors that another encoder or mode made, they say nothing.
_DERIVED = (tables.MEANS, tables.PREDICTED, tables.ALIGNMENT)


def _kept_tables(last: Manifest | None, header: Header) -> Iterable[Table]:
    """The tables of the last snapshot that still hold; what was derived from its vectors goes with them."""
    for one in last.tables if last else ():
        derived = one.name in _DERIVED and not header.keeps_segments
        if one.name != tables.QUARANTINE and not derived:
            yield one


def _segments(
    root: Path, kept: tuple[Segment, ...], sources: Iterable[Segment | Shard], pictures: tuple[Table, ...]
) -> tuple[tuple[Segment, ...], list[Table]]:
    """Segments of the new snapshot, new ones without an index, and the thumbnails that came with these.

    Segments without a living vector stay: they serve images that come back, until `compact`.
    """
    found = {segment.name: segment for segment in kept}
    known = tables.read_tables(root, tables.THUMBNAILS, pictures, ["content_hash"])["content_hash"].combine_chunks()
    thumbnails: list[Table] = []
    for shard in sources:
        if isinstance(shard, Shard):
            segment = adopt_rows(root, shard)
            found.setdefault(segment.name, segment)
            # After a change of encoder the pictures are the same, and so are their thumbnails.
            if not _among(shard, known):
                thumbnails.append(adopt_thumbnails(root, shard))
    return tuple(found[name] for name in sorted(found)), thumbnails


def _among(shard: Shard, known: pa.Array) -> bool:
    """Whether all pictures of a shard, if it has any, have a thumbnail already."""
    return bool(pc.all(pc.is_in(shard.read_pictures(), value_set=known), min_count=0).as_py())


def _collection(
    root: Path, last: Manifest | None, header: Header, ready: Ready, columns: tuple[Column, ...], sizes: pa.Table
) -> Collection:
    plan = ready.contents.plan
    entry = last.collection(plan.name) if last else None
    old = entry.pages if entry else ()
    rows = ImageRows(root, ready, page_schema(columns), old=old, sizes=sizes)
    untouched = None
    if last is not None and last.columns == columns:
        as_it_was = pc.and_(ready.settled, plan.before.same_metadata)
        untouched = as_it_was.filter(ready.contents.good)
    return Collection(
        name=plan.name,
        source=str(plan.config.source),
        job=header.job,
        prefix=rule_settings(plan.config.prefix),
        columns=plan.own.columns,
        pages=update_pages(root, plan.name, rows.image_ids, rows.slice, old=old, untouched=untouched),
        folder=str(plan.scan.folder) if plan.scan.folder != plan.config.source else None,
    )


def _sizes(root: Path, new: Iterable[Table], known: Iterable[Table], collections: list[Ready]) -> pa.Table:
    """Width and height by content hash, of the pictures that are not what they were in the last snapshot."""
    columns = list(SIZES)
    fresh = [one.contents.content_hash.filter(pc.and_not(one.contents.good, one.contents.same)) for one in collections]
    wanted = pa.concat_arrays(fresh)
    found = tables.read_tables(root, tables.THUMBNAILS, new, columns)
    # Of none, as most nights, all are there: the other files are as many as there are shards.
    if pc.all(pc.is_in(wanted, value_set=found["content_hash"].combine_chunks()), min_count=0).as_py():
        return found
    # Some are copies of others, or come back.
    return pa.concat_tables([found, tables.read_tables(root, tables.THUMBNAILS, known, columns)])


def _prefix_tables(root: Path, previous: Snapshot | None, collections: list[Ready], now: datetime) -> list[Table]:
    """A file of the prefixes that no earlier one holds, if there are any, each with where it came from first."""
    rows: dict[str, dict[str, object]] = {}
    known: set[str] | None = None
    for ready in collections:
        contents, plan = ready.contents, ready.contents.plan
        # What the images have that they had before is known.
        new = pc.and_not(contents.good, plan.before.same_prefix)
        prefixes = plan.own.prefixes
        found = pa.table(
            {"text": prefixes.text, "rule": pa.array(prefixes.rule), "generation_id": prefixes.generation_id}
        )
        found = found.filter(pc.and_(new, prefixes.text.is_valid()))
        if not len(found):
            continue
        if known is None:
            known = set(previous.table(tables.PREFIXES, ["prefix_id"])["prefix_id"].to_pylist()) if previous else set()
        for row in found.group_by(found.column_names, use_threads=False).aggregate([]).to_pylist():
            name = prefix_id(row["text"])
            if name not in known and name not in rows:
                rows[name] = prefix_row(row["text"], plan.rules, row["rule"], row["generation_id"], now)
    if not rows:
        return []
    table = pa.Table.from_pylist([rows[name] for name in sorted(rows)], tables.SCHEMAS[tables.PREFIXES])
    return [tables.write_table(root, tables.PREFIXES, table)]


def _generated_tables(root: Path, previous: Snapshot | None, log: AnswerLog) -> list[Table]:
    """A file of the answers that are waiting to be published, if there are any."""
    answers = log.read()
    if len(answers) and previous is not None:
        known = previous.table(tables.GENERATED, ["generation_id"])["generation_id"].combine_chunks()
        answers = answers.filter(pc.invert(pc.is_in(answers["generation_id"], value_set=known)))
    return [tables.write_table(root, tables.GENERATED, answers.sort_by("generation_id"))] if len(answers) else []


def _quarantine_tables(root: Path, previous: Snapshot | None, mine: set[str], collections: list[Ready]) -> list[Table]:
    """The quarantine, rewritten: other collections' rows as they were, this job's as they are now."""
    parts = [one.quarantine for one in collections]
    if previous is not None:
        old = previous.table(tables.QUARANTINE)
        parts.append(old.filter(pc.invert(pc.is_in(old["collection"], value_set=pa.array(sorted(mine))))))
    rows = pa.concat_tables(parts).sort_by("image_id")
    return [tables.write_table(root, tables.QUARANTINE, rows)] if len(rows) else []
