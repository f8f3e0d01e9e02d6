"""Lists on pages that can be put into another order, and cut down to what somebody looks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple


class Order(NamedTuple):
    """An order that a list can be put into.

    Attributes:
        key: of the values that are compared: letters, digits and hyphens, an item's attribute `data-KEY`.
        name: what is chosen.
        is_text: whether values are compared as texts, as a person would, not as numbers.
        falls: whether the largest comes first, until somebody turns the order round.
    """

    key: str
    name: str
    is_text: bool = False
    falls: bool = True


Keys = Mapping[str, str | float]


def keys(**values: Any) -> Keys:
    """The values of an item that orders compare, by key; what it has not is left out, and comes last in any order."""
    return {name: _comparable(value) for name, value in values.items() if value is not None}


def _comparable(value: Any) -> str | float:
    if isinstance(value, bool | int | float | Decimal):
        return float(value)
    # As texts times are in the order that they passed in.
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
