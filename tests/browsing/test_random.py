"""Filters, orders and facets are what a plain loop over all rows gives, whatever is chosen."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from browsing.hard_values import BEGINNING, FLOATS, INTEGERS, ODD, TEXTS
from browsing.naive import Row, counted, has_none, in_order, meets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fpve
from fpve.browsing import RangeFacet, ValuesFacet

_NUMBERS = [one for one in FLOATS if one is not None and abs(one) < float("inf")]
_WHOLE = [one for one in INTEGERS if one is not None]
_MOMENTS = st.integers(0, 9_000).map(lambda hours: (BEGINNING + timedelta(hours=hours)).isoformat())
_DAYS = st.integers(0, 400).map(lambda days: (BEGINNING + timedelta(days=days)).date().isoformat())
_LATE_DAYS = st.integers(0, 40).map(lambda days: f"2024-{2 + days // 28:02d}-{1 + days % 28:02d}")


def _some(values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(st.none(), values), max_size=4, unique_by=str)


def _between(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={"min": values, "max": values})


_CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "kind": _some(st.one_of(st.sampled_from([one for one in TEXTS if one]), st.text(max_size=4))),
    "price": st.one_of(
        _some(st.sampled_from(_NUMBERS)), _between(st.one_of(st.sampled_from(_NUMBERS), st.floats(-6, 6)))
    ),
    "number": st.one_of(
        _some(st.sampled_from(_WHOLE)), _between(st.one_of(st.sampled_from(_WHOLE), st.floats(-30, 30)))
    ),
    "rating": _some(st.integers(0, 4)),
    "ok": _some(st.booleans()),
    "taken": _between(st.one_of(_MOMENTS, _DAYS)),
    "day": st.one_of(_some(_LATE_DAYS), _between(_LATE_DAYS)),
    "tags": _some(st.sampled_from(["a", "b", "O'x", "none"])),
    "sizes": _some(st.sampled_from([1, 2, 2**60, 3])),
    "weights": _some(st.sampled_from([0.5, 1.5, 2.5])),
    ODD: _some(st.sampled_from(["x", "y", "z"])),
}
_FILTERS = st.fixed_dictionaries({}, optional=_CHOICES)
_COLUMNS = [*_CHOICES, "image_id", "caption", "bytes"]
# A store of 60 images is asked in 20 ms, SQL in each.
_EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _rows(store: fpve.Store) -> list[Row]:
    return store.images.to_pylist()


@given(filters=_FILTERS)
@_EXAMPLES
def test_images_meet_filters_as_a_loop_says(rich: fpve.Store, filters: dict[str, Any]) -> None:
    """Images that meet filters are those of the loop; so are those by JSON, and by the condition that is told."""
    expected = [row["image_id"] for row in _rows(rich) if meets(row, filters)]

    page = rich.browse(filters=filters, limit=None)

    assert [row.image_id for row in page] == expected
    assert page.total == len(expected)
    assert rich.browse(filters=rich.filters(json.dumps(filters)), limit=None).condition == page.condition
    if page.condition is not None:
        assert [row.image_id for row in rich.browse(where=page.condition, limit=None)] == expected


@given(filters=_FILTERS, column=st.sampled_from(_COLUMNS), falls=st.booleans(), offset=st.integers(0, 30))
@_EXAMPLES
def test_pages_are_those_of_a_sorted_loop(
    rich: fpve.Store, filters: dict[str, Any], column: str, *, falls: bool, offset: int
) -> None:
    """A page of a sorted list is that part of what the loop sorts."""
    if column in ("tags", "sizes", "weights"):
        return
    expected = in_order([row for row in _rows(rich) if meets(row, filters)], column, falls=falls)

    page = rich.browse(filters=filters, sort=f"-{column}" if falls else column, offset=offset, limit=7)

    assert [row.image_id for row in page] == [row["image_id"] for row in expected[offset : offset + 7]]
    assert page.total == len(expected)


@given(filters=_FILTERS)
@_EXAMPLES
def test_facets_count_as_a_loop_does(rich: fpve.Store, filters: dict[str, Any]) -> None:
    """Each facet counts the images that meet the filters of all other columns."""
    rows = _rows(rich)

    found = rich.facets(filters=filters, columns=list(_CHOICES))

    assert found.total == sum(meets(row, filters) for row in rows)
    for facet in found.facets:
        others = {name: wanted for name, wanted in filters.items() if name != facet.column}
        mine = [row for row in rows if meets(row, others)]
        assert facet.missing == sum(has_none(row[facet.column]) for row in mine)
        if isinstance(facet, ValuesFacet):
            expected = counted(mine, facet.column)
            assert facet.distinct == len(expected)
            assert [one for one in facet.values if one[1]] == expected
            chosen = filters.get(facet.column, [])
            if isinstance(chosen, list):
                assert {one for one in chosen if one is not None} <= {value for value, _ in facet.values}
        else:
            _check_bins(facet, mine)


def _check_bins(facet: RangeFacet, rows: list[Row]) -> None:
    """Each interval has as many rows as its filter finds, but for those at an end where the next one begins."""
    counted_rows = [row for row in rows if not has_none(row[facet.column])]
    assert sum(one.count for one in facet.bins) == len(counted_rows)
    for one in facet.bins:
        inside = [row for row in counted_rows if meets(row, {facet.column: {"min": one.low, "max": one.high}})]
        if facet.type in ("float64", "timestamp"):
            inside = [row for row in inside if not meets(row, {facet.column: {"min": one.high}})]
        assert one.count == len(inside)
