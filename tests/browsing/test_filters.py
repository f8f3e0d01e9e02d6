"""Filters: what is chosen of columns, as SQL."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from fpve.analytics import rows_where
from fpve.browsing import Filters
from fpve.errors import QueryError

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ('odd "name"', pa.string()),
        ("price", pa.float64()),
        ("width", pa.int32()),
        ("ok", pa.bool_()),
        ("taken", pa.timestamp("us", tz="UTC")),
        ("day", pa.date32()),
        ("tags", pa.list_(pa.string())),
    ]
)


@pytest.mark.parametrize(
    ("column", "wanted", "condition"),
    [
        ("kind", ["cat"], "\"kind\" = 'cat'"),
        ("kind", ["cat", "O'Brien", "cat"], "\"kind\" IN ('cat', 'O''Brien')"),
        ("kind", [None], '"kind" IS NULL'),
        ("kind", [None, "cat"], '"kind" = \'cat\' OR "kind" IS NULL'),
        ("kind", ["a\0b"], "\"kind\" = concat('a', chr(0), 'b')"),
        ('odd "name"', ["x"], '"odd ""name""" = \'x\''),
        ("price", [0.5, 2], '"price" IN (0.5, 2.0)'),
        ("price", [None], '"price" IS NULL OR NOT isfinite("price")'),
        ("price", {"min": 1, "max": 2.5}, '"price" >= 1.0 AND "price" <= 2.5 AND isfinite("price")'),
        ("price", {"max": 0.30000000000000004}, '"price" <= 0.30000000000000004e0 AND isfinite("price")'),
        ("width", [3, 4.0], '"width" IN (3, 4)'),
        ("width", {"min": 1.2, "max": 5.7}, '"width" >= 2 AND "width" <= 5'),
        ("width", {"min": 1, "max": None}, '"width" >= 1'),
        ("ok", [True, None], '"ok" = true OR "ok" IS NULL'),
        ("taken", {"min": "2024-01-31"}, "\"taken\" >= TIMESTAMPTZ '2024-01-31 00:00:00+00:00'"),
        ("taken", {"max": "2024-01-31"}, "\"taken\" < TIMESTAMPTZ '2024-02-01 00:00:00+00:00'"),
        ("taken", {"max": "2024-01-31T10:00:00+02:00"}, "\"taken\" <= TIMESTAMPTZ '2024-01-31 08:00:00+00:00'"),
        ("day", {"min": "2024-01-31T00:00:00Z"}, "\"day\" >= DATE '2024-01-31'"),
        ("day", ["2024-01-31"], "\"day\" = DATE '2024-01-31'"),
        ("tags", ["a", "b"], "list_has_any(\"tags\", ['a', 'b'])"),
        ("tags", [None], 'coalesce(list_count("tags"), 0) = 0'),
    ],
)
def test_a_filter_is_a_condition(column: str, wanted: Any, condition: str) -> None:
    """What is chosen of a column is SQL that a person can read, and that DuckDB takes."""
    filters = Filters.of({column: wanted}, SCHEMA)

    assert filters.conditions == (condition,)
    assert rows_where(SCHEMA.empty_table(), condition).tolist() == []


@pytest.mark.parametrize("wanted", [[], {}, {"min": None}])
def test_what_is_empty_chooses_nothing(wanted: Any) -> None:
    """No value, and no bound, leaves all images."""
    assert Filters.of({"price": wanted}, SCHEMA) == Filters()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[", 'filters: expected JSON such as {"kind": ["cat"]}: Expecting value: line 1 column 2 (char 1)'),
        ('{"price": [NaN]}', 'filters: expected JSON such as {"kind": ["cat"]}: there is no NaN in JSON'),
        ("[" * 100_000, 'filters: expected JSON such as {"kind": ["cat"]}: it is nested too deeply'),
        ("[1]", 'filters: expected an object such as {"kind": ["cat"]}, found [1]'),
        ('{"kin": []}', "filters: no column 'kin'; did you mean 'kind'?; there is "),
        ('{"kind": "cat"}', "filters: column 'kind': expected a list of values or bounds of a range, found 'cat'"),
        ('{"kind": [1]}', "filters: column 'kind': expected a text, found 1"),
        ('{"kind": [["cat"]]}', "filters: column 'kind': expected a text, found ['cat']"),
        ('{"kind": ["\\ud800"]}', "filters: column 'kind': expected a text of whole characters, found '\\ud800'"),
        ('{"kind": {"min": 1}}', "filters: column 'kind' is string, of which there are no ranges; expected a list"),
        ('{"tags": {"min": 1}}', "filters: column 'tags' is list<string>, of which there are no ranges"),
        ('{"price": {"least": 1}}', "filters: column 'price': expected min and max, found 'least'"),
        ('{"price": ["1"]}', "filters: column 'price': expected a number, found '1'"),
        ('{"price": [true]}', "filters: column 'price': expected a number, found True"),
        ('{"price": {"min": 1e999}}', "filters: column 'price': expected a number, found inf"),
        ('{"width": [1.5]}', "filters: column 'width': expected an integer, found 1.5"),
        ('{"width": [9223372036854775808]}', "filters: column 'width': expected an integer of 64 bits, found 922"),
        ('{"width": {"max": "x"}}', "filters: column 'width': expected a number, found 'x'"),
        ('{"ok": [1]}', "filters: column 'ok': expected true or false, found 1"),
        ('{"taken": {"min": "soon"}}', "filters: column 'taken': expected a time such as 2024-01-31T12:00:00Z, found"),
        ('{"taken": {"max": "9999-12-31"}}', "filters: column 'taken': expected a day before 9999-12-31"),
        ('{"taken": ["0001-01-01T00:00:00+10:00"]}', "filters: column 'taken': expected a time such as"),
        ('{"day": [20240131.5]}', "filters: column 'day': expected a day such as 2024-01-31, found 20240131.5"),
    ],
)
def test_what_is_no_filter_is_refused_in_one_line(text: str, error: str) -> None:
    """The line names the column, what was expected, and what was found."""
    with pytest.raises(QueryError) as refused:
        Filters.from_json(text, SCHEMA)

    assert str(refused.value).startswith(error)
    assert "\n" not in str(refused.value)


def test_a_value_that_ends_texts_is_found() -> None:
    """SQL ends at a NUL, a value with one does not."""
    images = pa.table({"kind": ["a\0b", "a", None, "a'); DROP"]})

    conditions = [Filters.of({"kind": [one]}, images.schema).conditions[0] for one in ("a\0b", "a", "a'); DROP")]

    assert [rows_where(images, one).tolist() for one in conditions] == [[0], [1], [3]]


def test_all_but_one_column() -> None:
    """A facet is counted under the filters of the other columns."""
    filters = Filters.of({"kind": ["cat"], "width": {"min": 5}}, SCHEMA)

    assert filters.but("kind").conditions == ('"width" >= 5',)
    assert filters.values_of("kind") == ("cat",)
    assert filters.values_of("width") == ()
