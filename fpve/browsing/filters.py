"""What is chosen of columns: some of their values, or a range of them.

Each filter is an SQL condition, for people and for whatever takes conditions, and a mask, which Arrow computes: to look
through a store no SQL is needed. Both say the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve.browsing.lists import Elements
from fpve.browsing.values import Value, bound, day_after, is_day, literal, quoted_name, short, typed
from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.neighbours import Exact, Mask
from fpve.store.schema import type_name

_BOUNDS = ("min", "max")
_RANGED = frozenset({"int64", "float64", "timestamp", "date"})


@dataclass(frozen=True, slots=True)
class Choice:
    """Some values of a column, of which an image has one.

    Attributes:
        column, kind: its name and type.
        values: the values, each once.
        or_none: whether images without a value meet it, too: of numbers NaN and infinity are none, of lists an empty
            one is none.
    """

    column: str
    kind: str
    values: tuple[Value, ...]
    or_none: bool

    @property
    def condition(self) -> str:
        """As SQL."""
        name, literals = quoted_name(self.column), [literal(one) for one in self.values]
        parts = []
        if literals and self.kind.startswith("list<"):
            parts.append(f"list_has_any({name}, [{', '.join(literals)}])")
        elif literals:
            parts.append(f"{name} = {literals[0]}" if len(literals) == 1 else f"{name} IN ({', '.join(literals)})")
        if self.or_none and self.kind.startswith("list<"):
            parts.append(f"coalesce(list_count({name}), 0) = 0")
        elif self.or_none:
            parts.append(f"{name} IS NULL")
            parts += [f"NOT isfinite({name})"] if self.kind == "float64" else []
        return " OR ".join(parts)

    def mask(self, column: pa.ChunkedArray) -> Mask:
        """Which images (n,) meet it, of which the column is given."""
        if not pa.types.is_list(column.type):
            found = self._has(column)
            if self.or_none:
                found |= ~_finite(column) if self.kind == "float64" else column.is_null().to_numpy()
            return found
        elements = Elements.of(column)
        found = elements.without.copy() if self.or_none else np.zeros(len(column), bool)
        found[elements.row[self._has(elements.values)]] = True
        return found

    def _has(self, values: pa.ChunkedArray) -> Mask:
        if pa.types.is_floating(values.type):
            # Arrow finds no 0.0 for -0.0.
            return np.isin(_floats(values), np.array(self.values, np.float64))
        return pc.is_in(_wide(values), value_set=pa.array(self.values, _wide(values).type)).to_numpy()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a column between two bounds, which are in it; NaN and infinity are in none.

    Attributes:
        column, kind: its name and type.
        low, high: the bounds; None where there is none.
        is_open: whether `high` itself is out.
    """

    column: str
    kind: str
    low: Value | None
    high: Value | None
    is_open: bool = False

    @property
    def condition(self) -> str:
        """As SQL."""
        name = quoted_name(self.column)
        parts = [f"{name} >= {literal(self.low)}"] if self.low is not None else []
        parts += [f"{name} {'<' if self.is_open else '<='} {literal(self.high)}"] if self.high is not None else []
        # There NaN is greater than all numbers.
        return " AND ".join([*parts, f"isfinite({name})"] if self.kind == "float64" else parts)

    def mask(self, column: pa.ChunkedArray) -> Mask:
        """Which images (n,) meet it, of which the column is given."""
        if self.kind == "float64":
            values = _floats(column)
            low = self.low if isinstance(self.low, float) else -np.inf
            high = self.high if isinstance(self.high, float) else np.inf
            found: Mask = (values >= low) & (values <= high) & np.isfinite(values)
            return found
        wide = _wide(column)
        within = wide.is_valid()
        if self.low is not None:
            within = pc.and_(within, pc.greater_equal(wide, pa.scalar(self.low, wide.type)))
        if self.high is not None:
            compare = pc.less if self.is_open else pc.less_equal
            within = pc.and_(within, compare(wide, pa.scalar(self.high, wide.type)))
        return within.fill_null(False).to_numpy()  # type: ignore[no-any-return]


Filter = Choice | Range


