"""Intervals of numbers and times with round edges, at most twenty of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# As many bars as can be told apart in a column at the side of a page.
MOST = 20
# Steps of times, of calendar units by which they are written.
_STEPS = (
    *(("us", one) for one in (1, 10, 100, 1_000, 10_000, 100_000)),
    *(("s", one) for one in (1, 2, 5, 10, 15, 30)),
    *(("m", one) for one in (1, 2, 5, 10, 15, 30)),
    *(("h", one) for one in (1, 2, 3, 6, 12)),
    *(("D", one) for one in (1, 2, 5, 10, 15)),
    *(("M", one) for one in (1, 2, 3, 6)),
    *(("Y", digit * 10**power) for power in range(6) for digit in (1, 2, 5)),
)


@dataclass(frozen=True, slots=True)
class Bins:
    """Intervals that lie side by side.

    Attributes:
        low, high: the smallest and the largest value; None where there is none. Times are ISO 8601.
        edges: (b + 1,) where they begin, and where the last one ends.
        ends: (b,) the largest of each, of integers and days; of other kinds where the next one begins.
        are_distinct: of integers, whether no two values are the same.
    """

    low: Any
    high: Any
    edges: tuple[Any, ...]
    ends: tuple[Any, ...]
    are_distinct: bool


def bins_of(column: pa.ChunkedArray, kind: str) -> tuple[Bins, NDArray[np.int32]]:
    """Intervals of a column (n,) of numbers or times, and the number (n,) of that of each value; -1 for no value."""
    if kind == "float64":
        column = pc.if_else(pc.is_finite(column), column, None)
    known = column.is_valid().to_numpy()
    codes = np.full(len(column), -1, np.int32)
    present = column.drop_null()
    if not len(present):
        return Bins(None, None, (), (), are_distinct=False), codes
    if kind == "timestamp":
        values = present.cast(pa.int64()).to_numpy().astype("datetime64[us]")
    elif kind == "date":
        values = present.cast(pa.int32()).to_numpy().astype("datetime64[D]")
    else:
        values = present.to_numpy()
    edges = _time_edges(values) if kind in ("timestamp", "date") else _number_edges(values)
    codes[known] = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    told = [_told(one, kind) for one in edges]
    one = {"int64": 1, "date": np.timedelta64(1, "D")}.get(kind)
    ends = told[1:] if one is None else [_told(edge - one, kind) for edge in edges[1:]]
    distinct = kind == "int64" and len(np.unique(values)) == len(values)
    low, high = _told(values.min(), kind), _told(values.max(), kind)
    return Bins(low, high, tuple(told), tuple(ends), distinct), codes


def _number_edges(values: NDArray[Any]) -> NDArray[Any]:
    """Edges that are multiples of 1, 2 or 5 times a power of ten; integers where the values are."""
    is_whole = np.issubdtype(values.dtype, np.integer)
    low, high = values.min().item(), values.max().item()
    if is_whole:
        step = _round_step(max(1.0, (high - low) / MOST))
        whole = max(1, round(step))
        first = low // whole
        while (high // whole) - first + 1 > MOST:
            whole = max(whole + 1, round(_round_step(whole * 1.01)))
            first = low // whole
        edges = [one * whole for one in range(first, high // whole + 2)]
        try:
            return np.array(edges, np.int64)
        except OverflowError:
            return np.array([np.iinfo(np.int64).min, *edges[1:-1], np.iinfo(np.int64).max], np.int64)
    if low == high:
        return np.array([low, np.nextafter(high, np.inf)])
    step = _round_step((high / MOST - low / MOST) or np.finfo(np.float64).tiny)
    first = math.floor(low / step)
    while math.floor(high / step) - first + 1 > MOST:
        step = _round_step(step * 1.01)
        first = math.floor(low / step)
    # Rounded: thirty times 0.1 is 3.0000000000000004.
    digits = max(0, -math.floor(math.log10(step)))
    return np.array([round(one * step, digits) for one in range(first, math.floor(high / step) + 2)])


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times powers of ten that is no less."""
    power = math.floor(math.log10(least))
    for digit in (1, 2, 5, 10):
        step = float(f"{digit}e{power}")
        if step >= least:
            return step
    return float(f"1e{power + 1}")


def _time_edges(values: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    low, high = values.min(), values.max()
    is_day = values.dtype == np.dtype("datetime64[D]")
    edges = np.array([low, high + 1])
    for unit, count in _STEPS:
        if is_day and unit not in ("D", "M", "Y"):
            continue
        first, last = (int(one.astype(f"datetime64[{unit}]").astype(np.int64)) // count for one in (low, high))
        if last - first < MOST:
            found = (np.arange(first, last + 2) * count).astype(f"datetime64[{unit}]")
            edges = found.astype(values.dtype)
            break
    return edges


def _told(value: Any, kind: str) -> Any:
    if kind == "timestamp":
        text = str(value.astype("datetime64[us]"))
        return f"{text.removesuffix('.000000')}Z"
    if kind == "date":
        return str(value.astype("datetime64[D]"))
    return value.item()
