"""The same answers without Arrow, SQL or memory: a loop over rows, as plain as can be."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

Row = dict[str, Any]


def is_value(value: Any) -> bool:
    """Whether something is a value: not null, NaN or infinity."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def values_of(value: Any) -> list[Any]:
    """The values of a cell, each once."""
    return list(dict.fromkeys(one for one in (value if isinstance(value, list) else [value]) if is_value(one)))


def has_none(value: Any) -> bool:
    """Whether a cell has no value; a list with one that is no number has something in it."""
    return all(one is None for one in value) if isinstance(value, list) else not is_value(value)


def meets(row: Row, filters: dict[str, Any]) -> bool:
    """Whether a row meets filters as `Store.browse` takes them."""
    return all(_meets(row[name], wanted) for name, wanted in filters.items())


def _meets(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        low, high = (_as(value, wanted[key]) if key in wanted else None for key in ("min", "max"))
        if low is None and high is None:
            return True
        if (
            isinstance(value, datetime)
            and isinstance(wanted.get("max"), str)
            and len(wanted["max"]) == len("2024-01-31")
        ):
            high = high + timedelta(days=1, microseconds=-1)
        return is_value(value) and (low is None or value >= low) and (high is None or value <= high)
    if not wanted:
        return True
    chosen = [_as(values[0], one) if (values := values_of(value)) and one is not None else one for one in wanted]
    return any(one in chosen for one in values_of(value)) or (None in wanted and has_none(value))


def _as(value: Any, wanted: Any) -> Any:
    """What was wanted, in the type of a value."""
    if not isinstance(wanted, str):
        return wanted
    if isinstance(value, datetime):
        found = datetime.fromisoformat(wanted)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return date.fromisoformat(wanted) if isinstance(value, date) else wanted


def in_order(rows: list[Row], name: str, *, falls: bool) -> list[Row]:
    """Rows by a column, those without a value last, equal ones by image_id."""
    known = [row for row in rows if is_value(row[name])]
    # Python's sort leaves equal ones as they are, be it reversed or not.
    return sorted(known, key=lambda row: row[name], reverse=falls) + [row for row in rows if not is_value(row[name])]


def counted(rows: list[Row], name: str) -> list[tuple[Any, int]]:
    """How many rows have each value, most frequent first, then by value."""
    counts = Counter(one for row in rows for one in values_of(row[name]))
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))
