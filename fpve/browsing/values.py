"""Values of columns as people and JSON write them, in the type of the column, and as SQL has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fpve.errors import QueryError

Value = str | int | float | bool | datetime | date

# Of what is said again of a value that is none.
_LONGEST = 60
# Of more digits SQL makes a decimal number, which is not rounded as a float is.
_DIGITS = 15


def typed(name: str, kind: str, value: Any) -> Value:
    """A value of a column.

    Args:
        name: the column.
        kind: its type, as the store calls it; of a list that of its elements.
        value: of Python, or as JSON has it: times as ISO 8601, in UTC if nothing else is said.

    Raises:
        QueryError: it is none of this type.
    """
    return _TYPED[kind](name, value)


def bound(name: str, kind: str, value: Any, *, is_low: bool) -> Value:
    """A bound of a column of numbers or times; of integers it can lie between two of them.

    Raises:
        QueryError: it is none of this type.
    """
    if kind == "int64":
        number = _number(name, value, "a number")
        return _of_64_bits(name, math.ceil(number) if is_low else math.floor(number))
    return typed(name, kind, value)


def is_day(value: Any) -> bool:
    """Whether a time that is written is a whole day."""
    if not isinstance(value, str):
        return isinstance(value, date) and not isinstance(value, datetime)
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def day_after(name: str, value: Any) -> datetime:
    """When the day ends that is written.

    Raises:
        QueryError: it is the last that there is.
    """
    day = _date(name, value)
    try:
        after = day + timedelta(days=1)
    except OverflowError:
        raise wrong(name, "a day before 9999-12-31", value) from None
    return datetime(after.year, after.month, after.day, tzinfo=UTC)


def literal(value: Value) -> str:
    """A value as SQL writes it."""
    if isinstance(value, str):
        quoted = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
        # SQL ends at a NUL.
        return quoted[0] if len(quoted) == 1 else f"concat({', chr(0), '.join(quoted)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.isoformat(' ')}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    text = repr(value)
    return text if isinstance(value, int) or "e" in text or len(text) <= _DIGITS else f"{text}e0"


def quoted_name(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def wrong(name: str, expected: str, found: Any) -> QueryError:
    """What is said of a value that is none."""
    return QueryError(f"filters: column {short(name)}: expected {expected}, found {short(found)}")


def short(value: Any) -> str:
    """A value as it is said again: in one line, and not more of it than is read."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong(name, "a text", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong(name, "a text of whole characters", value) from None
    return value


def _integer(name: str, value: Any) -> int:
    number = _number(name, value, "an integer")
    if number != int(number):
        raise wrong(name, "an integer", value)
    return _of_64_bits(name, int(number))


def _of_64_bits(name: str, value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise wrong(name, "an integer of 64 bits", value)
    return value


def _float(name: str, value: Any) -> float:
    return float(_number(name, value, "a number"))


def _number(name: str, value: Any, expected: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, expected, value)
    try:
        is_finite = math.isfinite(value)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise wrong(name, expected, value)
    return value


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(name, "true or false", value)
    return value


def _time(name: str, value: Any) -> datetime:
    moment = value
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            moment = datetime(value.year, value.month, value.day)
        if not isinstance(moment, datetime):
            raise wrong(name, "a time such as 2024-01-31T12:00:00Z", value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, QueryError):
            raise
        raise wrong(name, "a time such as 2024-01-31T12:00:00Z", value) from None


def _date(name: str, value: Any) -> date:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).date()
        except ValueError:
            pass
    elif isinstance(value, date):
        return value.date() if isinstance(value, datetime) else value
    raise wrong(name, "a day such as 2024-01-31", value)


_TYPED: dict[str, Callable[[str, Any], Value]] = {
    "string": _text,
    "int64": _integer,
    "float64": _float,
    "bool": _truth,
    "timestamp": _time,
    "date": _date,
}
