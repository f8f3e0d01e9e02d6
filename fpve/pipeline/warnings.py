"""What somebody should know who relies on the prefixes of a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow.compute as pc

from fpve.config import Job
from fpve.planning.plan import CollectionPlan
from fpve.prefixes import rule_fields


def warnings_of(job: Job, plans: Iterable[CollectionPlan]) -> Iterator[str]:
    """Prefixes that rank nothing, and those that give away the label by which the image weight is chosen."""
    for plan in plans:
        prefix = plan.own.prefix
        if len(prefix) > 1 and not prefix.null_count and pc.count_distinct(prefix).as_py() == 1:
            # Without the text: reports are logged, and prefixes are not.
            yield (
                f"collection {plan.name!r}: all its {len(prefix):,} images have the same prefix, which ranks nothing "
                "among them"
            )
        if job.fusion.label is not None and job.fusion.label in rule_fields(plan.config.prefix):
            yield (
                f"collection {plan.name!r}: its prefixes have the column {job.fusion.label!r} in them, by which the "
                "image weight is chosen: they give the label away, and draw the weight to 0"
            )
