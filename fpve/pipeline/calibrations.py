"""What votes were calibrated to, as a store keeps it: a prediction that stands must not change with every label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from fpve.classify import MIN_ROWS, Calibration, Fitted, Kind, LabelSets
from fpve.neighbours import Mask
from fpve.search import Searcher
from fpve.store import tables

# Temperature and prior are fitted again when there are half as many labelled images again: every prediction is another
# one then, and most nights nobody could say why.
GROWTH = 1.5
_SCHEMA = tables.SCHEMAS[tables.CALIBRATIONS]


def read_calibrations(rows: pa.Table, labels: LabelSets) -> dict[Kind, Calibration | None]:
    """What was fitted for a label, by the kind of queries.

    A class that is new since then has no share in the prior.

    Args:
        rows: those of the table `calibrations` that are of the label.
        labels: the classes by now.
    """
    return {_kind(row): _calibration(row, labels) for row in rows.to_pylist()}


def stand(rows: pa.Table, labels: LabelSets, counts: dict[Kind, int]) -> bool:
    """Whether what was fitted for a label is not to be fitted again.

    It is once there are half as many voters again, or enough for the first time, or if a class has none any more.

    Args:
        rows: those of the table `calibrations` that are of the label.
        labels: the classes by now.
        counts: of each kind, how many voters there are by now.
    """
    return all(
        counts[_kind(row)] < (MIN_ROWS if row["temperature"] is None else GROWTH * row["voters"])
        and set(row["classes"] or ()) <= set(labels.names)
        for row in rows.to_pylist()
    )


def kinds_of(rows: pa.Table) -> list[Kind]:
    """The kinds of queries that something was fitted for."""
    return [_kind(row) for row in rows.to_pylist()]


def count_voters(searcher: Searcher, allowed: Mask, kinds: Iterable[Kind]) -> dict[Kind, int]:
    """Of each kind of queries, how many of the images that vote (rows,) have their blocks."""
    image, prefix = (norm > 0 for norm in searcher.norms_of(np.flatnonzero(allowed)))
    return {
        kind: int(np.sum((image | (not kind.image)) & (prefix | (not kind.prefix)), dtype=np.int64)) for kind in kinds
    }


def calibration_rows(
    label: str,
    found: dict[Kind, Calibration | None],
    *,
    known: pa.Table,
    counts: dict[Kind, int],
    names: tuple[str, ...],
    snapshot: int,
) -> pa.Table:
    """Rows of the table `calibrations` for a label: those that there were, and what was fitted since.

    Args:
        label: the column.
        found: what was fitted by now, by the kind of queries.
        known: the rows that stand.
        counts: of each kind, how many voters there are.
        names: the classes of its prior.
        snapshot: number of the one in which the others were fitted.
    """
    made = []
    old = set(kinds_of(known))
    for kind in sorted(found.keys() - old):
        row: dict[str, Any] = {"label": label, **kind._asdict(), "voters": counts[kind], "snapshot": snapshot}
        one = found[kind]
        if one is not None:
            row |= one.fitted._asdict()
            row |= {"rows": one.rows, "distances": one.distances, "classes": names, "prior": one.prior}
        made.append(row)
    return pa.concat_tables([known, pa.Table.from_pylist(made, _SCHEMA)])


def _kind(row: dict[str, Any]) -> Kind:
    return Kind(**{name: row[name] for name in Kind._fields})


def _calibration(row: dict[str, Any], labels: LabelSets) -> Calibration | None:
    if row["temperature"] is None:
        return None
    shares = dict(zip(row["classes"], row["prior"], strict=True))
    prior = np.array([shares.get(name, 0.0) for name in labels.names])
    fitted = Fitted(*(row[name] for name in Fitted._fields))
    return Calibration(fitted, row["rows"], np.array(row["distances"]), prior)
