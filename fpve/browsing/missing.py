"""What is no value of a column: null; of numbers NaN and infinity as well, and of lists an empty one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with null for numbers that are none."""
    return pc.if_else(pc.is_finite(column), column, None) if pa.types.is_floating(column.type) else column


def missing(column: str, kind: str) -> str:
    """The SQL condition for no value.

    Args:
        column: the column as SQL writes it.
        kind: its type, as the store calls it.
    """
    if kind.startswith("list<"):
        return f"coalesce(list_count({column}), 0) = 0"
    if kind == "float64":
        return f"{column} IS NULL OR NOT isfinite({column})"
    return f"{column} IS NULL"
