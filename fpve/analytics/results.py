"""Results as JSON, CSV and Parquet have them: names that differ, and plain types."""

from __future__ import annotations

import pyarrow as pa

from fpve.errors import QueryError


def plain_table(table: pa.Table) -> pa.Table:
    """A whole result: sums of integers are integers, as long as 64 bits hold all of them."""
    columns = []
    for column in table.columns:
        try:
            columns.append(_plain(column))
        except pa.ArrowInvalid:
            columns.append(column.cast(pa.float64()))
    return pa.table(columns, names=_names(table.column_names))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a result that is told part by part."""
    # By types: Arrow makes no empty column of a union.
    return pa.schema(list(zip(_names(schema.names), map(_plain_type, schema.types), strict=True)))


def plain_part(table: pa.Table) -> pa.Table:
    """A part of a result, with the same columns as all other parts.

    Raises:
        QueryError: a sum is beyond 64 bits.
    """
    names = _names(table.column_names)
    columns = []
    for name, column in zip(names, table.columns, strict=True):
        try:
            columns.append(_plain(column))
        except pa.ArrowInvalid:
            raise QueryError(f"SQL: column {name!r} has a number beyond 64 bits; cast it: …::DOUBLE") from None
    return pa.table(columns, names=names)


def _names(found: list[str]) -> list[str]:
    names: list[str] = []
    for name in found:
        count = sum(other == name or other.startswith(f"{name}_") for other in names)
        names.append(f"{name}_{count}" if name in names else name)
    return names


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a type that files have.

    Raises:
        pa.ArrowInvalid: a whole number is beyond 64 bits.
    """
    kind = column.type
    if pa.types.is_interval(kind) or pa.types.is_union(kind):
        texts = [None if one is None else str(one) for one in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    wanted = _plain_type(kind)
    return column if wanted == kind else column.cast(wanted)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(kind):
        return pa.int64() if kind.scale == 0 else pa.float64()
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.string() if pa.types.is_interval(kind) or pa.types.is_union(kind) else kind
