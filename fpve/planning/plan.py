"""The plan: what of each collection is new, changed, removed or as it was, before any picture is opened."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.config import CollectionConfig, Job
from fpve.errors import GuardError, JobError, StoreConflict
from fpve.planning.before import Before
from fpve.planning.columns import FileColumns, file_columns, read_given
from fpve.planning.frozen import Frozen
from fpve.planning.models import recipe_of
from fpve.planning.moves import guess_moves
from fpve.planning.overlay import with_corrections, with_labels
from fpve.prefixes import ParsedRule
from fpve.progress import Progress
from fpve.sources.inputs import Stamp
from fpve.sources.scan import Index, Scan
from fpve.sources.source import scan_source
from fpve.store import manifest as manifests
from fpve.store import tables
from fpve.store.archives import read_archive_index
from fpve.store.files import check_root
from fpve.store.imported import IMPORT_JOB, is_imported
from fpve.store.pending import Recipe
from fpve.store.runs import Changes
from fpve.store.scanstate import read_scan_state
from fpve.store.schema import merge
from fpve.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What a run knows of one collection before it opens a picture.

    Attributes:
        config: the collection as the job has it.
        scan: what its source holds.
        files: what the scan found, sorted by image_id, and `content_hash`, null where the file must be read.
        own: metadata and prefixes, in the order of `files`.
        rules: how these get their prefixes.
        known_bad: (n,) whether a file is in quarantine and has not changed since.
        before: what the last snapshot says of them.
        guessed_moves: how many new files are likely to be images that are gone, by their size and time.
        remembered: whether the scan state has these very files, with the size and the time that they have.
    """

    config: CollectionConfig
    scan: Scan
    files: pa.Table
    own: FileColumns
    rules: tuple[ParsedRule, ...]
    known_bad: pa.Array
    before: Before
    guessed_moves: int
    remembered: bool

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.config.name

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) bytes of the files; where only reading tells, an estimate."""
        sizes: NDArray[np.int64] = self.files["size"].fill_null(self.scan.typical_size).to_numpy()
        return sizes

    @property
    def generates(self) -> bool:
        """Whether a language model gives any of its prefixes."""
        return any(one.rule.generate is not None for one in self.rules)

    @property
    def waiting(self) -> int:
        """How many files have a prompt that no language model has answered yet; broken ones don't count."""
        return int(pc.sum(pc.and_not(self.own.prefixes.waiting, self.known_bad)).as_py() or 0)

    @property
    def without_prefix(self) -> int:
        """How many files have no prefix, though there are rules, and wait for none; broken ones don't count."""
        bare = pc.and_not(pc.and_not(self.own.prefix.is_null(), self.own.prefixes.waiting), self.known_bad)
        return int(pc.sum(bare).as_py() or 0) if self.rules else 0

    def with_answers(self, content_hash: pa.Array, frozen: Frozen) -> CollectionPlan:
        """With the answers that are frozen, given the content (n,) of each file; null where that is not known.

        A file that waits for its answer keeps the prefix that it had, as long as its content is the same.
        """
        if not self.generates or self.before.prefix is None:
            return self
        found = self.own.prefixes.resolved(self.rules, content_hash, frozen)
        keeps = pc.and_(found.waiting, self.same_content(content_hash))
        found = replace(found, text=pc.if_else(keeps, self.before.prefix, found.text))
        return replace(self, own=replace(self.own, prefixes=found), before=self.before.with_prefix(found.text))

    def same_content(self, content_hash: pa.Array) -> pa.Array:
        """(n,) which files are images of the last snapshot with the content that they had, given that of now."""
        return pc.fill_null(pc.equal(content_hash, self.before.content_hash), False)

    def changes(self, content_hash: pa.Array, good: pa.Array, moved: int) -> Changes:
        """Count the good files (n,) by what became of them, given the content (n,) of each, and how many moved."""
        before = self.before
        in_old, same = pc.and_(good, before.known), pc.and_(good, self.same_content(content_hash))
        same_prefix = pc.and_(same, before.same_prefix)
        unchanged = pc.and_(same_prefix, before.same_metadata)
        counts = [int(pc.sum(one).as_py() or 0) for one in (good, in_old, same, same_prefix, unchanged)]
        return Changes(
            new=counts[0] - counts[1] - moved,
            moved=moved,
            changed=counts[1] - counts[2],
            prefix_changed=counts[2] - counts[3],
            metadata_changed=counts[3] - counts[4],
            unchanged=counts[4],
            # What was an image and has become undecodable is one no more.
            removed=len(before.gone) - moved + int(pc.sum(before.known).as_py() or 0) - counts[1],
        )

    def expected_changes(self) -> Changes:
        """The same before any file is opened: one that must be read counts as changed, and moves are guessed."""
        return self.changes(self.files["content_hash"].combine_chunks(), pc.invert(self.known_bad), self.guessed_moves)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    Attributes:
        base: the last snapshot; None for a new store.
        collections: the job's collections.
        frozen: what language models have answered, and who they are.
        scanned_at: when the scan began, ns since the epoch.
    """

    base: Snapshot | None
    collections: tuple[CollectionPlan, ...]
    frozen: Frozen
    scanned_at: int


def plan_job(
    job: Job,
    recipe: Recipe | None,
    *,
    progress: Progress,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
) -> Plan:
    """Compare a job's sources with the last snapshot; writes nothing, opens no picture.

    Args:
        job: what the store should contain.
        recipe: what makes its vectors; None if the weights are not on this machine, so that nobody can say.
        progress: is told of each collection.
        allow_removals: whether much may be gone.
        retry_quarantined: whether files in quarantine are to be read again though they did not change.

    Raises:
        FpveError: the sources, their metadata, the encoders or the store don't fit together, or too much is gone.
    """
    check_root(job.store)
    base = Snapshot.open(job.store) if manifests.numbers(job.store) else None
    _check_same_encoders(job, recipe, base)
    check_names(job, base)
    scanned_at = time.time_ns()
    rules = [rule for config in job.collections for rule in config.prefix if rule.generate is not None]
    tokens = any(rule.keep_tokens is not None for rule in rules)
    frozen = Frozen.read(job.store, base, tokens=tokens) if rules else Frozen()
    collections = []
    with progress.stage("plan", len(job.collections)) as stage:
        for config in job.collections:
            plan = plan_collection(config, job, base, frozen, retry_quarantined=retry_quarantined)
            if not allow_removals:
                guard_removals(plan, plan.expected_changes().removed, job.limits.max_removed)
                guard_metadata(plan, job.limits.max_removed)
            collections.append(plan)
            stage.advance()
    # The columns of all collections must agree: found out now, not after hours of encoding.
    check_columns(collections, base)
    return Plan(base, tuple(collections), frozen, scanned_at)


def plan_collection(
    config: CollectionConfig,
    job: Job,
    previous: Snapshot | None,
    frozen: Frozen,
    *,
    retry_quarantined: bool = False,
) -> CollectionPlan:
    """Scan a collection's source and compare it with the last snapshot; opens no picture.

    Raises:
        SourceError, MetadataError, PrefixError: the source, its metadata or its prefix rule is wrong.
        StoreConflict: another job owns the collection.
        JobError: the job has the name under which imported collections are owned.
    """
    if job.name == IMPORT_JOB:
        raise JobError(f"name: {IMPORT_JOB!r} is the owner of imported collections; give the job another name")
    entry = previous.manifest.collection(config.name) if previous else None
    if entry is not None and entry.job != job.name:
        other = "" if is_imported(entry) else f', or set name = "{entry.job}" at the top of the job file'
        raise StoreConflict(
            f"collection {config.name!r} in {job.store} is owned by job {entry.job!r}, this is job {job.name!r}; "
            f"give the collection another name{other}"
        )
    # Metadata and prefix first: a mistake there is found without walking a large folder.
    given = read_given(config)
    scan = scan_source(config, remembered=partial(_remembered, job.store, config.name))
    found, own = file_columns(config, given, scan, entry.columns if entry else ())
    own = with_corrections(with_labels(own, found, config.name, previous), found, config.name, previous)
    rules = given.rules
    # After what people gave to images, which may be all that they have.
    own.prefixes.check_any(config.name, rules)
    # It is the largest of what a plan reads, and not needed any more.
    del given
    generates = any(one.rule.generate is not None for one in rules)
    before = Before.read(job.store, entry, found, own, source=str(config.source), keep_prefix=generates)
    state = read_scan_state(job.store, config.name, scan.identity)
    new = found.select(["size", "mtime_ns", "origin"]).filter(pc.invert(before.known))
    moves = guess_moves(new, before.gone, state, shared_times=scan.shared_times, tagged=scan.tagged)
    files = _with_known_hashes(found.drop_columns(["inside"]), state)
    remembered = len(files) == len(state) and not files["content_hash"].null_count
    known_bad = _known_bad(files, previous)
    if retry_quarantined:
        # As if they had changed.
        retried = pc.if_else(known_bad, pa.scalar(None, pa.string()), files["content_hash"].combine_chunks())
        files = files.set_column(files.schema.get_field_index("content_hash"), "content_hash", retried)
        known_bad = pa.repeat(False, len(files))
    plan = CollectionPlan(config, scan, files, own, rules, known_bad, before, moves, remembered)
    return plan.with_answers(files["content_hash"].combine_chunks(), frozen)


def _remembered(root: Path, collection: str, archive: bytes) -> Index | None:
    """What an earlier run found in an archive."""
    found = read_archive_index(root, collection, archive)
    return Index(archive, Stamp(*found[0]), found[1]) if found else None


def guard_removals(plan: CollectionPlan, removed: int, max_removed: float) -> None:
    """Refuse to remove more images of a collection than the job allows.

    Raises:
        GuardError: naming the collection, the numbers and the option that allows it.
    """
    if removed > max_removed * plan.before.rows:
        broken = "" if removed <= len(plan.before.gone) else ", or there and can't be encoded any more"
        raise GuardError(
            f"collection {plan.name!r}: {removed} of {plan.before.rows} images are gone from "
            f"{plan.config.source}{broken}, more than max_removed = {max_removed:g} allows; nothing was published. "
            "If they are meant to go, run with --allow-removals"
        )


def guard_metadata(plan: CollectionPlan, max_removed: float) -> None:
    """Refuse to empty the metadata of more of a collection than the job allows: of a table that was cut off, say.

    Raises:
        GuardError: naming the collection, the numbers and the option that allows it.
    """
    lost, rows = plan.before.emptied, plan.before.rows
    if lost > max_removed * rows:
        raise GuardError(
            f"collection {plan.name!r}: {lost} of {rows} images would lose all their metadata, more than "
            f"max_removed = {max_removed:g} allows; nothing was published. If that is meant, run with --allow-removals"
        )


def _with_known_hashes(files: pa.Table, state: pa.Table) -> pa.Table:
    """Add `content_hash`: what an earlier run found in a file of this size and time, or null."""
    state = state.combine_chunks()
    if not files["image_id"].equals(state["image_id"]):
        state = state.take(pc.index_in(files["image_id"].combine_chunks(), state["image_id"].combine_chunks()))
    same = pc.equal(state["mtime_ns"], files["mtime_ns"])
    size = files["size"]
    if size.null_count:
        size = pc.if_else(pc.fill_null(same, False), pc.coalesce(size, state["size"]), size)
        files = files.set_column(files.schema.get_field_index("size"), "size", size)
    same = pc.and_(same, pc.equal(state["size"], size))
    for origins in (files["origin"], state["origin"]):
        if origins.null_count < len(origins):
            same = pc.and_(same, pc.equal(pc.fill_null(files["origin"], ""), pc.fill_null(state["origin"], "")))
            break
    known = state["content_hash"]
    if not pc.all(same, skip_nulls=False).as_py():
        known = pc.if_else(pc.fill_null(same, False), known, pa.scalar(None, pa.string()))
    return files.append_column("content_hash", known)


def _known_bad(files: pa.Table, previous: Snapshot | None) -> pa.Array:
    """Which files are in quarantine with the very content that they still have."""
    quarantine = previous.table(tables.QUARANTINE) if previous else None
    if quarantine is None or not len(quarantine):
        return pa.repeat(False, len(files))
    bad = pc.binary_join_element_wise(quarantine["image_id"], quarantine["content_hash"], "\0")
    mine = pc.binary_join_element_wise(files["image_id"], files["content_hash"], "\0")
    return pc.is_in(mine, value_set=pc.drop_null(bad)).combine_chunks()


def other_collections(job: Job, base: Snapshot) -> set[str]:
    """Names of a store's collections that are not the job's."""
    return {one.name for one in base.manifest.collections} - {one.name for one in job.collections}


def _check_same_encoders(job: Job, recipe: Recipe | None, base: Snapshot | None) -> None:
    """Refuse to change the encoders of a store that has collections of other jobs."""
    if base is None or recipe is None:
        return
    others = other_collections(job, base)
    if others and recipe != recipe_of(base):
        theirs = ", ".join(str(one) for one in base.manifest.encoders.values())
        names = [(job.encoders.image.name, recipe.image), (job.encoders.text.name, recipe.text)]
        mine = ", ".join(f"{name}@{fingerprint[:8]}" for name, fingerprint in names if fingerprint)
        raise StoreConflict(
            f"{job.store} encodes with {theirs} ({base.manifest.fusion.mode}), the job with {mine} "
            f"({job.fusion.mode}): a store has one set of encoders, and the job does not name its collection "
            f"{min(others)!r}; use the store's encoders, or another store"
        )


def check_names(job: Job, base: Snapshot | None) -> None:
    """Refuse a collection whose name differs from another job's in case only: on some disks they are one directory."""
    known = {one.name.casefold(): one.name for one in base.manifest.collections} if base else {}
    for config in job.collections:
        other = known.get(config.name.casefold(), config.name)
        if other != config.name:
            raise StoreConflict(f"{job.store} has a collection {other!r}; a name like {config.name!r} must differ more")


def check_columns(collections: list[CollectionPlan], base: Snapshot | None) -> None:
    """Refuse columns that don't go together with one another, or with those of other collections.

    Raises:
        StoreConflict: naming the column and the collections.
    """
    mine = {one.name: one.own.columns for one in collections}
    others = {one.name: one.columns for one in base.manifest.collections} if base else {}
    merge({**others, **mine})
