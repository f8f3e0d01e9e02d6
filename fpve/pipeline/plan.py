"""The plan: what of each collection is new, changed, removed or as it was, before any picture is opened."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import CollectionConfig, Job
from fpve.engines.work import Models
from fpve.errors import GuardError, StoreConflict
from fpve.pipeline.columns import FileColumns, file_columns, read_given
from fpve.pipeline.models import recipe_for, recipe_of
from fpve.progress import Progress
from fpve.sources.folder import Skipped, normalise, scan_folder
from fpve.store import manifest as manifests
from fpve.store import tables
from fpve.store.files import check_root
from fpve.store.scanstate import read_scan_state
from fpve.store.schema import merge, page_schema
from fpve.store.snapshot import Snapshot


class Changes(NamedTuple):
    """Files of a collection by what became of them since the last snapshot."""

    new: int
    changed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What a run knows of one collection before it opens a picture.

    Attributes:
        config: the collection as the job has it.
        files: the scan's columns, and `content_hash`, null where the file must be read.
        own: metadata and prefixes, in the order of `files`.
        known_bad: (n,) whether a file is in quarantine and has not changed since.
        skipped: inputs that can't be images.
        old: image rows of the last snapshot.
        old_columns: names of its metadata columns then.
        removed: image_ids of the last snapshot that are no longer there.
    """

    config: CollectionConfig
    files: pa.Table
    own: FileColumns
    known_bad: pa.Array
    skipped: tuple[Skipped, ...]
    old: pa.Table
    old_columns: tuple[str, ...]
    removed: pa.Array

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.config.name

    def before(self, name: str) -> pa.Array:
        """(n,) what a column of each file's image was in the last snapshot; null where the image is new."""
        at = pc.index_in(self.files["image_id"].combine_chunks(), self.old["image_id"].combine_chunks())
        return self.old[name].combine_chunks().take(at)

    def changes(self, content_hash: pa.Array, good: pa.Array) -> Changes:
        """How many good files are new, and how many have another content (n,), prefix or metadata than before."""
        now = {"content_hash": content_hash, "prefix_id": self.own.prefix_id}
        now |= {name: self.own.metadata[name] for name in self.own.metadata.column_names}
        in_old = pc.and_(good, pc.is_valid(self.before("image_id")))
        same = in_old
        for name, values in now.items():
            # A column that is new was null for every image.
            known = name in self.old.column_names
            same = pc.and_(same, _equal(values, self.before(name)) if known else pc.is_null(values))
        count, known_count, unchanged = (int(pc.sum(one).as_py() or 0) for one in (good, in_old, same))
        return Changes(new=count - known_count, changed=known_count - unchanged, unchanged=unchanged)


