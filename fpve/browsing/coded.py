"""Columns as numbers of their values or of intervals of them, so that counting them is one pass over small integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.browsing.bins import Bins, Codes, bins_of
from fpve.browsing.lists import Elements
from fpve.browsing.missing import finite
from fpve.neighbours import Mask, Rows
from fpve.store.schema import type_name

# Integers of so few values are names of classes, such as 0 and 1.
_CLASSES = 12
_NO_VALUE = -1


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of n images as m numbers.

    Attributes:
        type: of the column, as the store calls it.
        codes: (m,) number of the value or of the interval; -1 where there is none.
        row: (m,) of a column of lists the image that each is of, in which no value is twice; None of other columns,
            where m is n.
        without: (n,) of a column of lists which images have an empty one, or none; None of other columns.
        values: of a column that is counted by its values these, each once.
        bins: of a column of numbers or times the intervals.
    """

    type: str
    codes: Codes
    row: Rows | None
    without: Mask | None
    values: pa.Array
    bins: Bins | None

    @property
    def is_like_ids(self) -> bool:
        """Whether it tells images apart rather than grouping them."""
        known = int(np.count_nonzero(self.codes >= 0))
        if self.bins is not None:
            return self.bins.are_single
        # Of a value are fewer than two images then.
        return self.type != "bool" and len(self.values) * 2 > known


def coded(column: pa.ChunkedArray) -> Coded:
    """The numbers of a column (n,) of image rows."""
    kind = type_name(column.type) or ""
    if kind in ("float64", "timestamp", "date") or (
        kind == "int64" and pc.count_distinct(column, mode="only_valid").as_py() > _CLASSES
    ):
        bins, codes = bins_of(column, kind)
        return Coded(kind, codes, None, None, pa.array([], column.type), bins)
    if not pa.types.is_list(column.type):
        codes, values = _encoded(column)
        return Coded(kind, codes, None, None, values, None)
    elements = Elements.of(column)
    codes, values = _encoded(elements.values)
    known = codes >= 0
    kinds = max(1, len(values))
    pairs = elements.row[known] * kinds + codes[known]
    # By image they are sorted already.
    pairs.sort(kind="stable")
    row, each = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], kinds)
    return Coded(kind, each.astype(np.int32), row, elements.without, values, None)


def _encoded(column: pa.ChunkedArray) -> tuple[Codes, pa.Array]:
    """Numbers (n,) of values, and these; NaN and infinity are none."""
    column = finite(column)
    # All texts at once can be longer than 2 GiB.
    wide = column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
    found = wide.combine_chunks().dictionary_encode()
    return found.indices.fill_null(_NO_VALUE).to_numpy(zero_copy_only=False), found.dictionary
