"""A store looked through: pages, orders, conditions beside filters, and facets."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fpve
from fpve.browsing import Bin, RangeFacet, ValuesFacet
from fpve.browsing.bins import bins_of
from fpve.browsing.coded import coded
from fpve.browsing.facets import facet_of
from fpve.config import Job
from fpve.errors import ImageNotFound, QueryError


@pytest.fixture
def store(job: Job) -> fpve.Store:
    """12 pictures: number n is a cat, a dog or a bird in turn, its price is n.5, and every other has a caption."""
    fpve.run(job)
    return fpve.open(job.store)


def _numbers(found: fpve.Store, **options: Any) -> list[int]:
    return [int(row.image_id[-6:-4]) for row in found.browse(**options)]


def test_images_are_in_the_order_of_their_names(store: fpve.Store) -> None:
    """Without options the first hundred images come, with all that `images` knows of them."""
    page = store.browse()

    assert page.to_arrow().equals(store.images)
    assert (page.total, page.condition) == (12, None)
    assert page[0].image_id == "pets/bird/02.png"
    assert page[2:4].total == 12


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"sort": "-price", "limit": 3}, [11, 10, 9]),
        ({"sort": "price", "offset": 10}, [10, 11]),
        ({"sort": "kind", "limit": 5}, [2, 5, 8, 11, 0]),
        ({"sort": "-kind", "limit": 5}, [1, 4, 7, 10, 0]),
        ({"sort": "-caption", "limit": 7}, [4, 10, 6, 0, 8, 2, 5]),
        ({"sort": "-image_id", "limit": 2}, [10, 7]),
        ({"where": "price > 9", "sort": "price"}, [9, 10, 11]),
        ({"filters": {"kind": ["cat"], "price": {"max": 3.5}}}, [0, 3]),
        ({"filters": {"caption": [None], "kind": ["dog"]}, "where": "price > 2 -- and so on"}, [7]),
        ({"offset": 12}, []),
        ({"limit": 0}, []),
    ],
)
def test_pages(store: fpve.Store, options: dict[str, Any], numbers: list[int]) -> None:
    """Images are sorted by a column, those without a value last and equal ones by name, and cut into pages."""
    assert _numbers(store, **options) == numbers


def test_chosen_columns_only(store: fpve.Store) -> None:
    """Names alone are read without the rest."""
    page = store.browse(columns=["image_id"], limit=None)

    assert page.to_arrow().column_names == ["image_id"]
    assert len(page) == 12


@pytest.mark.parametrize(
    "where", ["true) OR (true", "true)) OR ((true", "true -- )\n) OR (true", "true; SELECT 1", "1 /*"]
)
def test_a_condition_gets_out_of_no_brackets(store: fpve.Store, where: str) -> None:
    """What is no condition by itself is refused, though it would be one in brackets."""
    with pytest.raises(QueryError, match=r"^where: "):
        store.browse(where=where, filters={"kind": ["cat"]})
    with pytest.raises(QueryError, match=r"^where: "):
        store.facets(where=where, filters={"kind": ["cat"]})


@pytest.mark.parametrize(
    "where", ["kind = 'cat' OR true", "true -- all", "kind <> ')' -- '", "kind NOT IN (')', '(')", "true /* ) */"]
)
def test_the_condition_is_that_of_both(store: fpve.Store, where: str) -> None:
    """The condition that is told finds the same images, and a search takes it."""
    page = store.browse(where=where, filters={"kind": ["cat"]})

    assert page.condition is not None
    assert page.total == 4
    assert [row.image_id for row in store.browse(where=page.condition)] == [row.image_id for row in page]
    assert {hit.kind for hit in store.search(id="pets/dog/01.png", k=12, where=page.condition)} == {"cat"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"sort": "prise"}, "sort: no column 'prise'; did you mean 'price'?; there is image_id, "),
        ({"sort": ""}, "sort: no column ''"),
        ({"offset": -1}, "offset: expected at least 0, found -1"),
        ({"limit": -1}, "limit: expected at least 0, found -1"),
        ({"filters": {"kid": ["x"]}}, "filters: no column 'kid'; did you mean 'kind'?"),
        ({"where": "prise > 1"}, "where: Binder Error"),
        ({"where": " "}, "where: expected an SQL condition, found an empty text"),
    ],
)
def test_wrong_options_are_named(store: fpve.Store, options: dict[str, Any], error: str) -> None:
    """An option that is wrong is refused in a line that says which."""
    with pytest.raises(QueryError) as refused:
        store.browse(**options)

    assert str(refused.value).startswith(error)


def test_lists_have_no_order(rich: fpve.Store) -> None:
    """Of several values an image there is no first."""
    with pytest.raises(QueryError, match="sort: column 'tags' holds lists; expected one value an image"):
        rich.browse(sort="tags")


def test_facets_leave_out_what_tells_images_apart(store: fpve.Store, rich: fpve.Store) -> None:
    """Captions and numbers that no two images share are no facets, unless they are asked for, or chosen of."""
    assert [one.column for one in rich.facets().facets] == [one.name for one in rich.columns if one.name != "caption"]
    assert "caption" in [one.column for one in rich.facets(filters={"caption": ["picture 1"]}).facets]
    assert [one.column for one in store.facets(columns=["caption", "collection"]).facets] == ["caption", "collection"]


def test_a_facet_of_values(store: fpve.Store) -> None:
    """Values are counted under the filters of other columns; those that are chosen are told of, be there none."""
    found = store.facets(filters={"kind": ["dog", "horse", None], "price": {"max": 4}}, columns=["kind"])

    assert found.total == 1
    assert found.facets == (
        ValuesFacet("kind", "string", (("cat", 2), ("bird", 1), ("dog", 1), ("horse", 0)), distinct=3, missing=0),
    )
    assert found.facets == store.facets(where="price <= 4", filters={"kind": ["horse"]}, columns=["kind"]).facets


def test_a_facet_of_numbers(store: fpve.Store) -> None:
    """Numbers are counted in round intervals of all that the store has, whichever images are counted."""
    found = store.facets(filters={"kind": ["cat"]}, columns=["price"]).facets[0]

    assert isinstance(found, RangeFacet)
    assert (found.low, found.high, found.missing) == (0.5, 11.5, 0)
    assert found.bins == tuple(Bin(float(low), float(low + 1), int(low % 3 == 0)) for low in range(12))


def test_the_most_frequent_values() -> None:
    """Fifty values are told of, the most frequent, and of equals the first; those that are chosen come with them."""
    values = [f"{number:03d}" for number in range(100) for _ in range(1 + (number == 70))]

    found = facet_of("kind", coded(pa.chunked_array([values])), None, ("099", None, "100"))

    assert isinstance(found, ValuesFacet)
    assert found.values[:3] == (("070", 2), ("000", 1), ("001", 1))
    assert found.values[49:] == (("048", 1), ("099", 1), ("100", 0))
    assert (found.distinct, found.missing) == (100, 0)


def _edges(values: list[Any], kind: pa.DataType, name: str) -> tuple[tuple[Any, ...], Any]:
    bins, codes = bins_of(pa.chunked_array([pa.array(values, kind)]), name)
    assert codes.min() >= 0
    assert codes.max() < len(bins.starts) <= 20
    return bins.starts, bins.ends[-1]


@pytest.mark.parametrize(
    ("values", "starts", "end"),
    [
        ([0, 1, 19], tuple(range(20)), 19),
        ([0, 100], tuple(range(0, 101, 10)), 109),
        ([-7, 1_234_567], tuple(range(-100_000, 1_234_567, 100_000)), 1_299_999),
        ([5], (5,), 5),
        ([-(2**63), 2**63 - 1], (-(2**63), *(one * 10**18 for one in range(-9, 10))), 2**63 - 1),
    ],
)
def test_intervals_of_integers_are_round(values: list[int], starts: tuple[int, ...], end: int) -> None:
    """Steps are 1, 2 or 5 times a power of ten, and an interval ends with its largest integer."""
    assert _edges(values, pa.int64(), "int64") == (starts, end)


@pytest.mark.parametrize(
    ("values", "starts", "end"),
    [
        ([0.0, 0.99], tuple(one / 20 for one in range(20)), 1.0),
        ([0.1, 0.7], tuple(round(0.1 + one * 0.05, 2) for one in range(13)), 0.75),
        ([-1e308, 1e308], tuple(one * 1e307 * 2 for one in range(-5, 6)), None),
        ([5e-324, 1e-323], (5e-324,), 1.5e-323),
        ([1e16, 1e16 + 2], (1e16,), float(np.nextafter(1e16 + 2, np.inf))),
        ([3.5], (3.5,), float(np.nextafter(3.5, 4))),
    ],
)
def test_intervals_of_numbers_are_round(values: list[float], starts: tuple[float, ...], end: float | None) -> None:
    """Edges have no digits that rounding left, and numbers at the ends of what there is have an interval."""
    found, last = _edges(values, pa.float64(), "float64")

    assert found == starts
    assert end is None or last == end


@pytest.mark.parametrize(
    ("span", "starts", "end"),
    [
        (timedelta(0), ["2024-02-28T13:45:10.500000Z"], "2024-02-28T13:45:10.500001Z"),
        (timedelta(seconds=9), [f"2024-02-28T13:45:{one}Z" for one in range(10, 20)], "2024-02-28T13:45:20Z"),
        (
            timedelta(hours=7),
            [f"2024-02-28T{one // 2}:{one % 2 * 3}0:00Z" for one in range(27, 42)],
            "2024-02-28T21:00:00Z",
        ),
        (timedelta(days=3), None, "2024-03-02T18:00:00Z"),
        (timedelta(days=366), None, "2025-03-01T00:00:00Z"),
        (timedelta(days=36_600), [f"{one}-01-01T00:00:00Z" for one in range(2020, 2130, 10)], "2130-01-01T00:00:00Z"),
    ],
)
def test_intervals_of_times_are_round(span: timedelta, starts: list[str] | None, end: str) -> None:
    """Times are cut at whole seconds, hours, days, months or years."""
    begin = datetime(2024, 2, 28, 13, 45, 10, 500_000, tzinfo=UTC)
    found, last = _edges([begin, begin + span], pa.timestamp("us", tz="UTC"), "timestamp")

    assert starts is None or list(found) == starts
    assert last == end


def test_intervals_of_days_end_with_a_day() -> None:
    """An interval of days is chosen by its first and its last."""
    found = _edges([date(2024, 2, 27), date(2024, 12, 31)], pa.date32(), "date")

    assert found == (tuple(f"2024-{month:02d}-01" for month in range(2, 13)), "2024-12-31")


def test_columns_without_values() -> None:
    """A column in which nothing is has no interval, and no value."""
    nothing = facet_of("price", coded(pa.chunked_array([pa.nulls(3, pa.float64())])), None)
    nobody = facet_of("kind", coded(pa.chunked_array([], pa.string())), None)
    lists = facet_of("tags", coded(pa.chunked_array([[[], None, [None]]], pa.list_(pa.string()))), None)

    assert nothing == RangeFacet("price", "float64", None, None, (), missing=3)
    assert nobody == ValuesFacet("kind", "string", (), distinct=0, missing=0)
    assert lists == ValuesFacet("tags", "list<string>", (), distinct=0, missing=3)


def test_rows_by_name(store: fpve.Store) -> None:
    """Images are looked up by their names, in the order of these or sorted; one that is not there is named."""
    browser = store.opened.browser
    names = ["pets/dog/01.png", "pets/bird/02.png", "pets/dog/01.png"]

    assert browser.rows_of(names).tolist() == [8, 0]
    assert browser.rows_of(names, "price").tolist() == [8, 0]
    assert browser.rows_of(names, "-price").tolist() == [0, 8]
    with pytest.raises(ImageNotFound, match=r"no image 'pets/dog/1\.png' in "):
        browser.rows_of(["pets/dog/1.png"])


def test_many_rows_by_name(store: fpve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many names are looked up in a table, to the same end."""
    monkeypatch.setattr("fpve.browsing.browser._FEW", 1)
    browser = store.opened.browser

    assert browser.rows_of(["pets/dog/01.png", "pets/bird/02.png"]).tolist() == [8, 0]
    with pytest.raises(ImageNotFound, match="no image 'nothing'"):
        browser.rows_of(["pets/dog/01.png", "nothing", "pets/bird/02.png"])
