"""What a run leaves behind of itself, however it ends: events in the log, a report in its store, metrics in a file."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fpve._version import __version__
from fpve.config import Job, load_job
from fpve.engines.cluster.room import CLUSTER_FULL
from fpve.errors import FpveError, StoreError
from fpve.events import Events
from fpve.pipeline.metrics import write_metrics
from fpve.pipeline.report import RunReport
from fpve.progress import Progress, Stage
from fpve.replica import shown
from fpve.store import manifest as manifests
from fpve.store.runs import append_run, is_store
from fpve.urls import check_local

# Often enough to see that a run is alive, and a thousand lines for a night of eight hours.
PROGRESS_SECONDS = 30.0
INTERRUPTED = "interrupted"


class Journal:
    """Keeps the account of one run.

    Args:
        job: its name.
        store: where its store is or will be; None if the job file could not be read.
        metrics: the file of metrics to write when it ends.
        dry_run: whether the run writes nothing but events.
    """

    def __init__(self, job: str, store: Path | None, *, metrics: Path | None = None, dry_run: bool = False) -> None:
        self._store = store
        self._metrics = None if dry_run else metrics
        self._dry_run = dry_run
        self._start = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
        self.events = Events(job, None if store is None else shown(store.absolute()))

    def watching(self, progress: Progress) -> Progress:
        """A progress that tells the log as well as the given one."""
        return LoggedProgress(progress, self.events)

    def started(self) -> None:
        """Say who runs, and what the newest snapshot is.

        Raises:
            BucketError: the metrics are to be written to a URL.
            FileNotFoundError: there is no folder for the metrics: said before a night's work, not after it.
        """
        if self._metrics is not None:
            check_local(self._metrics)
        if self._metrics is not None and not self._metrics.absolute().parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder for the metrics", str(self._metrics.parent))
        known = manifests.numbers(self._store) if self._store else []
        self.events.send(
            "run_started",
            version=__version__,
            pid=os.getpid(),
            host=socket.gethostname(),
            snapshot=known[-1] if known else None,
            dry_run=self._dry_run,
        )

    def waiting(self, holder: str) -> None:
        """Say who else writes to the store, and is waited for."""
        self.events.send("waiting", holder=holder)

    def cluster_full(self, waiting_for: str) -> None:
        """Say what workers wait for in a cluster that has no room for them."""
        self.events.send(CLUSTER_FULL, level=logging.WARNING, waiting_for=waiting_for)

    def planned(self, report: RunReport) -> None:
        """Say what the sources hold."""
        names = ("scanned", "removed", "without_prefix", "without_metadata", "unmatched_metadata", "snapshot")
        self.events.send("planned", **{name: getattr(report, name) for name in names})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say when a stage starts, and when it is done; one that fails is not done."""
        start = time.perf_counter()
        self.events.send("stage_started", stage=name)
        yield
        self.events.send("stage_finished", stage=name, seconds=round(time.perf_counter() - start, 3))

    def quarantined(self, quarantines: Iterable[pa.Table]) -> None:
        """Name the inputs in the quarantine tables that have not been there before this run."""
        for quarantine in quarantines:
            new = quarantine.filter(pc.greater_equal(quarantine["at"], self._start))
            for row in new.select(["image_id", "path", "reason"]).to_pylist():
                self.events.send("quarantined", level=logging.WARNING, **row)

    def generation_failed(self, count: int, error: Exception) -> None:
        """Say that language models gave no usable answers to some prompts, and why not to the first one."""
        self.events.send("generation_failed", level=logging.WARNING, count=count, error=one_line(error))

    def compact_failed(self, error: Exception) -> None:
        """Say why what a run has published could not be compacted."""
        self.events.send("compact_failed", level=logging.ERROR, error=one_line(error))

    def finished(self, report: RunReport) -> RunReport:
        """Keep the account of a run that succeeded, and say in its report if its metrics can't be written.

        What it was for is done: metrics or a report that can't be written are events.
        """
        self._published(report)
        report = replace(report, metrics_error=self._write_metrics(report))
        self.events.send("run_finished", **_without_job(report))
        self._keep_report(report)
        return report

    def failed(self, report: RunReport, error: BaseException) -> None:
        """Keep the account of a run that failed, as far as that can be written; raises nothing of its own."""
        report = replace(report, error=one_line(error))
        # It may have failed at what comes after that.
        self._published(report)
        unexpected = isinstance(error, Exception) and not isinstance(error, FpveError | OSError)
        self.events.send(
            "run_failed",
            level=logging.ERROR,
            exc_info=(type(error), error, error.__traceback__) if unexpected else None,
            **_without_job(report),
        )
        self._keep_report(report)
        self._write_metrics(report)

    def _write_metrics(self, report: RunReport) -> str | None:
        """Write the metrics, if that is asked for; why they can't be written, if so."""
        if self._metrics is None:
            return None
        try:
            write_metrics(self._metrics, report, self._store)
        except (OSError, ImportError) as error:
            self.events.send("metrics_failed", level=logging.ERROR, error=one_line(error))
            return one_line(error)
        return None

    def _published(self, report: RunReport) -> None:
        if report.published and self._store is not None:
            # Somebody may have pruned it since; and a run that failed has an error of its own.
            with suppress(StoreError, OSError):
                manifest = manifests.load(self._store, report.snapshot)
                self.events.send("published", snapshot=manifest.snapshot, bytes=manifest.bytes)

    def _keep_report(self, report: RunReport) -> None:
        if self._dry_run or self._store is None:
            return
        try:
            if is_store(self._store):
                append_run(self._store, report.to_dict())
        except (OSError, StoreError) as error:
            # A full disk: what the run did or why it failed matters more than that.
            self.events.send("report_failed", level=logging.ERROR, error=one_line(error))


