"""Prefix templates: filled in by the column as Python fills them in one by one."""

from __future__ import annotations

import datetime as dt
import hashlib

import pyarrow as pa
import pytest

from fpve import prefixes
from fpve.errors import PrefixError
from fpve.prefixes import Template, prefix_id, prefix_ids, prefix_rows

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
    monkeypatch.setattr(prefixes, "_AT_ONCE", at_once)
    template = Template.parse(text)
    expected = []
    for row in zip(*COLUMNS.values(), strict=True):
        values = dict(zip(COLUMNS, row, strict=True))
        filled = text.format(**values) if None not in [values[name] for name in template.fields] else ""
        expected.append(filled.strip() or None)
    assert template.render(pa.table(COLUMNS)).to_pylist() == expected


def test_a_value_that_takes_no_format_is_named() -> None:
    """The error has the template and the value."""
    with pytest.raises(PrefixError, match=r"prefix '\{text:\.2f\}': can't be filled in with 'a': "):
        Template.parse("{text:.2f}").render(pa.table({"text": ["a"]}))


def test_ids_are_digests_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text has the same id everywhere, and null has none."""
    monkeypatch.setattr(prefixes, "_AT_ONCE", 1)
    texts = ["a", None, "\u00fc", "a"]
    expected = [None if text is None else hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    assert prefix_ids(pa.array(texts)).to_pylist() == expected


def test_rows_of_prefixes_say_where_they_came_from() -> None:
    """A template without a field is the text itself, and literal; another has been filled in."""
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    first, second = prefix_rows(["a cat", "a dog"], "a cat", at)
    assert first == {
        "prefix_id": prefix_id("a cat"),
        "text": "a cat",
        "origin": "literal",
        "template": "a cat",
        "created_at": at,
    }
    assert (second["origin"], second["template"]) == ("template", "a cat")
    assert prefix_rows(["a cat"], None, at)[0]["origin"] == "template"
