"""Labels predicted for images that have none: the table `predictions`, true of every snapshot that is published.

A prediction is made again if the image has another vector, if one of its neighbours votes otherwise or not at all, or
if an image that has come to vote may be among its nearest. All are, if what makes them is another, or where so many
voters have changed that few would stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.classify import (
    Abstention,
    KnnClassifier,
    LabelSets,
    Voting,
    read_label_sets,
    told,
    told_of_head,
)
from fpve.config import PredictRule
from fpve.errors import QueryError
from fpve.fusion import Blocks
from fpve.heads.stored import load_head
from fpve.mapper import Mapper
from fpve.neighbours import Mask
from fpve.pipeline.calibrations import calibration_rows, count_voters, kinds_of, read_calibrations, stand
from fpve.pipeline.standing import Wanted, standing
from fpve.pipeline.voters import changed_voters
from fpve.search import Searcher
from fpve.store import manifest as manifests
from fpve.store import tables
from fpve.store.files import NAME_DIGITS
from fpve.store.heads import space_of
from fpve.store.manifest import Manifest
from fpve.store.predict import PredictRef, images_of
from fpve.store.snapshot import Snapshot

# Of the voters. With the default of 20 neighbours a change of so many leaves every third prediction as it was; beyond,
# to find out which these are costs more than it saves.
MOST_CHANGED = 0.05
# Images that are predicted at once: probabilities of a thousand classes are 8 MB.
_AT_ONCE = 1_000
_TABLES = (tables.PREDICTIONS, tables.CALIBRATIONS)
_TOLD = ["prediction", "confidence", "novelty", "neighbours"]


def with_predictions(root: Path, manifest: Manifest, last: Manifest | None, *, over: Mapper | None = None) -> Manifest:
    """A manifest that is to be published, with the predictions that its rules ask for, and no others.

    A rule that can't be followed is no error: it predicts nothing, and says why.

    Args:
        root: the store; the files that the manifest names are there, indexes included.
        manifest: what is to be published; its tables and rules are those of `last`, but for what became of rules.
        last: the manifest that it follows, if there is one.
        over: searches segments elsewhere.

    Raises:
        StoreCorrupt: a page, a segment, or what was predicted before is missing or damaged.
    """
    rest = [one for one in manifest.tables if one.name not in _TABLES]
    if not manifest.predict:
        return replace(manifest, tables=tuple(rest))
    stored = sum(one.rows for one in manifest.tables_named(tables.PREDICTIONS))
    images = images_of(manifest)
    if stored == sum(one.rows for one in manifest.predict) and all(
        one.images == images and one.way == way_of(manifest, one.rule) for one in manifest.predict
    ):
        return manifest
    work = _Work(root, manifest, last, over)
    done = [work.done(one) for one in manifest.predict]
    each = ([one.rows for one in done], [one.calibrations for one in done])
    for name, parts in zip(_TABLES, each, strict=True):
        rows = pa.concat_tables(parts)
        rest += [tables.write_table(root, name, rows)] if len(rows) else []
    made = sum(one.made for one in done)
    return replace(
        manifest,
        predict=tuple(replace(one.ref, images=images) for one in done),
        tables=manifests.sorted_tables(rest),
        summary={**manifest.summary, **({"predicted": made} if made else {})},
    )


def way_of(manifest: Manifest, rule: PredictRule) -> str:
    """What makes a rule's predictions of images and their neighbours, as a digest: of another one none can stand."""
    parts = [space_of(manifest)]
    if rule.head == "knn":
        weight = manifest.fusion.image_weight if rule.image_weight is None else rule.image_weight
        parts += [repr(weight), repr(_voting(rule))]
    else:
        parts += [one.file.sha256 for one in manifest.heads if (one.label, one.kind) == (rule.label, rule.head)]
    return hashlib.sha256(";".join(parts).encode()).hexdigest()[:NAME_DIGITS]


