"""Templates: filled in by the column as Python fills them in one by one."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from fpve.errors import PrefixError
from fpve.prefixes import Template, template

COLUMNS = {
    "text": ["a", None, " b ", ""],
    "number": [1, 2, None, 1],
    "price": [1.5, 2.25, 1e20, 1.5],
    "yes": [True, False, None, True],
    "day": [dt.date(2025, 1, 2), None, dt.date(2025, 1, 2), dt.date(2024, 2, 29)],
    "list": [["x", "y"], None, [], ["z"]],
}


@pytest.mark.parametrize(
    "text",
    [
        *("{text}", "{number}", "{price}", "{yes}", "{day}", "{list}"),
        *("{price:.1f} for {text:>5}", "{{{number}}} {number:03d}", "{day:%d %B}", "fixed", "  ", "{text}{text}"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 3, 65_536])
def test_a_template_is_filled_in_as_python_does(monkeypatch: pytest.MonkeyPatch, text: str, at_once: int) -> None:
    """Each row's text is `str.format` of its values, trimmed; null where a value is null or the text is empty."""
    monkeypatch.setattr(template, "_AT_ONCE", at_once)
    parsed = Template.parse(text)
    expected = []
    for row in zip(*COLUMNS.values(), strict=True):
        values = dict(zip(COLUMNS, row, strict=True))
        filled = text.format(**values) if None not in [values[name] for name in parsed.fields] else ""
        expected.append(filled.strip() or None)
    assert parsed.render(pa.table(COLUMNS)).to_pylist() == expected


def test_a_value_that_takes_no_format_is_named() -> None:
    """The error has the template and the value."""
    with pytest.raises(PrefixError, match=r"prefix '\{text:\.2f\}': can't be filled in with 'a': "):
        Template.parse("{text:.2f}").render(pa.table({"text": ["a"]}))


def test_a_default_stands_for_an_empty_field() -> None:
    """A field with a default never leaves an image without its text; one without still does."""
    columns = pa.table({"a": ["x", None, None], "b": ["y", "y", None]})
    assert Template.parse("{a} and {b}").render(columns, {"a": "none"}).to_pylist() == ["x and y", "none and y", None]


def test_a_column_is_taken_whatever_its_name() -> None:
    """A rule that names a column needs no escapes: braces and dots are part of the name."""
    name = "odd {name}: 1.0"
    parsed = Template.of_column(name)
    assert (parsed.fields, parsed.formatted) == ((name,), ())
    assert parsed.render(pa.table({name: ["a", " ", None]})).to_pylist() == ["a", None, None]


@pytest.mark.parametrize("text", ["{", "}", "{a.b}", "{a[0]}", "{}", "{a!r}", "{a:{b}}"])
def test_what_is_no_column_between_braces_is_refused(text: str) -> None:
    """A template reaches no attributes, and braces match."""
    with pytest.raises(PrefixError, match=r"^prefix "):
        Template.parse(text)
