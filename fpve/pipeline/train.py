"""Training a head: a classifier that learns a label column from a store's own vectors, and is saved in the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from fpve.classify import read_labels
from fpve.errors import QueryError
from fpve.evaluate.sides import MOST_COMPARED, clusters_of
from fpve.fusion import Floats, FusedRows
from fpve.groups import groups_of
from fpve.heads.examples import Mask, Numbers
from fpve.heads.fitting import check_device
from fpve.heads.head import Head
from fpve.heads.settings import ClassWeight, HeadKind, HeadSettings
from fpve.heads.training import train_head
from fpve.pipeline.predict import with_predictions
from fpve.progress import Progress, SilentProgress
from fpve.replica import located
from fpve.search import Searcher
from fpve.store import manifest as manifests
from fpve.store import publishing
from fpve.store.heads import HeadRef, sorted_heads, space_of, write_head
from fpve.store.lock import writer_lock
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot

_WRITER = "fpve train"
# 100,000 rows of 1,664 numbers are 666 MB, of which a copy is made where some are held out; more images of the same
# classes tell a linear model, or 64 hidden units, little more.
MAX_ROWS = 100_000
# Rows that are made into queries at once: of these, several arrays of their size are held.
_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """What was learnt.

    Attributes:
        label: the column that it predicts.
        kind: `logistic` or `mlp`.
        classes: how many it tells apart.
        rows: how many images it learnt from.
        labelled: how many there were; of more than 100,000 so many are drawn.
        image_weight: the weight A of its queries.
        metrics: on held-out images, before it learnt from these as well: `held_out` (how many), `accuracy`,
            `balanced_accuracy`, `log_loss`, and `log_loss_uncalibrated`, which is before `temperature`; and what they
            chose: `penalty` of logistic regression, or `epochs`. With `_without` those of queries without a prefix.
        warnings: what somebody should know who relies on these.
        snapshot: the newest snapshot afterwards.
        published: whether this made it.
    """

    label: str
    kind: str
    classes: int
    rows: int
    labelled: int
    image_weight: float
    metrics: dict[str, float]
    warnings: tuple[str, ...]
    snapshot: int
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


class _Learnt(NamedTuple):
    head: Head
    rows: int
    labelled: int
    warnings: tuple[str, ...]


def train(
    store: str | os.PathLike[str],
    *,
    label: str,
    head: HeadKind = "logistic",
    image_weight: float | None = None,
    where: str | None = None,
    class_weight: ClassWeight | None = None,
    seed: int = 0,
    device: str = "cpu",
    wait: bool = False,
    progress: Progress | None = None,
) -> TrainedHead:
    """Learn a label column from the labelled images of a store, and save what was learnt in it.

    A store has one head of each kind for a label column: a new one takes the old one's place. Neither encoder runs. A
    fifth of the images is held out first, by whole groups of copies, near-duplicates and images with one prefix, to
    choose, to stop, to calibrate and to measure; then the head learns from all.

    Args:
        store: path of the store.
        label: the column of classes.
        head: `logistic` regression, or `mlp`: one hidden layer of 64, ReLU, cross-entropy, Adam.
        image_weight: the weight A of its queries, now and later; by default the store's, or 1 where no labelled image
            has a prefix.
        where: an SQL condition on the images it learns from.
        class_weight: `balanced` has every class count the same, however many images it has.
        seed: of what is drawn at random. The same seed gives the same head on the same machine.
        device: where torch computes, such as `cuda`.
        wait: wait for another writer of the store, instead of raising an error.
        progress: is told of the stages.

    Raises:
        StoreNotFound: there is no store.
        StoreLocked: another writer holds it, and is not waited for.
        QueryError: there is no such column, too little is labelled, or an option is wrong.
        StoreCorrupt: a file of the store is damaged.
    """
    root = located(store)
    manifests.load(root)
    settings = HeadSettings(kind=head, class_weight=class_weight, seed=seed, device=device)
    if device != "cpu":
        check_device(device)
    with writer_lock(root, _WRITER, waiting=nullcontext if wait else None):
        last = manifests.load(root)
        with (progress or SilentProgress()).stage("train", None) as stage:
            found = _learnt(Snapshot(root, last), label, image_weight, where, settings, stage.advance)
        manifest = publishing.successor(
            last,
            last.snapshot,
            operation="train",
            heads=sorted_heads((*last.heads, _saved(root, last, found, seed))),
        )
        published = not manifest.says_the_same(last)
        if published:
            # What the head before this one has predicted is said by this one now.
            publishing.publish(root, with_predictions(root, manifest, last))
    return TrainedHead(
        label=label,
        kind=head,
        classes=len(found.head.names),
        rows=found.rows,
        labelled=found.labelled,
        image_weight=found.head.image_weight,
        metrics=found.head.metrics,
        warnings=found.warnings,
        snapshot=manifest.snapshot if published else last.snapshot,
        published=published,
    )


def _saved(root: Path, last: Manifest, found: _Learnt, seed: int) -> HeadRef:
    """Write a head's file, and what the manifest says of it: what it said before, if the same was learnt again."""
    head = found.head
    ref = HeadRef(
        label=head.label,
        kind=head.kind,
        file=write_head(root, head.dumps()),
        classes=len(head.names),
        rows=found.rows,
        snapshot=head.snapshot,
        space=head.space,
        image_weight=head.image_weight,
        seed=seed,
        metrics=head.metrics,
    )
    old = next((one for one in last.heads if (one.label, one.kind) == (ref.label, ref.kind)), None)
    if old is None:
        return ref
    # It learnt the same from another snapshot: only its file's name is another.
    again = write_head(root, replace(head, snapshot=old.snapshot).dumps())
    return old if replace(ref, snapshot=old.snapshot, file=again) == old else ref


