"""Having a job's prefixes generated, and kept for its runs, without encoding anything."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fpve.config import Job, load_job
from fpve.pipeline.generate import Generated, generate
from fpve.planning.frozen import Frozen
from fpve.planning.plan import plan_job
from fpve.progress import Progress, SilentProgress
from fpve.store import manifest as manifests
from fpve.store.answers import AnswerLog
from fpve.store.lock import writer_lock
from fpve.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class FrozenReport:
    """What became of a job's prompts.

    Attributes:
        waiting: images whose prompt had no answer.
        requests: prompts that were asked, each once.
        failed: of them, those without a usable answer.
        left: images whose prompt has none now.
        prompt_tokens, completion_tokens: what the answers took, as far as the models say it.
        first_error: why the first one failed.
        kept: answers that wait for the next run to publish them.
    """

    waiting: int
    requests: int
    failed: int
    left: int
    prompt_tokens: int
    completion_tokens: int
    first_error: str | None
    kept: int

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)


def freeze(job: Job | str | os.PathLike[str], *, wait: bool = False, progress: Progress | None = None) -> FrozenReport:
    """Have language models answer the prompts of a job that have no answer yet, and keep what they say.

    Encodes and publishes nothing: the job's next run takes the answers up, and asks none of these again. So a machine
    with a language model can prepare the work of one without.

    Args:
        job: a job, or its file.
        wait: wait for another writer of the store, instead of raising an error.
        progress: is told of the stages.

    Raises:
        JobError, SourceError, MetadataError, PrefixError, StoreError: the job, its sources or its store are wrong.
        GenerationError: a model is out of reach, or gave no usable answer at all; what was answered before is kept.
    """
    job = job if isinstance(job, Job) else load_job(Path(job))
    progress = progress or SilentProgress()
    # Before there is a directory for the store: a mistake, or nothing to ask, leaves nothing behind.
    plan = plan_job(job, None, progress=progress, allow_removals=True)
    if not any(one.waiting for one in plan.collections):
        return FrozenReport(0, 0, 0, 0, 0, 0, None, kept=len(AnswerLog(job.store).read()))
    with writer_lock(job.store, job.name, waiting=nullcontext if wait else None):
        # Another writer may have had answers since the sources were scanned.
        frozen = Frozen.read(job.store, Snapshot.open(job.store) if manifests.numbers(job.store) else None)
        plans = tuple(one.with_answers(one.files["content_hash"].combine_chunks(), frozen) for one in plan.collections)
        done = Generated()
        before = sum(one.waiting for one in plans)
        log = AnswerLog(job.store)
        try:
            generate(plans, frozen, log, done, progress)
        finally:
            log.keep()
        after = [one.with_answers(done.content_of(at, one), frozen) for at, one in enumerate(plans)]
    return FrozenReport(
        waiting=before,
        requests=done.requests,
        failed=done.failed,
        left=sum(one.waiting for one in after),
        prompt_tokens=done.prompt_tokens,
        completion_tokens=done.completion_tokens,
        first_error=None if done.first_error is None else str(done.first_error),
        kept=len(log.read()),
    )
