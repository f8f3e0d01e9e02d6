"""Encoding one source without a job file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fpve.config import AUTO, CollectionConfig, EncoderConfig, Encoders, FusionConfig, Job, Limits, as_rules
from fpve.engines.cluster.cluster import Cluster
from fpve.engines.named import EngineName, open_engine
from fpve.engines.work import Engine
from fpve.errors import FpveError
from fpve.pipeline.journal import keep_failure
from fpve.pipeline.report import RunReport
from fpve.pipeline.run import run
from fpve.progress import Progress
from fpve.store import manifest as manifests
from fpve.store.encoding import FusionRef
from fpve.urls import any_path

# Owner of the collections that `fpve encode` makes without a job file.
ENCODE_JOB = "fpve encode"


def encode(
    store: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    collection: str,
    id: str | None = None,  # noqa: A002 (what the job file calls it)
    prefix: str | None = None,
    metadata: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    max_quarantine: int | float = Limits().max_quarantine,
    dry_run: bool = False,
    allow_removals: bool = False,
    retry_quarantined: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
    metrics: str | os.PathLike[str] | None = None,
    engine: EngineName | Engine = "local",
    cluster: Cluster | None = None,
) -> RunReport:
    """Encode one source into a store as a collection, without a job file; again it takes up what changed.

    The source is a folder, a table or archives, as in a job file. An existing store keeps its encoders and its fusion.
    What is not said of the source is as in `fpve.run`.

    Raises:
        FpveError: the source, its metadata or the store is wrong, or a guard refused to publish.
        OSError: the disk is full, say, or there is no folder for the metrics.
    """
    file = None if metrics is None else Path(metrics)
    job = Job(
        name=ENCODE_JOB,
        store=Path(store),
        collections=(
            CollectionConfig(
                name=collection,
                source=any_path(source).resolve(),
                id=id,
                prefix=as_rules(prefix),
                metadata=any_path(metadata) if metadata is not None else None,
                label_from=label_from,
            ),
        ),
        limits=Limits(max_quarantine=max_quarantine),
    )
    try:
        job = _as_before(job)
    except FpveError as error:
        keep_failure(error, job=job.name, store=job.store, metrics=file, dry_run=dry_run)
        raise
    return run(
        job,
        dry_run=dry_run,
        allow_removals=allow_removals,
        retry_quarantined=retry_quarantined,
        wait=wait,
        progress=progress,
        metrics=file,
        engine=open_engine(engine, cluster),
    )


def fusion_config(ref: FusionRef) -> FusionConfig:
    """The configuration of a store's fusion."""
    if ref.auto is None:
        return FusionConfig(ref.mode, ref.image_weight, centre=ref.centre)
    return FusionConfig(ref.mode, AUTO, ref.auto.label, ref.centre)


def _as_before(job: Job) -> Job:
    """The job with what the last snapshot says of its store, if there is one."""
    if not manifests.numbers(job.store):
        return job
    manifest = manifests.load(job.store)
    mine = job.collections[0]
    entry = manifest.collection(mine.name)
    if not mine.prefix and entry is not None:
        # Asked for once, it stays until another is given.
        mine = replace(mine, prefix=as_rules(entry.prefix))
    found = {name: one.as_config() for name, one in manifest.encoders.items()}
    return replace(
        job,
        collections=(mine,),
        encoders=Encoders(image=found["image"], text=found.get("text", EncoderConfig("none"))),
        fusion=fusion_config(manifest.fusion),
    )