@dataclass(frozen=True, slots=True)
class Filters:
    """What is chosen of several columns; an image meets all of them.

    Attributes:
        each: the filters, one a column.
    """

    each: tuple[Filter, ...] = ()

    @classmethod
    def of(cls, chosen: Mapping[str, Any], schema: pa.Schema) -> Self:
        """Filters of columns by their names.

        Args:
            chosen: of each column a list of values, where None is no value; or the bounds of a range,
                `{"min": 1, "max": 5}`, which are in it, and of which one can be missing. Of a column of lists the
                images with any of the values. Times are ISO 8601, in UTC if nothing else is said; a `max` that is a day
                is the whole day. NaN and infinity are no values. What is empty chooses nothing.
            schema: of image rows.

        Raises:
            QueryError: there is no such column, or a value is not of its type.
        """
        filters = [_filter(schema, name, wanted) for name, wanted in chosen.items()]
        return cls(tuple(one for one in filters if one is not None))

    @classmethod
    def from_json(cls, text: str, schema: pa.Schema) -> Self:
        """Filters that are an object in JSON.

        Raises:
            QueryError: it is no such object, or says what `of` refuses.
        """
        try:
            chosen = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
            raise QueryError(f'filters: expected JSON such as {{"kind": ["cat"]}}: {reason}') from None
        if not isinstance(chosen, dict):
            raise QueryError(f'filters: expected an object such as {{"kind": ["cat"]}}, found {short(chosen)}')
        return cls.of(chosen, schema)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Each as SQL."""
        return tuple(one.condition for one in self.each)

    def but(self, column: str) -> Filters:
        """All filters but that of a column."""
        return Filters(tuple(one for one in self.each if one.column != column))

    def values_of(self, column: str) -> tuple[Value, ...]:
        """The values that are chosen of a column."""
        return next((one.values for one in self.each if one.column == column and isinstance(one, Choice)), ())


def joined(conditions: tuple[str, ...]) -> str | None:
    """One SQL condition that holds where all of these hold, each of which is one by itself; None of none."""
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    # A remark at the end of one would hide the bracket.
    return " AND ".join(f"({one}\n)" if "--" in one else f"({one})" for one in conditions)


def _filter(schema: pa.Schema, name: str, wanted: Any) -> Filter | None:
    if name not in schema.names:
        raise QueryError(
            f"filters: no column {short(name)}{nearest_word(name[:60], schema.names)}; "
            f"there is {', '.join(schema.names)}"
        )
    kind = type_name(schema.field(name).type) or ""
    if isinstance(wanted, Mapping):
        return _range(name, kind, wanted)
    if isinstance(wanted, list | tuple):
        element = kind.removeprefix("list<").removesuffix(">")
        values = tuple(dict.fromkeys(typed(name, element, one) for one in wanted if one is not None))
        return Choice(name, kind, values, None in wanted) if wanted else None
    raise QueryError(f"filters: column {name!r}: expected a list of values or bounds of a range, found {short(wanted)}")


def _range(name: str, kind: str, wanted: Mapping[str, Any]) -> Filter | None:
    unknown = [key for key in wanted if key not in _BOUNDS]
    if unknown:
        raise QueryError(f"filters: column {name!r}: expected min and max, found {short(unknown[0])}")
    if kind not in _RANGED:
        raise QueryError(f"filters: column {name!r} is {kind}, of which there are no ranges; expected a list of values")
    low, high = (wanted.get(key) for key in _BOUNDS)
    if low is None and high is None:
        return None
    first = None if low is None else bound(name, kind, low, is_low=True)
    if high is not None and kind == "timestamp" and is_day(high):
        return Range(name, kind, first, day_after(name, high), is_open=True)
    return Range(name, kind, first, None if high is None else bound(name, kind, high, is_low=False))


def _wide(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in the type in which values are compared with it: bounds may be beyond those of narrow integers."""
    return column.cast(pa.int64()) if pa.types.is_integer(column.type) else column


def _floats(column: pa.ChunkedArray) -> Exact:
    """A column of numbers, NaN where there is none."""
    return column.to_numpy()  # type: ignore[no-any-return]


def _finite(column: pa.ChunkedArray) -> Mask:
    return np.isfinite(_floats(column))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"there is no {constant} in JSON")
