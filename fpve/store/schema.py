"""The columns of a store: the fixed ones of image rows, and the metadata columns with their types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from fpve.errors import MetadataError, StoreConflict

IMAGE_FIELDS: tuple[pa.Field, ...] = (
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("collection", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("content_hash", pa.string()),
    pa.field("bytes", pa.int64()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("prefix_id", pa.string()),
    pa.field("prefix", pa.string()),
    # Where the vector is: the segment's name and the row in its rows.parquet.
    pa.field("segment", pa.string(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
)
# What the columns of hits, predictions and views are called besides those of image rows.
_RESULT_NAMES = [
    "score",
    "image_score",
    "prefix_score",
    "cross_score",
    "prefix_predicted",
    "vector",
    "rank",
    "query",
    "query_id",
    "prediction",
    "confidence",
    "neighbours",
]
RESERVED = frozenset(field.name for field in IMAGE_FIELDS) | frozenset(_RESULT_NAMES)

# The types that survive Parquet, DuckDB, pandas and JSON alike; wider than what files hold, so that
# a narrower type that a later file brings still fits.
_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "list<string>": pa.list_(pa.string()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float64>": pa.list_(pa.float64()),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A metadata column.

    Its type is `string`, `int64`, `float64`, `bool`, `timestamp` (UTC), `date`, or `list<…>` of one of the first three.
    """

    name: str
    type: str

    @property
    def field(self) -> pa.Field:
        """The column as Arrow has it."""
        return pa.field(self.name, _TYPES[self.type])


def type_name(kind: pa.DataType) -> str | None:
    """Name of the store's type that holds every value of an Arrow type; None if no type does."""
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        name = f"list<{type_name(kind.value_type)}>"
        return name if name in _TYPES else None
    is_string = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    tests = {
        "string": is_string or pa.types.is_null(kind),
        "bool": pa.types.is_boolean(kind),
        # An unsigned 64-bit number may not fit.
        "int64": pa.types.is_integer(kind) and kind != pa.uint64(),
        "float64": pa.types.is_floating(kind),
        "timestamp": pa.types.is_timestamp(kind),
        "date": pa.types.is_date(kind),
    }
    return next((name for name, holds in tests.items() if holds), None)


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a type name."""
    return _TYPES[name]


def is_free(name: str) -> bool:
    """Whether a metadata column can be called so."""
    return bool(name.strip()) and name.casefold() not in RESERVED and not name.startswith("__")


def check_names(names: Iterable[str], where: str, *, remedy: str = "rename it in the file") -> None:
    """Refuse metadata columns that are reserved, empty, or differ only in case; `remedy` says what to do.

    Raises:
        MetadataError: naming the file `where` and the column.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip():
            raise MetadataError(f"{where}: expected a name for every column, found an empty one")
        if not is_free(name):
            raise MetadataError(f"{where}: column {name!r} is reserved by fpve; {remedy}")
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise MetadataError(f"{where}: columns {other!r} and {name!r} differ only in case; rename one in the file")


def merge(columns: dict[str, tuple[Column, ...]]) -> tuple[Column, ...]:
    """Make one schema, sorted by name, of the columns of several collections.

    Raises:
        StoreConflict: two collections give one column different types, or names that differ only in case.
    """
    merged: dict[str, tuple[Column, str]] = {}
    for collection, own in columns.items():
        for column in own:
            other, owner = merged.setdefault(column.name.casefold(), (column, collection))
            if other.name != column.name:
                raise StoreConflict(
                    f"columns {other.name!r} of {owner!r} and {column.name!r} of {collection!r} differ only in case; "
                    "rename one in its metadata file"
                )
            if other.type != column.type:
                raise StoreConflict(
                    f"column {column.name!r} is {other.type} in {owner!r} and {column.type} in {collection!r}; "
                    f'set types = {{ {column.name} = "…" }} in one of the [[collections]]'
                )
    return tuple(sorted((column for column, _ in merged.values()), key=lambda column: column.name))


def page_schema(columns: Iterable[Column]) -> pa.Schema:
    """The Arrow schema of image rows with these metadata columns."""
    return pa.schema([*IMAGE_FIELDS, *(column.field for column in columns)])


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table of another version of a schema in this one: columns that it lacks are null."""
    arrays = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
