"""Encoding one folder without a job file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fpve.config import CollectionConfig, EncoderConfig, Encoders, FusionConfig, Job, Limits
from fpve.pipeline.report import RunReport
from fpve.pipeline.run import run
from fpve.progress import Progress
from fpve.store import manifest as manifests

# Owner of the collections that `fpve encode` makes without a job file.
_ENCODE_JOB = "fpve encode"


def encode(
    store: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    collection: str,
    prefix: str | None = None,
    metadata: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    max_quarantine: int | float = Limits().max_quarantine,
    allow_removals: bool = False,
    progress: Progress | None = None,
) -> RunReport:
    """Encode one folder into a store as a collection, without a job file; again it takes up what changed.

    An existing store keeps its encoders and its fusion.

    Raises:
        FpveError: the source, its metadata or the store is wrong, or a guard refused to publish.
    """
    job = Job(
        name=_ENCODE_JOB,
        store=Path(store),
        collections=(
            CollectionConfig(
                name=collection,
                source=Path(source).resolve(),
                prefix=prefix,
                metadata=Path(metadata) if metadata is not None else None,
                label_from=label_from,
            ),
        ),
        limits=Limits(max_quarantine=max_quarantine),
    )
    if manifests.numbers(job.store):
        manifest = manifests.load(job.store)
        entry = manifest.collection(collection)
        if prefix is None and entry is not None and entry.prefix is not None:
            # Asked for once, it stays until another is given.
            job = replace(job, collections=(replace(job.collections[0], prefix=entry.prefix),))
        found = {name: one.as_config() for name, one in manifest.encoders.items()}
        job = replace(
            job,
            encoders=Encoders(image=found["image"], text=found.get("text", EncoderConfig("none"))),
            fusion=FusionConfig(mode=manifest.fusion.mode, image_weight=manifest.fusion.image_weight),
        )
    return run(job, allow_removals=allow_removals, progress=progress)