def _learnt(
    snapshot: Snapshot,
    label: str,
    image_weight: float | None,
    where: str | None,
    settings: HeadSettings,
    told: Callable[[], object],
) -> _Learnt:
    """Learn from a snapshot."""
    # A prediction of a prefix says nothing that the picture does not.
    searcher = Searcher(snapshot).variant(predicted=False)
    labels = read_labels(searcher, label)
    allowed = labels.labelled if where is None else labels.labelled & searcher.matching(where)
    rows = np.flatnonzero(allowed)
    if not len(rows):
        raise QueryError(f"no image with a value of {label!r} meets the condition {where!r}")
    labelled = len(rows)
    if labelled > MAX_ROWS:
        rows = np.sort(np.random.default_rng(settings.seed).choice(rows, MAX_ROWS, replace=False))
    groups, warnings = groups_of(searcher, label, labels.codes, rows)
    prefixed: Mask = pc.is_valid(snapshot.rows.column("prefix_id")).to_numpy()[rows]
    weight = _weight(snapshot, image_weight, has_prefixes=bool(prefixed.any()))
    queries, pictures = _queries(snapshot, searcher, rows, weight)
    clusters, notes = clusters_of(groups.at(rows), pictures)
    # Not beside what is learnt from: of 30,000 rows of 1,280 numbers they are 154 MB.
    del pictures
    trained = train_head(queries, labels.codes[rows], clusters, fusion=searcher.fusion, settings=settings, told=told)
    head = Head(
        kind=settings.kind,
        label=label,
        names=tuple(labels.names[code] for code in trained.classes),
        classifier=trained.classifier,
        image_weight=weight,
        snapshot=snapshot.manifest.snapshot,
        space=space_of(snapshot.manifest),
        settings=settings.to_dict() | ({} if where is None else {"where": where}),
        metrics={name: round(value, 6) for name, value in trained.metrics.items()},
    )
    return _Learnt(head, len(rows), labelled, warnings + notes)


def _weight(snapshot: Snapshot, image_weight: float | None, *, has_prefixes: bool) -> float:
    """The weight of a head: the given one, else the store's; 1 where no image has a prefix.

    Raises:
        QueryError: it is not in [0, 1], or leaves nothing to learn from.
    """
    if image_weight is None:
        return snapshot.manifest.fusion.image_weight if has_prefixes else 1.0
    if not 0 <= image_weight <= 1:
        raise QueryError(
            f"image weight: expected a number from 0 (text only) to 1 (picture only), found {image_weight}"
        )
    if image_weight == 0 and not has_prefixes:
        raise QueryError("image weight 0 learns from texts alone, but none of these images has a prefix")
    return float(image_weight)


def _queries(snapshot: Snapshot, searcher: Searcher, rows: Numbers, weight: float) -> tuple[Floats, Floats | None]:
    """Image rows (n,) as queries (n, dim), and their raw image blocks (n, image_dim) where all can be compared."""
    fusion = searcher.fusion
    queries = np.empty((len(rows), fusion.dim), np.float32)
    pictures = np.empty((len(rows), fusion.image_dim), np.float32) if len(rows) <= MOST_COMPARED else None
    for place, raw in _raw_rows(snapshot, rows):
        blocks = snapshot.fusion.unfuse(raw)
        queries[place] = fusion.query(blocks.image, blocks.prefix, weight)
        if pictures is not None:
            pictures[place] = blocks.image
    return queries, pictures


def _raw_rows(snapshot: Snapshot, rows: Numbers) -> Iterator[tuple[Numbers, FusedRows]]:
    """Vector rows of image rows (n,), from Parquet, some at a time; each time with their places in these."""
    positions = snapshot.rows.positions[rows]
    starts = np.cumsum([0, *(one.rows for one in snapshot.manifest.segments)])
    for number, segment in enumerate(snapshot.manifest.segments):
        mine = np.flatnonzero((positions >= starts[number]) & (positions < starts[number + 1]))
        # In the order of the file, so that each of its parts is read once or twice.
        mine = mine[np.argsort(positions[mine], kind="stable")]
        for start in range(0, len(mine), _AT_ONCE):
            part = mine[start : start + _AT_ONCE]
            yield part, snapshot.segment_rows(segment, positions[part] - starts[number])
