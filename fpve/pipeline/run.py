"""Running a job: plan, encode, fuse, commit; what is already there is never made again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import Job
from fpve.engines.local import LocalEngine
from fpve.engines.named import expected_of, kept, mapper_of
from fpve.engines.work import Engine, Models, Outcome, Target, Work
from fpve.errors import (
    BucketError,
    SnapshotPruned,
    SnapshotTaken,
    SourceNotFound,
    StoreCorrupt,
    StoreError,
)
from fpve.maintenance.compact import compact_if_due
from fpve.pipeline.commit import commit
from fpve.pipeline.contents import Contents, guard_quarantine
from fpve.pipeline.forecast import ASSUMED_DIMS, downloads, forecast
from fpve.pipeline.fuse import fuse
from fpve.pipeline.generate import Generated, generate
from fpve.pipeline.header import header_for
from fpve.pipeline.journal import Journal, one_line
from fpve.pipeline.needs import files_to_read, named_vectors, settled_images, without_vector
from fpve.pipeline.remember import remember
from fpve.pipeline.report import RunReport
from fpve.pipeline.rows import Ready
from fpve.pipeline.rules import check_rules
from fpve.pipeline.vectors import Vectors
from fpve.pipeline.warnings import published_warnings, warnings_of, without_heads
from fpve.pipeline.written import bytes_written
from fpve.planning.models import open_models, recipe_for
from fpve.planning.plan import Plan, guard_removals, plan_job
from fpve.progress import Progress, SilentProgress
from fpve.replica import replica_of
from fpve.sources.inputs import Inputs, Joined
from fpve.store import manifest as manifests
from fpve.store.answers import AnswerLog
from fpve.store.heads import HeadRef
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest
from fpve.store.pending import Shard, discard, sweep
from fpve.store.runs import Changes

# A run that finds that another writer published first begins anew so often, with what it has encoded.
_REBASED = 3


def run(
    job: Job,
    *,
    dry_run: bool = False,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
    engine: Engine | None = None,
    metrics: Path | None = None,
) -> RunReport:
    """Bring a store up to date with its job, and publish one snapshot if anything changed.

    A run that is interrupted keeps its finished shards; the next one uses them. However a run ends, its report is kept
    in the store if there is one, `metrics` is written if it is given, and the logger `fpve` has been told. With `wait`
    another writer of the store is waited for, however long that takes.

    Raises:
        FpveError: the job, a source, its metadata, an encoder or the store is wrong, or a guard refused to publish.
            Whatever is found before the first picture is opened leaves nothing behind where there is no store.
        OSError: the disk is full, say, or there is no folder for the metrics.
    """
    journal = Journal(job.name, job.store, metrics=metrics, dry_run=dry_run)
    runner = _Runner(job, journal, journal.watching(progress or SilentProgress()), engine or LocalEngine())
    try:
        journal.started()
        report = (
            runner.expected(allow_removals=allow_removals, retry_quarantined=retry_quarantined)
            if dry_run
            else _run(runner, allow_removals=allow_removals, retry_quarantined=retry_quarantined, wait=wait)
        )
    except BaseException as error:
        journal.failed(runner.finished(), error)
        raise
    return journal.finished(report)


def _run(runner: _Runner, *, allow_removals: bool, retry_quarantined: bool, wait: bool) -> RunReport:
    store = runner.job.store
    plan = runner.plan(allow_removals=allow_removals, retry_quarantined=retry_quarantined)
    with (
        writer_lock(store, runner.job.name, waiting=runner.waiting if wait else None),
        kept(runner.engine, runner.journal.cluster_full),
    ):
        newest = manifests.numbers(store)
        if plan.base is not None and not newest:
            raise StoreCorrupt(
                f"{store}: its snapshots vanished while this run was planned; nothing was published. "
                "Put them back, or run again to make the store anew"
            )
        if runner.waited or (newest and (plan.base is None or newest[-1] != plan.base.manifest.snapshot)):
            # Somebody published between the plan and the lock, or had the time in which sources change.
            plan = runner.plan(allow_removals=allow_removals, retry_quarantined=retry_quarantined)
        for again in range(_REBASED + 1):
            try:
                runner.execute(plan, allow_removals=allow_removals)
                break
            except (SnapshotTaken, SnapshotPruned, StoreCorrupt, BucketError) as error:
                # On another machine, which sees the same bucket: what was encoded is kept, and is none the worse. What
                # it published it removed from where this run has it.
                taken = isinstance(error, SnapshotTaken) or _has_moved_on(store, plan)
                if again == _REBASED or not taken:
                    raise
                plan = runner.plan(allow_removals=allow_removals, retry_quarantined=retry_quarantined)
    return runner.finished()


def _has_moved_on(store: Path, plan: Plan) -> bool:
    """Whether another machine has published since a run was planned."""
    newest = manifests.numbers(store)[-1:] if replica_of(store) is not None else []
    return bool(newest) and (plan.base is None or newest[0] != plan.base.manifest.snapshot)


class _Runner:
    """One run, with what it learns on its way."""

    def __init__(self, job: Job, journal: Journal, progress: Progress, engine: Engine) -> None:
        self.job = job
        self.journal = journal
        self.progress = progress
        self.engine = engine
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self.report = RunReport(job=job.name, started_at=started)

    @cached_property
    def models(self) -> Models:
        """The job's encoders; opened in the first stage, so that a failure is one of the run."""
        return open_models(self.job)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            with self.journal.stage(stage):
                yield
        finally:
            # A stage is done again where another writer published first.
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 3)

    @contextmanager
    def waiting(self, holder: str) -> Iterator[None]:
        """Another writer is waited for."""
        self.journal.waiting(holder)
        with self.timed("wait"), self.progress.stage("wait", None):
            yield

    @property
    def waited(self) -> bool:
        """Whether another writer was waited for."""
        return "wait" in self.seconds

    def finished(self) -> RunReport:
        """The report with all times in it."""
        return replace(self.report, seconds={**self.seconds, "total": round(time.perf_counter() - self._start, 3)})

    def plan(self, *, allow_removals: bool, retry_quarantined: bool, downloads: tuple[str, ...] = ()) -> Plan:
        """Compare the sources with the last snapshot; encoders that would have to be fetched are left out of it."""
        with self.timed("plan"):
            plan = plan_job(
                self.job,
                None if downloads else recipe_for(self.job, self.models),
                allow_removals=allow_removals,
                retry_quarantined=retry_quarantined,
                progress=self.progress,
            )
        check_rules(self.job, plan.collections, plan.base)
        self.report = replace(
            self.report,
            without_answer=sum(one.waiting for one in plan.collections),
            scanned=sum(len(one.files) + len(one.scan.skipped) for one in plan.collections),
            without_prefix=sum(one.without_prefix for one in plan.collections),
            without_metadata=sum(one.own.without_metadata for one in plan.collections),
            unmatched_metadata=sum(one.own.unmatched_metadata for one in plan.collections),
            undecodable=sum(sum(one.scan.undecodable.values()) for one in plan.collections),
            labels_without_image=sum(one.own.labels_without_file for one in plan.collections),
            corrections_without_image=sum(one.own.corrections_without_file for one in plan.collections),
            snapshot=plan.base.manifest.snapshot if plan.base else None,
            **_total(one.expected_changes() for one in plan.collections),
        )
        self.journal.planned(self.report)
        return plan

    def expected(self, *, allow_removals: bool, retry_quarantined: bool) -> RunReport:
        """The report of a dry run, which fetches nothing."""
        there, missing = expected_of(self.engine), downloads(self.models)
        heads: tuple[HeadRef, ...] = ()
        plan = self.plan(allow_removals=allow_removals, retry_quarantined=retry_quarantined, downloads=missing)
        if missing:
            found = forecast(plan, None, ASSUMED_DIMS, self.job.index.target_recall, there)
        else:
            header, target = header_for(self.job, self.models, plan.base)
            vectors = Vectors(self.job.store, target.recipe, target.fusion, plan.base)
            heads = plan.base.manifest.heads if plan.base is not None and not header.keeps_segments else ()
            dims = target.fusion.image_dim, target.fusion.prefix_dim
            found = forecast(plan, vectors, dims, self.job.index.target_recall, there)
        warnings = (*warnings_of(self.job, plan.collections, plan.base), *without_heads(self.job.store, heads))
        return replace(self.finished(), dry_run=True, downloads=missing, warnings=warnings, **asdict(found))

    def execute(self, plan: Plan, *, allow_removals: bool) -> None:
        """Encode what is new, and publish."""
        sweep(self.job.store)
        header, target = header_for(self.job, self.models, plan.base)
        vectors = Vectors(self.job.store, target.recipe, target.fusion, plan.base)
        plan = self._generate(plan)
        with self.timed("encode"):
            contents = self._encode(plan, vectors, target)
        quarantines = [one.quarantine(plan.base) for one in contents]
        counted = [one.changes() for one in contents]
        changes = _total(counted)
        self.report = replace(
            self.report,
            quarantined=sum(len(one) for one in quarantines),
            labels_without_image=sum(one.labels_without_image for one in contents),
            without_answer=sum(one.without_answer for one in contents),
            without_prefix=sum(one.without_prefix for one in contents),
            warnings=tuple(warnings_of(self.job, [one.plan for one in contents], plan.base)),
            images_per_second=_rate(self.report.encoded, self.seconds["encode"]),
            **changes,
        )
        self.journal.quarantined(quarantines)
        limits = self.job.limits
        for content, quarantine, one in zip(contents, quarantines, counted, strict=True):
            guard_quarantine(content, quarantine, limits)
            if not allow_removals:
                # Once more, with what is known of moves and broken files now.
                guard_removals(content.plan, one.removed, limits.max_removed)
        unsettled = [self._unsettled(one, vectors) for one in contents]
        with self.timed("fuse"):
            fused = self._fuse([named for _, named in unsettled], vectors, target)
        with self.timed("commit"):
            ready = [
                Ready(content, settled, _place(named, vectors), quarantine)
                for content, (settled, named), quarantine in zip(contents, unsettled, quarantines, strict=True)
            ]
            names = {name for one in ready for name in one.place["segment"].unique().to_pylist()}
            sources = vectors.sources(names)
            over = mapper_of(self.engine)
            manifest = commit(self.job.store, plan.base, header, ready, sources, changes, over=over)
            if manifest is not None:
                found = published_warnings(self.job, plan.base, manifest)
                self.report = replace(
                    self.report,
                    predicted=manifest.summary.get("predicted", 0),
                    warnings=(*self.report.warnings, *found),
                )
            cached = remember(self.job.store, contents, plan.scanned_at)
            for shard in sources:
                if isinstance(shard, Shard):
                    discard(shard)
        written = bytes_written(self.job.store, manifest, plan.base.manifest if plan.base else None)
        self.report = replace(
            self.report,
            fused=self.report.fused + fused,
            bytes_written=written | {"state": cached},
            published=manifest is not None,
            snapshot=manifest.snapshot if manifest else self.report.snapshot,
        )
        if manifest is not None:
            try:
                with self.timed("compact"):
                    self._compact(manifest)
            except SnapshotTaken:
                # Another machine has published since; who publishes next merges.
                pass
            except (OSError, StoreError) as error:
                # What the run was for is published, and the next one tries again.
                self.report = replace(self.report, compact_error=one_line(error))
                self.journal.compact_failed(error)

    def _compact(self, published: Manifest) -> None:
        """Merge small files where they have become many."""
        done = compact_if_due(self.job.store, progress=self.progress, over=mapper_of(self.engine))
        if done.published:
            merged = bytes_written(self.job.store, manifests.load(self.job.store, done.snapshot), published)
            total = {kind: size + merged[kind] for kind, size in self.report.bytes_written.items()}
            self.report = replace(self.report, bytes_written=total, compacted=True, snapshot=done.snapshot)

    def _generate(self, plan: Plan) -> Plan:
        """Have language models answer the prompts that are new."""
        if not self.report.without_answer:
            return plan
        log = AnswerLog(self.job.store)
        done = Generated()
        try:
            with self.timed("generate"):
                generate(plan.collections, plan.frozen, log, done, self.progress)
        finally:
            log.keep()
            self.report = replace(
                self.report,
                language_model_requests=self.report.language_model_requests + done.requests,
                prompt_tokens=self.report.prompt_tokens + done.prompt_tokens,
                completion_tokens=self.report.completion_tokens + done.completion_tokens,
                generation_failed=done.failed,
                generation_error=None if done.first_error is None else one_line(done.first_error),
            )
        if done.first_error is not None:
            self.journal.generation_failed(done.failed, done.first_error)
        collections = tuple(
            one.with_answers(done.content_of(number, one), plan.frozen) for number, one in enumerate(plan.collections)
        )
        return replace(plan, collections=collections)

    def _encode(self, plan: Plan, vectors: Vectors, target: Target) -> list[Contents]:
        """Read the files that must be read, and encode those whose content is new."""
        reads = [files_to_read(one, vectors) for one in plan.collections]
        inputs: list[Inputs] = []
        prefixes: list[str | None] = []
        sizes = []
        for one, rows in zip(plan.collections, reads, strict=True):
            inputs.append(one.scan.inputs(one.files["number"].take(pa.array(rows)).to_numpy()))
            sizes.append(one.sizes[rows])
            prefixes += one.own.prefix.take(pa.array(rows)).to_pylist()
        outcomes: list[Outcome] = []
        if prefixes:
            work = Work(Joined(inputs), np.concatenate(sizes), prefixes, vectors.encoded_hashes())
            encoded = self.engine.encode(work, self.models, target, self.progress)
            outcomes = encoded.outcomes
            vectors.changed(encoded.shards)
            read = sum(max(one.size, 0) for one in outcomes)
            self.report = replace(
                self.report,
                encoded=self.report.encoded + encoded.pictures,
                bytes_to_read=read,
                busy=self.report.busy
                | {one: round(self.report.busy.get(one, 0.0) + seconds, 3) for one, seconds in encoded.busy.items()},
                limited_by=encoded.limited_by or self.report.limited_by,
                cut_prefixes=self.report.cut_prefixes + encoded.cut,
            )
        contents = []
        for one, rows in zip(plan.collections, reads, strict=True):
            mine, outcomes = outcomes[: len(rows)], outcomes[len(rows) :]
            if any(outcome.content_hash is None for outcome in mine) and one.scan.has_vanished():
                raise SourceNotFound(
                    f"{one.config.source}: vanished while it was being read; nothing was published, and what was "
                    "encoded is kept for the next run; is its disk mounted?"
                )
            content = Contents.learn(one, rows, mine, vectors)
            if content.read:
                # A picture may have changed since its prompt was answered.
                content = replace(content, plan=one.with_answers(content.content_hash, plan.frozen))
            contents.append(content)
        return contents

    def _unsettled(self, content: Contents, vectors: Vectors) -> tuple[pa.Array, pa.Table]:
        """Which files are images whose vectors are where they were, and the names of the others' vectors."""
        settled = settled_images(content.plan, content.same, vectors)
        return settled, named_vectors(content.plan, content.content_hash, pc.and_not(content.good, settled))

    def _fuse(self, named: list[pa.Table], vectors: Vectors, target: Target) -> int:
        """Make the vectors whose picture is encoded already, and whose prefix is new to it."""
        missing = without_vector(pa.concat_tables(named), pa.concat_tables([_place(one, vectors) for one in named]))
        if not len(missing):
            return 0
        builder = fuse(missing, vectors, target, self.models.text, self.progress)
        self.report = replace(self.report, cut_prefixes=self.report.cut_prefixes + builder.cut)
        return builder.rows


def _place(named: pa.Table, vectors: Vectors) -> pa.Table:
    return vectors.locate(named["content_hash"], named["prefix_id"])


def _total(each: Iterable[Changes]) -> dict[str, Any]:
    """The changes of all collections, as a report has them."""
    return Changes(*(sum(counts) for counts in zip(*each, strict=True)))._asdict()


def _rate(pictures: int, seconds: float) -> float | None:
    return round(pictures / seconds, 1) if pictures and seconds else None
