"""Rules of predictions, looked at before anything is encoded: what a job says of labels against what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fpve.analytics import rows_where
from fpve.config import Job
from fpve.errors import JobError, QueryError, StoreConflict, nearest
from fpve.planning.plan import CollectionPlan
from fpve.store.schema import Column, is_free, merge, page_schema
from fpve.store.snapshot import Snapshot


def check_rules(job: Job, plans: Iterable[CollectionPlan], base: Snapshot | None) -> None:
    """Refuse rules that can't be followed, whatever the pictures are.

    A column that is not there yet is none of these: people may give labels later.

    Raises:
        JobError: a condition is none over the store's columns, or a label column holds lists, or is no metadata.
        StoreConflict: another job of the store predicts the label.
    """
    if not job.predict:
        return
    columns = _columns(plans, base)
    types = {one.name: one.type for one in columns}
    # A condition names the label itself, as a rule.
    assumed = tuple(Column(rule.label, "string") for rule in job.predict if rule.label not in types)
    images = page_schema(tuple(sorted((*columns, *assumed), key=lambda one: one.name))).empty_table()
    # What was one for these columns still is: a run with nothing to do needs no DuckDB.
    last = base.manifest if base is not None else None
    known = {one.rule for one in last.predict} if last is not None and last.columns == columns else set()
    for rule in job.predict:
        if not is_free(rule.label):
            raise JobError(
                f"predict: {rule.label!r} is a column of fpve's own, and no metadata column; expected one of classes"
            )
        _check_owner(job, rule.label, base)
        kind = types.get(rule.label, "string")
        if kind.startswith("list"):
            raise JobError(
                f"predict: column {rule.label!r} holds lists ({kind}), and what is predicted is one class an image"
            )
        if rule.where is not None and rule not in known:
            try:
                rows_where(images, rule.where)
            except QueryError as error:
                raise JobError(f"predict: for {rule.label!r}, {error}") from None


def unknown_labels(job: Job, plans: Iterable[CollectionPlan], base: Snapshot | None) -> Iterator[str]:
    """What there is to be warned of: label columns that no collection has."""
    if not job.predict:
        return
    known = [one.name for one in _columns(plans, base)]
    for rule in job.predict:
        if rule.label not in known:
            yield (
                f"[[predict]] for {rule.label!r} predicts nothing: no collection has such a column"
                f"{nearest(rule.label, known)}; give it values with metadata, or with `fpve label`"
            )


def _columns(plans: Iterable[CollectionPlan], base: Snapshot | None) -> tuple[Column, ...]:
    """The metadata columns that the store is to have."""
    others = {one.name: one.columns for one in base.manifest.collections} if base is not None else {}
    return merge({**others, **{one.name: one.own.columns for one in plans}})


def _check_owner(job: Job, label: str, base: Snapshot | None) -> None:
    for one in base.manifest.predict if base is not None else ():
        if one.rule.label == label and one.job != job.name:
            raise StoreConflict(
                f"{job.store} predicts {label!r} by a rule of job {one.job!r}, this is job {job.name!r}; leave "
                f"[[predict]] for it to one of them: it reaches the images of both"
            )
