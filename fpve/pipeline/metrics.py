"""A run's figures for Prometheus: a file for node-exporter's textfile collector."""

from __future__ import annotations

import time
from pathlib import Path

from fpve.errors import StoreError
from fpve.pipeline.report import RunReport
from fpve.replica import shown
from fpve.store import manifest as manifests
from fpve.store import tables
from fpve.store.files import write_durably
from fpve.store.manifest import Manifest
from fpve.store.runs import CHANGES, last_success

# The collector runs as a user of its own.
_MODE = 0o644


def write_metrics(path: Path, report: RunReport, store: Path | None) -> None:
    """Write the figures of a run that has ended, well or not, and of its store, in one step.

    Raises:
        OSError: the file can't be written.
    """
    data = metrics_text(report, store)

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)
        temporary.chmod(_MODE)

    try:
        write_durably(path, write)
    except OSError as error:
        # It names a temporary file.
        raise OSError(error.errno, f"the metrics can't be written: {error.strerror}", str(path)) from error


def metrics_text(report: RunReport, store: Path | None) -> bytes:
    """The figures in Prometheus' text format; those of the store are left out where there is none."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    labels = {"job": report.job, "store": shown(store.absolute()) if store else ""}

    def gauge(name: str, text: str, value: float, **more: str) -> None:
        known = gauges.get(name)
        if known is None:
            known = gauges[name] = Gauge(f"fpve_{name}", text, [*labels, *more], registry=registry)
        known.labels(**labels, **more).set(value)

    gauges: dict[str, Gauge] = {}
    now = time.time()
    succeeded = report.error is None
    gauge("run_success", "Whether the last run succeeded.", succeeded)
    gauge("run_timestamp_seconds", "When the last run ended.", now)
    last = now if succeeded else _last_success(store, report.job)
    if last is not None:
        gauge("run_last_success_timestamp_seconds", "When the last run that succeeded ended.", last)
    gauge("run_duration_seconds", "Wall time of the last run.", report.seconds.get("total", 0.0))
    for stage, seconds in report.seconds.items():
        if stage != "total":
            gauge("run_seconds", "Wall time of a stage of the last run.", seconds, stage=stage)
    for change in CHANGES:
        gauge("run_images", "Images that the last run found, by change.", getattr(report, change), change=change)
    gauge("run_encoded", "Pictures that the last run sent through the vision model.", report.encoded)
    gauge("run_fused", "Vectors that the last run made from stored features.", report.fused)
    gauge("run_predicted", "Predictions of labels that the last run made.", report.predicted)
    gauge("run_quarantined", "Inputs that the last run could not encode.", report.quarantined)
    gauge("run_language_model_requests", "Prompts that the last run asked.", report.language_model_requests)
    gauge("run_without_answer", "Images that wait for the answer of a language model.", report.without_answer)
    gauge("run_read_bytes", "Size of the files that the last run read.", report.bytes_to_read)
    manifest = _newest(store)
    if manifest is not None:
        quarantined = sum(table.rows for table in manifest.tables_named(tables.QUARANTINE))
        gauge("store_snapshot", "Number of the newest snapshot.", manifest.snapshot)
        gauge("store_bytes", "Size of the files that the newest snapshot names.", manifest.bytes)
        gauge("store_quarantined", "Inputs in quarantine in the newest snapshot.", quarantined)
        for one in manifest.collections:
            gauge("store_images", "Images of the newest snapshot.", one.rows, collection=one.name)
    text: bytes = generate_latest(registry)
    return text


def _last_success(store: Path | None, job: str) -> float | None:
    try:
        return last_success(store, job) if store is not None else None
    except OSError:
        # It is in a bucket that can't be asked: who waits for these figures is to learn that the run failed.
        return None


def _newest(store: Path | None) -> Manifest | None:
    try:
        return manifests.load(store) if store is not None else None
    except (StoreError, OSError):
        # No store yet, or a damaged one: the run has said so.
        return None
