"""Columns of lists, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.neighbours import Mask, Rows


@dataclass(frozen=True, slots=True)
class Elements:
    """What is in the lists of n images.

    Attributes:
        values: (m) the elements, of all lists one after the other.
        row: (m,) the image that each is of, ascending.
        without: (n,) which images have an empty list, one of nulls only, or none.
    """

    values: pa.ChunkedArray
    row: Rows
    without: Mask

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Elements:
        """The elements of a column (n) of lists."""
        values = pc.list_flatten(column)
        row = np.repeat(np.arange(len(column)), pc.fill_null(pc.list_value_length(column), 0).to_numpy())
        without = np.ones(len(column), bool)
        without[row[values.is_valid().to_numpy()]] = False
        return cls(values, row, without)
