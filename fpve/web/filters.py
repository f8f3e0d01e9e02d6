"""What routes share that are about some of the images: the parameters `where` and `filters`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query

from fpve.api import Store
from fpve.browsing import Filters
from fpve.web.served import PinnedStore

WHERE = "An SQL condition over the columns of `images`."
FILTERS = (
    'What is chosen of columns, as JSON: `{"kind": ["cat", null], "price": {"min": 1, "max": 5}}`. A list of values, '
    "of which null is no value, or the bounds of a range, of which one can be missing. Times are ISO 8601; a `max` "
    "that is a day is the whole day. Images meet all of them, and `where`."
)
# Longer than anything that is chosen by hand: a thousand names have a place in it.
LONGEST = 100_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which images are meant.

    Attributes:
        where: an SQL condition; None where all are.
        filters: what is chosen of columns.
        condition: both as one SQL condition; None where all images meet it.
    """

    where: str | None
    filters: Filters
    condition: str | None


def chosen_of(store: Store, where: str | None, filters: str | Mapping[str, Any] | None) -> Chosen:
    """Which images a request means, by filters as JSON or what that says; what is empty chooses nothing.

    Raises:
        QueryError: `where` is not an SQL condition, or `filters` are none.
    """
    said = where if where and where.strip() else None
    is_blank = isinstance(filters, str) and not filters.strip()
    found = store.filters(None if is_blank else filters)
    return Chosen(said, found, store.opened.browser.condition(said, found))


def _chosen(
    store: PinnedStore,
    where: Annotated[str | None, Query(description=WHERE, max_length=LONGEST, examples=["width > 1000"])] = None,
    filters: Annotated[
        str | None, Query(description=FILTERS, max_length=LONGEST, examples=['{"collection": ["birds"]}'])
    ] = None,
) -> Chosen:
    return chosen_of(store, where, filters)


# A parameter of routes.
ChosenImages = Annotated[Chosen, Depends(_chosen)]
