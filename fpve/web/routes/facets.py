"""How the values of columns spread over the images that meet a condition."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from fpve.api import Store
from fpve.browsing import Facet, ValuesFacet
from fpve.web.filters import ChosenImages
from fpve.web.routing import StoreRouter
from fpve.web.served import PinnedStore

router = StoreRouter(tags=["images"])


class ValueCount(BaseModel):
    """A value, and how many images have it."""

    value: str | int | float | bool
    count: int


class Values(BaseModel):
    """A column by its values."""

    column: str
    type: str
    kind: Literal["values"] = "values"
    values: list[ValueCount] = Field(description="Most frequent first, 50 at most; those that are chosen always.")
    distinct: int = Field(description="How many values there are.")
    missing: int = Field(description="How many images have none.")


class Interval(BaseModel):
    """An interval, and how many images lie in it. `{"min": from, "max": to}` chooses it."""

    start: Any = Field(serialization_alias="from", description="Where it begins.")
    end: Any = Field(
        serialization_alias="to",
        description="Of integers and days its largest; of other numbers and times where the next one begins.",
    )
    count: int


class Spread(BaseModel):
    """A column of numbers or times by intervals."""

    column: str
    type: str
    kind: Literal["range"] = "range"
    min: Any = Field(description="The smallest value of all images of the store.")
    max: Any = Field(description="The largest.")
    bins: list[Interval] = Field(description="20 at most, side by side; the same whatever is chosen.")
    missing: int = Field(description="How many images have no value.")


class FacetList(BaseModel):
    """Facets; each is of the images that meet the condition and the filters of all other columns."""

    snapshot: int
    total: int = Field(description="How many images meet the condition and all filters.")
    condition: str | None = Field(description="The SQL condition that `where` and `filters` come to.")
    facets: list[Values | Spread]


@router.get("/api/facets", summary="How the values of columns spread")
def facets(
    store: PinnedStore,
    chosen: ChosenImages,
    columns: Annotated[
        list[str] | None,
        Query(description="Which columns; by default those that group images. Several, or one with commas."),
    ] = None,
) -> FacetList:
    """Count the images that have each value of a column, or lie in each interval of it.

    What a facet counts is what a person would find who chose another value of it.
    """
    found = store.facets(where=chosen.where, filters=chosen.filters, columns=_named(store, columns))
    return FacetList(
        snapshot=store.snapshot,
        total=found.total,
        condition=found.condition,
        facets=[_told(one) for one in found.facets],
    )


def _named(store: Store, columns: list[str] | None) -> list[str] | None:
    """The columns that are asked for: a name may have commas itself."""
    if not columns:
        return None
    known = store.opened.searcher.snapshot.rows.schema.names
    parts = ([one] if one in known else one.split(",") for one in columns)
    return list(dict.fromkeys(name for part in parts for name in part if name))


def _told(facet: Facet) -> Values | Spread:
    if isinstance(facet, ValuesFacet):
        return Values(
            column=facet.column,
            type=facet.type,
            values=[ValueCount(value=value, count=count) for value, count in facet.values],
            distinct=facet.distinct,
            missing=facet.missing,
        )
    return Spread(
        column=facet.column,
        type=facet.type,
        min=facet.low,
        max=facet.high,
        bins=[Interval(start=one.low, end=one.high, count=one.count) for one in facet.bins],
        missing=facet.missing,
    )
