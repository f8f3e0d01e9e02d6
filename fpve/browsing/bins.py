"""Intervals of numbers and times with round edges, at most twenty of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fpve.browsing.missing import finite

Codes = NDArray[np.int32]

# As many bars as can be told apart in a column at the side of a page.
MOST = 20
# Round numbers are these, times powers of ten.
_DIGITS = (1, 2, 5)
# Steps between times, in the units by which these are written.
_STEPS = (
    *(("us", 10**power) for power in range(6)),
    *((unit, one) for unit in ("s", "m") for one in (1, 2, 5, 10, 15, 30)),
    *(("h", one) for one in (1, 2, 3, 6, 12)),
    *(("D", one) for one in (1, 2, 5, 10, 15)),
    *(("M", one) for one in (1, 2, 3, 6)),
    *(("Y", digit * 10**power) for power in range(6) for digit in _DIGITS),
)
_LONGER_THAN_DAYS = ("D", "M", "Y")
# Of a step: 0.7 is 13.999999999999998 times 0.05.
_ROUNDING = 1e-9
# Steps that are a smaller part of the numbers are lost in rounding.
_FINEST = 1e-12


@dataclass(frozen=True, slots=True)
class Bins:
    """Intervals (b) that lie side by side. Times are ISO 8601.

    Attributes:
        low, high: the smallest and the largest value; None where there is none.
        starts: (b,) where each begins.
        ends: (b,) of integers and days its largest; of others where the next one begins.
        are_single: whether they are integers, of which no two images have the same.
    """

    low: Any
    high: Any
    starts: tuple[Any, ...]
    ends: tuple[Any, ...]
    are_single: bool


def bins_of(column: pa.ChunkedArray, kind: str) -> tuple[Bins, Codes]:
    """Intervals of a column (n,) of numbers or times, and the number (n,) of each value's one; -1 for no value."""
    column = finite(column)
    codes = np.full(len(column), -1, np.int32)
    values = _values(column.drop_null(), kind)
    if not len(values):
        return Bins(None, None, (), (), are_single=False), codes
    low, high = values.min(), values.max()
    starts: Sequence[Any]
    ends: Sequence[Any]
    if kind == "int64":
        starts, ends = _of_integers(int(low), int(high))
    elif kind == "float64":
        starts, ends = _of_numbers(float(low), float(high))
    else:
        starts, ends = _of_times(low, high)
    codes[column.is_valid().to_numpy()] = np.searchsorted(np.array(starts, values.dtype), values, side="right") - 1
    return Bins(
        _told(low),
        _told(high),
        tuple(_told(one) for one in starts),
        tuple(_told(one) for one in ends),
        are_single=kind == "int64" and len(np.unique(values)) == len(values),
    ), codes


def _values(column: pa.ChunkedArray, kind: str) -> NDArray[Any]:
    if kind == "timestamp":
        return column.cast(pa.int64()).to_numpy().astype("datetime64[us]")  # type: ignore[no-any-return]
    if kind == "date":
        return column.cast(pa.int32()).to_numpy().astype("datetime64[D]")  # type: ignore[no-any-return]
    return column.to_numpy()  # type: ignore[no-any-return]


def _of_integers(low: int, high: int) -> tuple[Sequence[int], Sequence[int]]:
    steps = (digit * 10**power for power in count() for digit in _DIGITS)
    step = next(one for one in steps if high // one - low // one < MOST)
    starts = [one * step for one in range(low // step, high // step + 1)]
    # Of the smallest integers there is no round number below.
    return [max(starts[0], -(2**63)), *starts[1:]], [min(one + step, 2**63) - 1 for one in starts]


def _of_numbers(low: float, high: float) -> tuple[Sequence[float], Sequence[float]]:
    # Not of the difference: it may be beyond all numbers.
    least = high / MOST - low / MOST
    if least <= max(abs(low), abs(high)) * _FINEST:
        return [low], [math.nextafter(high, math.inf)]
    smallest = math.floor(math.log10(least))
    for power, digit in ((power, digit) for power in count(smallest) for digit in _DIGITS):
        step = float(f"{digit}e{power}")
        first, last = (math.floor(one / step + _ROUNDING) for one in (low, high))
        if last - first < MOST:
            # Rounded: three times 0.1 is 0.30000000000000004.
            edges = [round(one * step, max(0, -power)) for one in range(first, last + 2)]
            break
    # In case that rounding has put one on the other side of a value.
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], math.nextafter(high, math.inf))
    return edges[:-1], edges[1:]


def _of_times(low: np.datetime64, high: np.datetime64) -> tuple[Sequence[np.datetime64], Sequence[np.datetime64]]:
    is_day = low.dtype == np.dtype("datetime64[D]")
    for unit, step in _STEPS:
        if is_day and unit not in _LONGER_THAN_DAYS:
            continue
        first, last = (int(one.astype(f"datetime64[{unit}]").astype(np.int64)) // step for one in (low, high))
        if last - first < MOST:
            edges = (np.arange(first, last + 2) * step).astype(f"datetime64[{unit}]").astype(low.dtype)
            return list(edges[:-1]), list(edges[1:] - 1 if is_day else edges[1:])
    # Of more years than there are.
    return [low], [high + 1]


def _told(value: Any) -> Any:
    if not isinstance(value, np.datetime64):
        return value.item() if isinstance(value, np.generic) else value
    text = str(value)
    return text if value.dtype == np.dtype("datetime64[D]") else f"{text.removesuffix('.000000')}Z"