def load_journaled(path: Path, *, metrics: Path | None) -> Job:
    """Read a job file; where that fails, a run has failed, though its store is not known.

    Raises:
        JobError: the file is missing or wrong.
    """
    try:
        return load_job(path)
    except FpveError as error:
        keep_failure(error, job=path.stem, store=None, metrics=metrics)
        raise


def name_and_store(path: Path) -> tuple[str, Path | None]:
    """What a job file calls its job, and where its store is; the file's own name where it can't be read."""
    try:
        job = load_job(path)
    except FpveError:
        return path.stem, None
    return job.name, job.store


def keep_failure(
    error: BaseException, *, job: str, store: Path | None, metrics: Path | None = None, dry_run: bool = False
) -> None:
    """Keep the account of a run that ended before it began: its log can't be opened, say. Raises nothing of its own."""
    report = RunReport(job=job, started_at=datetime.now(UTC).isoformat(timespec="seconds"))
    Journal(job, store, metrics=metrics, dry_run=dry_run).failed(report, error)


def one_line(error: BaseException) -> str:
    """Why a run failed, in one line: what the command line says of it too."""
    if not isinstance(error, Exception):
        return INTERRUPTED
    if isinstance(error, FpveError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split()).encode(errors="backslashreplace").decode()


def _without_job(report: RunReport) -> dict[str, Any]:
    return {name: value for name, value in report.to_dict().items() if name != "job"}


class LoggedProgress:
    """Tells the log now and then how far a stage is, and hands everything on to another progress."""

    def __init__(self, inner: Progress, events: Events, *, every: float = PROGRESS_SECONDS) -> None:
        self._inner = inner
        self._events = events
        self._every = every

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        """Open a stage."""
        with self._inner.stage(name, total) as inner:
            yield _LoggedStage(inner, self._events, name, total, self._every)


class _LoggedStage:
    def __init__(self, inner: Stage, events: Events, name: str, total: int | None, every: float) -> None:
        self._inner = inner
        self._events = events
        self._name, self._total = name, total
        self._every = every
        self._limit: str | None = None
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count, and say so if it is time."""
        self._inner.advance(count)
        self._done += count
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            per_second = round(self._done / (now - self._start), 1)
            self._events.send(
                "progress",
                stage=self._name,
                done=self._done,
                total=self._total,
                per_second=per_second,
                limited_by=self._limit,
            )

    def limited_by(self, part: str) -> None:
        """Pass it on, and keep it for the next event."""
        self._inner.limited_by(part)
        self._limit = part