def _voting(rule: PredictRule) -> Voting:
    """How neighbours vote by a rule, before that is calibrated."""
    return Voting.given(rule.k, rule.weights, rule.temperature)


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a rule: its rows of both tables, and how many of the predictions were made, not kept."""

    ref: PredictRef
    rows: pa.Table
    calibrations: pa.Table
    made: int = 0


class _Work:
    """The predictions of one manifest that is to be published."""

    def __init__(self, root: Path, manifest: Manifest, last: Manifest | None, over: Mapper | None) -> None:
        self._snapshot = Snapshot(root, manifest, use_copies=False)
        # A prediction of a prefix says nothing that the picture does not.
        self._searcher = Searcher(self._snapshot, over=over).variant(predicted=False)
        self._last = last
        self._tables = {name: self._snapshot.table(name) for name in _TABLES}

    def done(self, ref: PredictRef) -> _Done:
        """Follow a rule, as far as that can be done."""
        way = way_of(self._snapshot.manifest, ref.rule)
        try:
            done = self._followed(ref, is_same_way=way == ref.way)
            return replace(done, ref=replace(ref, way=way, rows=len(done.rows), reason=None))
        except QueryError as error:
            reason = f"[[predict]] for {ref.rule.label!r} predicts nothing: {error}"
            nothing = (one.schema.empty_table() for one in self._tables.values())
            return _Done(replace(ref, way=way, rows=0, reason=reason), *nothing)

    def _followed(self, ref: PredictRef, *, is_same_way: bool) -> _Done:
        """Make the predictions of a rule that don't stand, knowing whether those that there are were made in its way.

        Raises:
            QueryError: it can't be followed.
        """
        rule = ref.rule
        labels = read_label_sets(self._searcher, rule.label)
        if labels.is_multiple:
            raise QueryError(f"column {rule.label!r} holds lists, and what is predicted is one class an image")
        if len(labels.names) < 2:
            raise QueryError(f"all labelled images have one class, {labels.names[0]!r}; label some of another")
        chosen = ~labels.labelled
        if rule.where is not None:
            chosen &= self._searcher.matching(rule.where)
        known, calibrations = (
            one.filter(pc.equal(one["label"], rule.label)) if is_same_way else one.schema.empty_table()
            for one in self._tables.values()
        )
        wanted = Wanted.of(self._snapshot, np.flatnonzero(chosen), known)
        if rule.head == "knn":
            return self._by_votes(ref, labels, wanted, calibrations)
        return self._by_head(ref, wanted)

    def _by_votes(self, ref: PredictRef, labels: LabelSets, wanted: Wanted, calibrations: pa.Table) -> _Done:
        rule, voting = ref.rule, _voting(ref.rule)
        counts = count_voters(self._searcher, labels.labelled, kinds_of(calibrations))
        stands = np.zeros(len(wanted.rows), bool)
        if not stand(calibrations, labels, counts):
            calibrations = calibrations.schema.empty_table()
        elif self._last is not None and ref.images == images_of(self._last):
            change = changed_voters(self._last, self._snapshot, rule.label)
            if change.images <= MOST_CHANGED * labels.labelled.sum():
                stands = standing(wanted, change, self._searcher, image_weight=rule.image_weight, k=voting.k)
        classifier = KnnClassifier(
            self._searcher,
            label=rule.label,
            voting=voting,
            calibrate=rule.is_calibrated,
            image_weight=rule.image_weight,
            calibrations=read_calibrations(calibrations, labels),
        )
        abstention = Abstention(rule.abstain_below, rule.abstain_novel)

        def predict(blocks: Blocks) -> pa.Table:
            return told(classifier.classify(blocks), labels, self._snapshot.rows, abstention)

        rows = self._rows(rule, wanted, stands, predict)
        found = classifier.calibrations
        fitted = calibration_rows(
            rule.label,
            found,
            known=calibrations,
            counts=count_voters(self._searcher, labels.labelled, found),
            names=labels.names,
            snapshot=self._snapshot.manifest.snapshot,
        )
        return _Done(ref, rows, fitted, int((~stands).sum()))

    def _by_head(self, ref: PredictRef, wanted: Wanted) -> _Done:
        rule = ref.rule
        head = load_head(self._snapshot, rule.label, rule.head)
        abstention = Abstention(rule.abstain_below)
        fusion = self._searcher.fusion

        def predict(blocks: Blocks) -> pa.Table:
            return told_of_head(head.probabilities(fusion.query(*blocks, head.image_weight)), head.names, abstention)

        stands = wanted.place >= 0
        rows = self._rows(rule, wanted, stands, predict)
        return _Done(ref, rows, self._tables[tables.CALIBRATIONS].schema.empty_table(), int((~stands).sum()))

    def _rows(self, rule: PredictRule, wanted: Wanted, stands: Mask, predict: Callable[[Blocks], pa.Table]) -> pa.Table:
        """Rows of the table `predictions`, in the order of the images: those that stand, and the others made."""
        waiting = np.flatnonzero(~stands)
        parts = [wanted.known.take(pa.array(wanted.place[stands]))]
        for start in range(0, len(waiting), _AT_ONCE):
            mine = waiting[start : start + _AT_ONCE]
            found = predict(self._searcher.blocks_of(wanted.rows[mine])).select(_TOLD)
            parts.append(self._named(rule, wanted.names.take(pa.array(mine)), found))
        back = np.argsort(np.concatenate([np.flatnonzero(stands), waiting]), kind="stable")
        return pa.concat_tables(parts).take(pa.array(back))

    def _named(self, rule: PredictRule, names: pa.RecordBatch, found: pa.Table) -> pa.Table:
        """Predictions with the images that they are of, and where they come from."""
        manifest = self._snapshot.manifest
        same = {
            "label": rule.label,
            "head": rule.head,
            "predicted_at": datetime.fromisoformat(manifest.created_at),
            "snapshot": manifest.snapshot,
        }
        schema = tables.SCHEMAS[tables.PREDICTIONS]
        columns = {name: names[name] for name in names.schema.names} | {name: found[name] for name in _TOLD}
        columns |= {name: pa.repeat(pa.scalar(one, schema.field(name).type), len(found)) for name, one in same.items()}
        return pa.table([columns[name] for name in schema.names], schema=schema)
