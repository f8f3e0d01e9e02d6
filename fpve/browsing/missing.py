"""Numbers that are none."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with null for NaN and infinity: they have no place in an order, and JSON has none of them."""
    return pc.if_else(pc.is_finite(column), column, None) if pa.types.is_floating(column.type) else column
