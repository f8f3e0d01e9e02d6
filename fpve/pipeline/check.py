"""Checking a job without running it: what it would encode, and what it needs for that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from fpve.config import Job, load_job
from fpve.encoders import Encoder, check_encoder
from fpve.pipeline.forecast import downloads
from fpve.pipeline.generate import questions, rules_of
from fpve.pipeline.rules import check_rules, unknown_labels
from fpve.planning.models import open_models, recipe_for
from fpve.planning.plan import CollectionPlan, Plan, plan_job
from fpve.progress import Progress, SilentProgress
from fpve.replica import shown

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class CollectionCheck:
    """What a job would make of one collection.

    Attributes:
        pictures, bytes: what its source holds.
        columns: metadata columns and their types.
        prefixes: the first few distinct prefixes.
        without_prefix: pictures whose prefix would be missing; all where the collection has no rule.
        distinct_prefixes: how many different ones there would be.
        without_answer: of the pictures without, those whose prompt a language model has yet to answer.
        without_metadata, unmatched_metadata: pictures and metadata rows without a partner.
        skipped: inputs that can't be images.
        missing: files that a table names and that are not there.
        undecodable: how many files there are, by their extensions, of formats that can't be decoded: no inputs.
    """

    name: str
    source: str
    pictures: int
    bytes: int
    columns: dict[str, str]
    prefixes: tuple[str, ...]
    distinct_prefixes: int
    without_prefix: int
    without_metadata: int
    unmatched_metadata: int
    skipped: int
    missing: int
    undecodable: dict[str, int]
    without_answer: int = 0


@dataclass(frozen=True, slots=True)
class LanguageModelCheck:
    """A language model that writes prefixes.

    Attributes:
        model: what the job calls it.
        server: address that would be asked; None for a model that runs here.
        requests: prompts that have no answer yet, each once; where pictures go along, those that were never read count.
        max_requests: how many of them a run may ask; None for all.
    """

    model: str
    server: str | None
    requests: int
    max_requests: int | None


@dataclass(frozen=True, slots=True)
class Check:
    """What a job would need and do.

    Attributes:
        encoders: the name and, where the weights are here, the fingerprint of each block's encoder.
        downloads: names of those whose weights are not on this machine.
        language_models: those that write prefixes.
        warnings: labels that are to be predicted, and that no image can have yet.
    """

    job: str
    store: str
    exists: bool
    encoders: dict[str, str]
    downloads: tuple[str, ...]
    collections: tuple[CollectionCheck, ...]
    language_models: tuple[LanguageModelCheck, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON has it."""
        return asdict(self)


def check(job: Job | str | os.PathLike[str], *, progress: Progress | None = None) -> Check:
    """Validate a job and its sources; opens no picture, loads no packaged model, writes nothing.

    An encoder of the user's own (`python:MODULE:CLASS`) is put through `check_encoder`, which loads it.

    Raises:
        FpveError: what a run of the job would raise before its first picture.
    """
    job = job if isinstance(job, Job) else load_job(Path(job))
    models = open_models(job)
    for encoder in (models.image, models.text):
        if encoder is not None and encoder.name.startswith("python:"):
            check_encoder(encoder)
    missing = downloads(models)
    recipe = None if missing else recipe_for(job, models)
    plan = plan_job(job, recipe, progress=progress or SilentProgress())
    check_rules(job, plan.collections, plan.base)
    encoders = {"image": _name(models.image)} | ({"text": _name(models.text)} if models.text else {})
    collections = tuple(_check_collection(one) for one in plan.collections)
    models_asked = tuple(_check_language_models(plan))
    return Check(
        job=job.name,
        store=shown(job.store),
        exists=plan.base is not None,
        encoders=encoders,
        downloads=missing,
        collections=collections,
        language_models=models_asked,
        warnings=tuple(unknown_labels(job, plan.collections, plan.base)),
    )


def _check_language_models(plan: Plan) -> Iterator[LanguageModelCheck]:
    for rule in rules_of(plan.collections):
        if rule.generate is None:
            continue
        generator = plan.frozen.generator(rule.generate)
        requests = len(questions(plan.collections, plan.frozen, rule))
        if requests and rule.generate.max_requests != 0:
            generator.check()
        yield LanguageModelCheck(generator.name, generator.server, requests, rule.generate.max_requests)


def _check_collection(plan: CollectionPlan) -> CollectionCheck:
    prefixes = pc.drop_null(plan.own.prefix).unique()
    return CollectionCheck(
        name=plan.name,
        source=str(plan.config.source),
        pictures=len(plan.files),
        bytes=int(plan.sizes.sum()),
        columns={column.name: column.type for column in plan.own.columns},
        prefixes=tuple(prefixes.slice(0, _EXAMPLES).to_pylist()),
        distinct_prefixes=len(prefixes),
        without_prefix=plan.own.prefix.null_count,
        without_metadata=plan.own.without_metadata,
        unmatched_metadata=plan.own.unmatched_metadata,
        skipped=len(plan.scan.skipped),
        missing=plan.scan.missing,
        undecodable=dict(plan.scan.undecodable),
        without_answer=plan.waiting,
    )


def _name(encoder: Encoder) -> str:
    return f"{encoder.name}@{encoder.fingerprint[:8]}" if encoder.available else encoder.name
