"""How the values of columns spread over images: how many have each value, or lie in each interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.browsing.bins import Bins
from fpve.browsing.coded import Coded
from fpve.neighbours import Mask, Rows

# More values are looked for by typing, not by reading.
MOST_VALUES = 50


@dataclass(frozen=True, slots=True)
class Bin:
    """An interval, which `{"min": low, "max": high}` chooses.

    Attributes:
        low: where it begins.
        high: of integers and days its largest; of other numbers and times where the next one begins.
        count: how many images are in it.
    """

    low: Any
    high: Any
    count: int


@dataclass(frozen=True, slots=True)
class ValuesFacet:
    """How many images have each value of a column.

    Attributes:
        column, type: its name and type.
        values: pairs of a value and how many images have it, most frequent first; those that are chosen always.
        distinct: how many values these images have.
        missing: how many have none.
    """

    column: str
    type: str
    values: tuple[tuple[Any, int], ...]
    distinct: int
    missing: int


@dataclass(frozen=True, slots=True)
class RangeFacet:
    """How many images lie in each interval of a column. Times are ISO 8601, in UTC.

    Attributes:
        column, type: its name and type.
        low, high: the smallest and the largest value of all images of the store; None where there is none.
        bins: the intervals, the same whatever images are counted.
        missing: how many of the images have no value.
    """

    column: str
    type: str
    low: Any
    high: Any
    bins: tuple[Bin, ...]
    missing: int


Facet = ValuesFacet | RangeFacet


def facet_of(name: str, column: Coded, allowed: Mask | None, chosen: Sequence[Any] = ()) -> Facet:
    """Count the images (n,) that are allowed, by a column; values that are chosen are told of even if none has them."""
    counts, missing = _counted(column, allowed)
    if column.bins is not None:
        return _range(name, column.type, column.bins, counts, missing)
    order = _most_frequent(column.values, counts)
    values = list(zip(column.values.take(pa.array(order)).to_pylist(), counts[order].tolist(), strict=True))
    told = {value for value, _ in values}
    more = (value for value in chosen if value is not None and value not in told)
    values.extend((value, _count_of(column.values, value, counts)) for value in more)
    values.sort(key=lambda one: (-one[1], one[0]))
    return ValuesFacet(name, column.type, tuple(values), int(np.count_nonzero(counts)), missing)


def _most_frequent(values: pa.Array, counts: Rows) -> Rows:
    """Numbers of the most frequent values, as many as are told of; of equally frequent ones the first."""
    present = np.flatnonzero(counts)
    if len(present) <= MOST_VALUES:
        return present
    least = np.partition(counts[present], -MOST_VALUES)[-MOST_VALUES]
    sure = present[counts[present] > least]
    others = present[counts[present] == least]
    table = pa.table({"value": values.take(pa.array(others))})
    # Not sorted: of names there can be a million.
    first = pc.select_k_unstable(table, MOST_VALUES - len(sure), [("value", "ascending")])
    return np.concatenate([sure, others[first.to_numpy()]])


def _counted(column: Coded, allowed: Mask | None) -> tuple[Rows, int]:
    """How many images there are of each number, and without one."""
    kinds = len(column.values) if column.bins is None else len(column.bins.ends)
    if column.row is None or column.without is None:
        codes = column.codes if allowed is None else column.codes[allowed]
        # From 1 on: 0 is no value.
        found = np.bincount(codes + 1, minlength=kinds + 1)
        return found[1:], int(found[0])
    if allowed is None:
        return np.bincount(column.codes, minlength=kinds), int(np.count_nonzero(column.without))
    counts = np.bincount(column.codes[allowed[column.row]], minlength=kinds)
    return counts, int(np.count_nonzero(column.without & allowed))


def _range(name: str, kind: str, bins: Bins, counts: Rows, missing: int) -> RangeFacet:
    told = zip(bins.starts, bins.ends, counts.tolist(), strict=True)
    return RangeFacet(name, kind, bins.low, bins.high, tuple(Bin(*one) for one in told), missing)


def _count_of(values: pa.Array, value: Any, counts: Rows) -> int:
    try:
        at = values.index(pa.scalar(value, values.type)).as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return 0
    return int(counts[at]) if at >= 0 else 0
