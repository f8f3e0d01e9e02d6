"""What prefixes a job would make, for a few images, before anything is encoded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import Job, load_job
from fpve.encoders.protocol import Limited
from fpve.errors import JobError, nearest
from fpve.pipeline.generate import Generated, generate
from fpve.planning.models import open_models, recipe_for
from fpve.planning.plan import CollectionPlan, plan_job
from fpve.progress import Progress, SilentProgress

DEFAULT_IMAGES = 10
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("prefix", pa.string()),
        pa.field("origin", pa.string()),
        pa.field("template", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("unseen", pa.int64()),
        pa.field("problem", pa.string()),
    ]
)


def preview(
    job: Job | str | os.PathLike[str],
    *,
    images: int = DEFAULT_IMAGES,
    collection: str | None = None,
    ask: bool = True,
    progress: Progress | None = None,
) -> pa.Table:
    """Say what prefixes a job would give some images of each collection, spread over it; touches no store.

    Language models are asked, once for each distinct prompt of these images, and what they answer is not kept: with
    `ask=False` prompts are shown without answers. What a store has frozen is taken from it.

    Args:
        job: a job, or its file.
        images: of how many images.
        collection: of this one only.
        ask: whether language models are asked.
        progress: is told of the stages.

    Returns:
        One row an image: `image_id`, `prefix` (null for none), `origin` (literal, template, column, sidecar, generated
        or corrected), `template` (the rule), `prompt` (of a language model), `unseen`: how many characters at the
        prefix's end the text model does not see, and `problem`: why a prompt has no answer.

    Raises:
        FpveError: what a run of the job would raise before its first picture, or a language model that can't be asked.
    """
    job = job if isinstance(job, Job) else load_job(Path(job))
    if images < 1:
        raise JobError(f"preview: expected at least 1 image, found {images}")
    chosen = tuple(one for one in job.collections if collection is None or one.name == collection)
    if not chosen:
        names = [one.name for one in job.collections]
        raise JobError(f"no collection {collection!r}{nearest(str(collection), names)}; there is {', '.join(names)}")
    progress = progress or SilentProgress()
    models = open_models(job)
    # Of the store only what it has frozen is of interest, not whether this job may write to it.
    available = models.image.available and (models.text is None or models.text.available)
    recipe = recipe_for(job, models) if available else None
    plan = plan_job(replace(job, collections=chosen), recipe, progress=progress, allow_removals=True)
    plans = tuple(_some(one, images) for one in plan.collections)
    done = Generated()
    if ask and any(one.waiting for one in plans):
        generate(plans, plan.frozen, None, done, progress)
        plans = tuple(one.with_answers(done.content_of(at, one), plan.frozen) for at, one in enumerate(plans))
    table = pa.concat_tables([_rows(one, images) for one in plans])
    prefixes = table["prefix"].to_pylist()
    known = [text for text in dict.fromkeys(prefixes) if text is not None]
    cut: dict[str | None, int] = {}
    if isinstance(models.text, Limited) and models.text.available and known:
        cut = dict(zip(known, models.text.cut(known), strict=True))
    table = table.append_column(SCHEMA.field("unseen"), pa.array([cut.get(text) for text in prefixes], pa.int64()))
    why = None if done.first_error is None else str(done.first_error)
    failed = pc.and_(table["prompt"].is_valid(), table["prefix"].is_null())
    return table.append_column(SCHEMA.field("problem"), pc.if_else(failed, pa.scalar(why, pa.string()), None))


def _some(plan: CollectionPlan, count: int) -> CollectionPlan:
    """A plan in which only some files, spread over all, wait for answers."""
    mask = np.zeros(len(plan.files), bool)
    mask[_spread(plan, count)] = True
    prefixes = plan.own.prefixes
    waiting = pc.and_(prefixes.waiting, pa.array(mask))
    prompt = pc.if_else(pa.array(mask), prefixes.prompt, pa.scalar(None, pa.string()))
    return replace(plan, own=replace(plan.own, prefixes=replace(prefixes, waiting=waiting, prompt=prompt)))


def _spread(plan: CollectionPlan, count: int) -> list[int]:
    rows = len(plan.files)
    return [int(row) for row in np.unique(np.linspace(0, rows - 1, min(count, rows)).round())]


def _rows(plan: CollectionPlan, count: int) -> pa.Table:
    chosen = _spread(plan, count)
    prefixes = plan.own.prefixes
    rules = [plan.rules[number] if number >= 0 else None for number in prefixes.rule[chosen].tolist()]
    has_text = prefixes.text.take(pa.array(chosen)).is_valid().to_pylist()
    origins = [
        one.origin if one is not None else "corrected" if has else None
        for one, has in zip(rules, has_text, strict=True)
    ]
    return pa.table(
        {
            "image_id": plan.files["image_id"].take(pa.array(chosen)),
            # Of one that waits for its answer not what it had before.
            "prefix": pc.if_else(prefixes.waiting, pa.scalar(None, pa.string()), prefixes.text).take(pa.array(chosen)),
            "origin": pa.array(origins, pa.string()),
            "template": pa.array([None if one is None else str(one.rule) for one in rules], pa.string()),
            "prompt": prefixes.prompt.take(pa.array(chosen)),
        }
    )
