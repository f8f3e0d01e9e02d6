"""Running a job, as the command `fpve run` does."""

from __future__ import annotations

import os
from pathlib import Path

from fpve.config import Job
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.named import EngineName, open_engine
from fpve.engines.work import Engine
from fpve.pipeline.journal import load_journaled
from fpve.pipeline.report import RunReport
from fpve.pipeline.run import run as run_job
from fpve.progress import Progress


def run(
    job: Job | str | os.PathLike[str],
    *,
    dry_run: bool = False,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
    metrics: str | os.PathLike[str] | None = None,
    engine: EngineName | Engine = "local",
    cluster: Cluster | None = None,
) -> RunReport:
    """Bring a store up to date with its job (a job file, or a Job), and publish one snapshot if anything changed.

    With `retry_quarantined` files in quarantine are opened again though they did not change. With `wait` another writer
    of the store is waited for, instead of being an error.
    `metrics` names a file for Prometheus, written however the run ends. What happens is told to the logger `fpve`.
    The engine `ray` encodes on a Ray cluster, by default that of RAY_ADDRESS, or one of this machine; `cluster` says
    which, and how many workers of what size.

    Raises:
        FpveError: the job, a source, an encoder, the store or the cluster is wrong, or a guard refused to publish.
        OSError: the disk is full, say, or there is no folder for the metrics.
    """
    target = None if metrics is None or dry_run else Path(metrics)
    job = job if isinstance(job, Job) else load_journaled(Path(job), metrics=target)
    return run_job(
        job,
        dry_run=dry_run,
        allow_removals=allow_removals,
        retry_quarantined=retry_quarantined,
        wait=wait,
        progress=progress,
        metrics=target,
        engine=open_engine(engine, cluster),
    )
