"""The labelled pictures of a job's sources, with their prefixes, before any of them is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.classify import Labels
from fpve.config import Job, PrefixRule
from fpve.errors import PrefixError, QueryError, nearest
from fpve.neighbours import Mask, Rows
from fpve.planning.frozen import Frozen
from fpve.planning.plan import CollectionPlan, plan_job
from fpve.progress import Progress
from fpve.sources.inputs import Inputs, Joined

# Any; the same one draws the same pictures each time.
_SEED = 0


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures with a label, in the order of their ids.

    Attributes:
        table: (n rows) image_id, collection, prefix (null where there is none), and number: that of the input.
        inputs: gives a picture's bytes by its number.
        labels: their classes; all have one.
        rules: by which each collection's images get their prefixes.
    """

    table: pa.Table
    inputs: Inputs
    labels: Labels
    rules: dict[str, tuple[PrefixRule, ...]]

    def __len__(self) -> int:
        return len(self.table)


def read_pictures(job: Job, *, label: str, sample: int | None, progress: Progress) -> Pictures:
    """Scan a job's sources, and give its labelled images their prefixes as a run would; writes nothing.

    Args:
        job: whose sources they are.
        label: the metadata column of classes.
        sample: take so many, drawn at random with a fixed seed, if there are more.
        progress: is told of each collection.

    Raises:
        FpveError: what a run of the job would raise before its first picture.
        PrefixError: a prefix waits for a language model.
        QueryError: there is no such column, or no image has a value in it.
    """
    plan = plan_job(job, None, progress=progress, allow_removals=True)
    values = _values(plan.collections, label)
    chosen = _sampled(values, sample)
    parts: list[pa.Table] = []
    inputs: list[Inputs] = []
    start = number = 0
    for one in plan.collections:
        mine = chosen[start : start + len(one.files)]
        start += len(one.files)
        prefix = _prefixes(one, mine, plan.frozen, job)
        rows = pa.array(np.flatnonzero(mine))
        part = {
            "image_id": one.files["image_id"].take(rows),
            "collection": pa.repeat(one.name, len(rows)),
            "prefix": prefix.take(rows),
            "number": pa.array(np.arange(number, number + len(rows))),
        }
        parts.append(pa.table(part))
        number += len(rows)
        inputs.append(one.scan.inputs(one.files["number"].take(rows).to_numpy()))
    table = pa.concat_tables(parts).append_column("value", values.filter(pa.array(chosen)))
    table = table.sort_by("image_id").combine_chunks()
    names = sorted(pc.unique(table["value"]).to_pylist())
    codes = pc.index_in(table["value"], pa.array(names, pa.string())).to_numpy().astype(np.int64)
    rules = {one.name: one.config.prefix for one in plan.collections}
    return Pictures(table.drop_columns("value"), Joined(inputs), Labels(tuple(names), codes), rules)


def _values(plans: Sequence[CollectionPlan], label: str) -> pa.ChunkedArray:
    """A column of the files of all collections, one after the other, as texts; null where there is no value."""
    known = list(dict.fromkeys(name for one in plans for name in one.own.metadata.column_names))
    if label not in known:
        raise QueryError(
            f"no label column {label!r}{nearest(label, known)}; the job's collections have "
            f"{', '.join(known) or 'no metadata column at all'}"
        )
    parts = []
    for one in plans:
        if label not in one.own.metadata.column_names:
            parts.append(pa.nulls(len(one.files), pa.string()))
            continue
        column = one.own.metadata[label].combine_chunks()
        if pa.types.is_list(column.type):
            raise QueryError(f"label column {label!r} holds lists; expected one class an image")
        parts.append(column.cast(pa.string()))
    values = pa.chunked_array(parts, pa.string())
    if values.null_count == len(values):
        raise QueryError(f"label column {label!r} has no values; label some images first")
    return values


def _sampled(values: pa.ChunkedArray, sample: int | None) -> Mask:
    """Which files (n,) take part."""
    chosen = values.is_valid().to_numpy()
    rows: Rows = np.flatnonzero(chosen)
    if sample is None or len(rows) <= sample:
        return np.asarray(chosen)
    mask = np.zeros(len(chosen), bool)
    mask[np.random.default_rng(_SEED).choice(rows, sample, replace=False)] = True
    return mask


def _prefixes(plan: CollectionPlan, chosen: Mask, frozen: Frozen, job: Job) -> pa.Array:
    """The prefixes (n,) of a collection's files; what language models said of chosen pictures is found by content.

    Raises:
        PrefixError: they have not said it yet.
    """
    if not plan.generates:
        return plan.own.prefix
    content = plan.files["content_hash"].combine_chunks()
    unknown = pc.and_(plan.own.prefixes.waiting, pc.and_(content.is_null(), pa.array(chosen)))
    rows = np.flatnonzero(unknown.to_numpy(zero_copy_only=False))
    inputs = plan.scan.inputs(plan.files["number"].take(pa.array(rows)).to_numpy())
    hashes = [_hash(inputs, number) for number in range(len(rows))]
    content = pc.replace_with_mask(content, unknown, pa.array(hashes, content.type))
    own = plan.with_answers(content, frozen).own
    waiting = int(pc.sum(pc.and_(own.prefixes.waiting, pa.array(chosen))).as_py() or 0)
    if waiting:
        file = f"{job.name}.toml" if job.name else "JOB.toml"
        raise PrefixError(
            f"collection {plan.name!r}: the prefixes of {waiting:,} labelled images wait for a language model; have it "
            f"write them with `fpve prefix freeze {file}`, or with `fpve run {file}`"
        )
    return own.prefix


def _hash(inputs: Inputs, number: int) -> str | None:
    try:
        return hashlib.sha256(inputs.read(number).data).hexdigest()
    except OSError:
        # Whoever opens it again says why.
        return None
