"""By what the points of a map are coloured: the classes of a column, or its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.neighbours import Exact, Rows

# Integers of so few values are names of classes, such as 0 and 1, and have a colour each.
CLASSES = 12
# Twelve colours for points on light and on dark paper, found by search: to people who see no red, no green or no blue
# any two differ by CIEDE2000 of 13 or more (of common palettes of as many, by less than 2), to all others by 21; and
# they stand out from the paper by a contrast of 1.7 and 3.1. The first ones, of the largest classes, differ most.
LIGHT = (
    *("#5b81ea", "#d46800", "#137567", "#b3214d", "#b6c522", "#6bc8e4"),
    *("#5a345d", "#f3a7b1", "#7b9969", "#976e9b", "#0b37ca", "#414513"),
)
DARK = (
    *("#42a9b0", "#ffa57f", "#bf7cff", "#d5e809", "#f05e7d", "#78f3c9"),
    *("#fcceff", "#a45105", "#4c53ec", "#a29118", "#397353", "#825a86"),
)


@dataclass(frozen=True, slots=True)
class Colouring:
    """What n points are coloured by.

    Attributes:
        kind: `classes`, or what numbers are: `numbers`, `integers`, `times` (seconds since 1970, UTC).
        names: of the classes, the largest first.
        codes: (n,) number of the class; -1 where there is none. Empty of numbers.
        values: (n,) float64, NaN where there is none. Empty of classes.
    """

    kind: Literal["classes", "numbers", "integers", "times"]
    names: tuple[str, ...]
    codes: Rows
    values: Exact

    def counts(self) -> tuple[tuple[str, int], ...]:
        """The classes with their sizes, the largest first."""
        sizes = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names)).tolist()
        return tuple(zip(self.names, sizes, strict=True))


def colouring_of(column: pa.ChunkedArray | pa.Array) -> Colouring:
    """Colour points by a column (n,): by classes, but for numbers and times.

    A list is one class, named by its values in their order.
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        seconds = column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64(), safe=False)
        return _numbers("times", pc.divide(seconds, 1e6))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _numbers("numbers", column.cast(pa.float64(), safe=False))
    if pa.types.is_integer(kind) and pc.count_distinct(column).as_py() > CLASSES:
        return _numbers("integers", column.cast(pa.float64(), safe=False))
    return _classes(column)


def _numbers(kind: Literal["numbers", "integers", "times"], column: pa.Array) -> Colouring:
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    # Infinity has no place on a ramp.
    return Colouring(kind, (), np.zeros(0, np.int64), np.where(np.isfinite(values), values, np.nan))


def _classes(column: pa.Array) -> Colouring:
    if pa.types.is_nested(column.type) or not pa.types.is_string(column.type):
        column = pa.array([_name(value) for value in column.to_pylist()], pa.string())
    # What has no letter is no class, as it is no prefix.
    column = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    found = column.dictionary_encode()
    codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = np.array(found.dictionary.to_pylist(), object)
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    order = np.array(sorted(range(len(names)), key=lambda at: (-sizes[at], names[at])), np.int64)
    place = np.empty(len(names) + 1, np.int64)
    place[order], place[-1] = np.arange(len(names)), -1
    return Colouring("classes", tuple(names[order]), place[codes], np.zeros(0))


def _name(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        return ", ".join(str(one) for one in value if one is not None)
    return str(value).lower() if isinstance(value, bool) else str(value)
