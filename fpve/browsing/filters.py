"""What is chosen of columns: some of their values, or a range of them. Each is a condition that SQL and people read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn, Self

import pyarrow as pa

from fpve.browsing.missing import missing
from fpve.errors import QueryError
from fpve.errors import nearest as nearest_word
from fpve.store.schema import type_name

# Of a column with numbers or times.
_BOUNDS = ("min", "max")
_RANGED = frozenset({"int64", "float64", "timestamp", "date"})
# Of what is said again of a value that is none.
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Filter:
    """What is chosen of one column.

    Attributes:
        column: its name.
        condition: the SQL condition that the images meet.
        values: those that are chosen, as they were given; none of a range.
    """

    column: str
    condition: str
    values: tuple[Any, ...] = ()


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
            raise QueryError(f'filters: expected an object such as {{"kind": ["cat"]}}, found {_short(chosen)}')
        return cls.of(chosen, schema)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The SQL condition of each."""
        return tuple(one.condition for one in self.each)

    def but(self, column: str) -> Filters:
        """All filters but that of a column."""
        return Filters(tuple(one for one in self.each if one.column != column))

    def values_of(self, column: str) -> tuple[Any, ...]:
        """The values that are chosen of a column."""
        return next((one.values for one in self.each if one.column == column), ())


def joined(conditions: tuple[str, ...]) -> str | None:
    """One SQL condition that holds where all of these hold, each of which is one by itself; None of none."""
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    # A remark at the end of one would hide the bracket.
    return " AND ".join(f"({one}\n)" if "--" in one else f"({one})" for one in conditions)


def _filter(schema: pa.Schema, name: str, wanted: Any) -> Filter | None:
    if name not in schema.names:
        raise QueryError(
            f"filters: no column {_short(name)}{nearest_word(name[:_LONGEST], schema.names)}; "
            f"there is {', '.join(schema.names)}"
        )
    kind = type_name(schema.field(name).type) or ""
    if isinstance(wanted, Mapping):
        return _range(name, kind, wanted)
    if isinstance(wanted, list | tuple):
        return _choice(name, kind, wanted)
    raise QueryError(
        f"filters: column {name!r}: expected a list of values or bounds of a range, found {_short(wanted)}"
    )


def _choice(name: str, kind: str, wanted: list[Any] | tuple[Any, ...]) -> Filter | None:
    column = _quoted_name(name)
    values = tuple(dict.fromkeys(one for one in wanted if one is not None)) if _hashable(wanted) else tuple(wanted)
    element = kind.removeprefix("list<").removesuffix(">")
    literals = list(dict.fromkeys(_LITERALS[element](name, one) for one in values))
    parts = []
    if literals and element != kind:
        parts.append(f"list_has_any({column}, [{', '.join(literals)}])")
    elif len(literals) == 1:
        parts.append(f"{column} = {literals[0]}")
    elif literals:
        parts.append(f"{column} IN ({', '.join(literals)})")
    if len(wanted) > len([one for one in wanted if one is not None]):
        parts.append(missing(column, kind))
        values = (*values, None)
    return Filter(name, " OR ".join(parts), values) if parts else None


def _range(name: str, kind: str, wanted: Mapping[str, Any]) -> Filter | None:
    unknown = [key for key in wanted if key not in _BOUNDS]
    if unknown:
        raise QueryError(f"filters: column {name!r}: expected min and max, found {_short(unknown[0])}")
    if kind not in _RANGED:
        raise QueryError(f"filters: column {name!r} is {kind}, of which there are no ranges; expected a list of values")
    column = _quoted_name(name)
    low, high = wanted.get("min"), wanted.get("max")
    parts = []
    if low is not None:
        parts.append(f"{column} >= {_LOWER.get(kind, _LITERALS[kind])(name, low)}")
    if high is not None and kind == "timestamp" and _is_day(high):
        parts.append(f"{column} < {_time(name, _after(name, _date_of(name, high)))}")
    elif high is not None:
        parts.append(f"{column} <= {_UPPER.get(kind, _LITERALS[kind])(name, high)}")
    if parts and kind == "float64":
        # NaN is greater than all numbers there.
        parts.append(f"isfinite({column})")
    return Filter(name, " AND ".join(parts)) if parts else None


def _quoted_name(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a text", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _wrong(name, "a text of whole characters", value) from None
    quoted = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
    # SQL ends at a NUL.
    return quoted[0] if len(quoted) == 1 else f"concat({', chr(0), '.join(quoted)})"


def _integer(name: str, value: Any) -> str:
    number = _number_of(name, value, "an integer")
    if number != int(number):
        raise _wrong(name, "an integer", value)
    return _of_64_bits(name, int(number))


def _of_64_bits(name: str, value: int) -> str:
    if not -(2**63) <= value < 2**63:
        raise _wrong(name, "an integer of 64 bits", value)
    return str(value)


def _number(name: str, value: Any) -> str:
    number = float(_number_of(name, value, "a number"))
    text = repr(number)
    # Of more digits SQL makes a decimal number, which is not rounded as a float is.
    return text if "e" in text or len(text) <= 15 else f"{text}e0"


def _number_of(name: str, value: Any, expected: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, expected, value)
    try:
        is_finite = math.isfinite(value)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise _wrong(name, expected, value)
    return value


def _truth(name: str, value: Any) -> str:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return "true" if value else "false"


def _time(name: str, value: Any) -> str:
    moment = value
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            moment = datetime(value.year, value.month, value.day)
        if not isinstance(moment, datetime):
            raise _wrong(name, "a time such as 2024-01-31T12:00:00Z", value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(name, "a time such as 2024-01-31T12:00:00Z", value) from None
    return f"TIMESTAMPTZ '{moment.isoformat(' ')}'"


def _date(name: str, value: Any) -> str:
    return f"DATE '{_date_of(name, value).isoformat()}'"


def _date_of(name: str, value: Any) -> date:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).date()
        except ValueError:
            pass
    elif isinstance(value, date):
        return value.date() if isinstance(value, datetime) else value
    raise _wrong(name, "a day such as 2024-01-31", value)


def _after(name: str, day: date) -> date:
    try:
        return day + timedelta(days=1)
    except OverflowError:
        raise _wrong(name, "a day before 9999-12-31", day.isoformat()) from None


def _is_day(value: Any) -> bool:
    if isinstance(value, str):
        try:
            date.fromisoformat(value)
        except ValueError:
            return False
        return True
    return isinstance(value, date) and not isinstance(value, datetime)


_LITERALS: dict[str, Callable[[str, Any], str]] = {
    "string": _text,
    "int64": _integer,
    "float64": _number,
    "bool": _truth,
    "timestamp": _time,
    "date": _date,
}
# Of integers bounds can lie between two of them.
_LOWER: dict[str, Callable[[str, Any], str]] = {
    "int64": lambda name, value: _of_64_bits(name, math.ceil(_number_of(name, value, "a number")))
}
_UPPER: dict[str, Callable[[str, Any], str]] = {
    "int64": lambda name, value: _of_64_bits(name, math.floor(_number_of(name, value, "a number")))
}


def _wrong(name: str, expected: str, found: Any) -> QueryError:
    return QueryError(f"filters: column {name!r}: expected {expected}, found {_short(found)}")


def _short(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _hashable(values: list[Any] | tuple[Any, ...]) -> bool:
    return not any(isinstance(one, list | dict) for one in values)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"there is no {constant} in JSON")
