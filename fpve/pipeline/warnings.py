"""What somebody should know who relies on the prefixes of a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpve.config import AUTO, Job
from fpve.pipeline.rules import unknown_labels
from fpve.planning.plan import CollectionPlan, other_collections
from fpve.prefixes import rule_fields
from fpve.replica import shown
from fpve.store.heads import HeadRef, dropped_heads
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot


def warnings_of(job: Job, plans: Sequence[CollectionPlan], base: Snapshot | None) -> Iterator[str]:
    """What there is to be warned of: prefixes that rank nothing or give a label away, and what doesn't count."""
    if base is not None and other_collections(job, base):
        theirs = base.manifest.fusion
        label = theirs.auto.label if theirs.auto is not None else None
        weight = theirs.image_weight if label is None else AUTO
        stands = (weight, label, theirs.centre, base.manifest.target_recall)
        if stands != (job.fusion.image_weight, job.fusion.label, job.fusion.centre, job.index.target_recall):
            yield (
                f"{shown(job.store)} has collections of other jobs: its own image_weight, label, centre and "
                "target_recall stand, whatever this job says of them"
            )
    for plan in plans:
        prefix = plan.own.prefix
        several = len(prefix) - prefix.null_count > 1
        if several and pc.count_distinct(prefix).as_py() == 1:
            # Without the text: reports are logged, and prefixes are not.
            yield (f"collection {plan.name!r}: {_all_of(prefix)} have the same prefix, which ranks nothing among them")
        if job.fusion.label is not None and _fields_of(job.fusion.label, plan) & rule_fields(plan.config.prefix):
            yield (
                f"collection {plan.name!r}: its prefixes have the column {job.fusion.label!r} in them, by which the "
                "image weight is chosen: they give the label away, and draw the weight to 0"
            )
    yield from unknown_labels(job, plans, base)


def published_warnings(job: Job, base: Snapshot | None, published: Manifest) -> Iterator[str]:
    """What there is to be warned of in what a run published: a weight, predictions and heads that could not be had."""
    auto = published.fusion.auto
    if auto is not None and not auto.rows:
        yield (
            f"image_weight is {published.fusion.image_weight:g}, for {auto.label!r} has too few values, of images "
            "with a prefix, to choose one by; the run that finds enough of them will"
        )
    known = {one.name for one in published.columns}
    for one in published.predict:
        # Of a column that is not there the job itself is warned.
        if one.job == job.name and one.reason is not None and one.rule.label in known:
            yield one.reason
    yield from without_heads(job.store, dropped_heads(base.manifest if base is not None else None, published))


def without_heads(root: Path, heads: Iterable[HeadRef]) -> Iterator[str]:
    """What there is to be warned of where heads are dropped from a store."""
    for one in heads:
        yield (
            f"the {one} is dropped: it learnt from vectors of other encoders, of another mode, or with other means; "
            f"`{one.command(root)}` trains it again"
        )


def _all_of(prefix: pa.Array) -> str:
    """The images that have a prefix, as a warning counts them."""
    count = len(prefix) - prefix.null_count
    return f"all its {count:,} images" if not prefix.null_count else f"all its {count:,} images with a prefix"


def _fields_of(label: str, plan: CollectionPlan) -> set[str]:
    """The fields that say what a label column says: itself, and what it is made of."""
    made_of = plan.config.label_from
    return {label, made_of} if label == "label" and made_of is not None else {label}
