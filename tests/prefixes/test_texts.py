"""What becomes of texts: trimmed, cut at words, named by their content, and none if nothing of them can be seen."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from fpve.prefixes import keep_chars, prefix_id, prefix_ids, texts, without_blanks


def test_ids_are_digests_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text has the same id everywhere, and null has none."""
    monkeypatch.setattr(texts, "_AT_ONCE", 1)
    given = ["a", None, "\u00fc", "a"]
    expected = [None if text is None else hashlib.sha256(text.encode()).hexdigest()[:32] for text in given]
    assert prefix_ids(pa.array(given)).to_pylist() == expected
    assert prefix_id("a") == expected[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a cat\n", "a cat"),
        ("\u5c0f\u732b", "\u5c0f\u732b"),
        ("\u0642\u0637\u0629", "\u0642\u0637\u0629"),
        # A mark of direction is part of a text that has letters, and no text by itself.
        ("\u200f\u05d7\u05ea\u05d5\u05dc", "\u200f\u05d7\u05ea\u05d5\u05dc"),
        ("a\x00b", "a\x00b"),
        *((blank, None) for blank in ("", "  ", "\x00\x1f", "\u200b\u200f", "\u3000", "\ufeff", "\x7f")),
    ],
)
def test_a_text_of_which_nothing_can_be_seen_is_none(text: str, expected: str | None) -> None:
    """White space, controls and marks of direction alone are no prefix; beside letters they stay as written."""
    assert without_blanks(pa.array([text, None])).to_pylist() == [expected, None]


@pytest.mark.parametrize(
    ("text", "count", "kept"),
    [
        ("a small black cat", 100, "a small black cat"),
        ("a small black cat", 17, "a small black cat"),
        ("a small black cat", 16, "a small black"),
        ("a small black cat", 13, "a small black"),
        ("a small black cat", 12, "a small"),
        ("a small black cat", 1, "a"),
        ("cathedral", 3, "cat"),
        ("\u5c0f\u732b\u5728\u7761\u89c9", 2, "\u5c0f\u732b"),
        ("  a   small cat  ", 7, "a"),
        ("one\ntwo three", 5, "one"),
    ],
)
def test_a_text_is_cut_at_the_end_of_a_word(text: str, count: int, kept: str) -> None:
    """So many characters at most, no half word where a whole one is before it, and no white space at the end."""
    assert keep_chars(text, count) == kept
    assert len(keep_chars(text, count)) <= count