def _equal(values: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.Array:
    """(n,) where two columns agree; null agrees with null."""
    if pa.types.is_nested(values.type):
        # Arrow compares no lists.
        return pa.array([mine == theirs for mine, theirs in zip(values.to_pylist(), others.to_pylist(), strict=True)])
    if not values.type.equals(others.type):
        return pc.and_(pc.is_null(values), pc.is_null(others))
    both_null = pc.and_(pc.is_null(values), pc.is_null(others))
    return pc.or_(pc.fill_null(pc.equal(values, others), False), both_null)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    Attributes:
        base: the last snapshot; None for a new store.
        collections: the job's collections.
        scanned_at: when the scan began, ns since the epoch.
    """

    base: Snapshot | None
    collections: tuple[CollectionPlan, ...]
    scanned_at: int


def plan_job(job: Job, models: Models, *, allow_removals: bool, progress: Progress) -> Plan:
    """Compare a job's sources with the last snapshot; writes nothing, opens no picture.

    Raises:
        FpveError: the sources, their metadata, the encoders or the store don't fit together, or too much is gone.
    """
    check_root(job.store)
    base = Snapshot.open(job.store) if manifests.numbers(job.store) else None
    _check_same_encoders(job, models, base)
    _check_names(job, base)
    scanned_at = time.time_ns()
    collections = []
    with progress.stage("plan", len(job.collections)) as stage:
        for config in job.collections:
            plan = plan_collection(config, job, base)
            if not allow_removals:
                guard_removals(plan, job.limits.max_removed)
                guard_metadata(plan, job.limits.max_removed)
            collections.append(plan)
            stage.advance()
    # The columns of all collections must agree: found out now, not after hours of encoding.
    _check_columns(collections, base)
    return Plan(base, tuple(collections), scanned_at)


def plan_collection(config: CollectionConfig, job: Job, previous: Snapshot | None) -> CollectionPlan:
    """Scan a collection's source and compare it with the last snapshot; opens no picture.

    Raises:
        SourceError, MetadataError, PrefixError: the source, its metadata or its prefix rule is wrong.
        StoreConflict: another job owns the collection.
    """
    entry = previous.manifest.collection(config.name) if previous else None
    if entry is not None and entry.job != job.name:
        raise StoreConflict(
            f"collection {config.name!r} in {job.store} is owned by job {entry.job!r}, this is job {job.name!r}; "
            f'give the collection another name, or set name = "{entry.job}" at the top of the job file'
        )
    # Metadata and prefix first: a mistake there is found without walking a large folder.
    given = read_given(config)
    scan = scan_folder(config.source, collection=config.name, include=config.include, exclude=config.exclude)
    files = _with_known_hashes(scan.files, read_scan_state(job.store, config.name))
    before = entry.columns if entry else ()
    own = file_columns(config, given, files, before)
    old = previous.read_collection(entry) if previous and entry else page_schema(()).empty_table()
    still_there = pa.concat_arrays(
        [
            files["image_id"].combine_chunks(),
            pa.array([f"{config.name}/{normalise(one.path)}" for one in scan.skipped], pa.string()),
        ]
    )
    old_ids = old["image_id"].combine_chunks()
    return CollectionPlan(
        config=config,
        files=files,
        own=own,
        known_bad=_known_bad(files, previous),
        skipped=scan.skipped,
        old=old,
        old_columns=tuple(column.name for column in before),
        removed=old_ids.filter(pc.invert(pc.is_in(old_ids, value_set=still_there))),
    )


def guard_removals(plan: CollectionPlan, max_removed: float) -> None:
    """Refuse to remove more of a collection than the job allows.

    Raises:
        GuardError: naming the collection, the numbers and the option that allows it.
    """
    if len(plan.removed) > max_removed * len(plan.old):
        raise GuardError(
            f"collection {plan.name!r}: {len(plan.removed)} of {len(plan.old)} images are gone from "
            f"{plan.config.source}, more than max_removed = {max_removed:g} allows; nothing was published. "
            "If they are meant to go, run with --allow-removals"
        )


def guard_metadata(plan: CollectionPlan, max_removed: float) -> None:
    """Refuse to empty the metadata of more of a collection than the job allows: of a table that was cut off, say.

    Raises:
        GuardError: naming the collection, the numbers and the option that allows it.
    """
    if not plan.old_columns:
        return
    at = pc.index_in(plan.old["image_id"].combine_chunks(), plan.files["image_id"].combine_chunks())
    had = _any_value(plan.old.select(list(plan.old_columns)).filter(pc.is_valid(at)))
    kept = [name for name in plan.old_columns if name in plan.own.metadata.column_names]
    has = _any_value(plan.own.metadata.select(kept).take(at.drop_null())) if kept else pa.array([False] * len(had))
    lost = int(pc.sum(pc.and_not(had, has)).as_py() or 0)
    if lost > max_removed * len(plan.old):
        raise GuardError(
            f"collection {plan.name!r}: {lost} of {len(plan.old)} images would lose all their metadata, more than "
            f"max_removed = {max_removed:g} allows; nothing was published. If that is meant, run with --allow-removals"
        )


def _any_value(rows: pa.Table) -> pa.Array:
    """(n,) which rows have a value in any column."""
    found = pa.array([False] * len(rows), pa.bool_())
    for column in rows.columns:
        found = pc.or_(found, column.combine_chunks().is_valid())
    return found


def _with_known_hashes(files: pa.Table, state: pa.Table) -> pa.Table:
    """Add `content_hash`: what an earlier run found in a file of this size and time, or null."""
    at = pc.index_in(files["image_id"], state["image_id"])
    seen = state.take(at)
    same = pc.and_(pc.equal(seen["size"], files["size"]), pc.equal(seen["mtime_ns"], files["mtime_ns"]))
    return files.append_column(
        "content_hash", pc.if_else(pc.fill_null(same, False), seen["content_hash"], pa.scalar(None, pa.string()))
    )


def _known_bad(files: pa.Table, previous: Snapshot | None) -> pa.Array:
    """Which files are in quarantine with the very content that they still have."""
    if previous is None:
        return pa.array([False] * len(files))
    quarantine = previous.table(tables.QUARANTINE)
    bad = pc.binary_join_element_wise(quarantine["image_id"], quarantine["content_hash"], "\0")
    mine = pc.binary_join_element_wise(files["image_id"], files["content_hash"], "\0")
    return pc.is_in(mine, value_set=pc.drop_null(bad)).combine_chunks()


def other_collections(job: Job, base: Snapshot) -> set[str]:
    """Names of a store's collections that are not the job's."""
    return {one.name for one in base.manifest.collections} - {one.name for one in job.collections}


def _check_same_encoders(job: Job, models: Models, base: Snapshot | None) -> None:
    """Refuse to change the encoders of a store that has collections of other jobs."""
    if base is None:
        return
    recipe = recipe_for(job, models)
    others = other_collections(job, base)
    if others and recipe != recipe_of(base):
        theirs = ", ".join(str(one) for one in base.manifest.encoders.values())
        mine = ", ".join(f"{one.name}@{one.fingerprint[:8]}" for one in (models.image, models.text) if one)
        raise StoreConflict(
            f"{job.store} encodes with {theirs} ({base.manifest.fusion.mode}), the job with {mine} "
            f"({job.fusion.mode}): a store has one set of encoders, and the job does not name its collection "
            f"{min(others)!r}; use the store's encoders, or another store"
        )


def _check_names(job: Job, base: Snapshot | None) -> None:
    """Refuse a collection whose name differs from another job's in case only: on some disks they are one directory."""
    known = {one.name.casefold(): one.name for one in base.manifest.collections} if base else {}
    for config in job.collections:
        other = known.get(config.name.casefold(), config.name)
        if other != config.name:
            raise StoreConflict(f"{job.store} has a collection {other!r}; a name like {config.name!r} must differ more")


def _check_columns(collections: list[CollectionPlan], base: Snapshot | None) -> None:
    mine = {one.name: one.own.columns for one in collections}
    others = {one.name: one.columns for one in base.manifest.collections} if base else {}
    merge({**others, **mine})
