"""Texts as prefixes hold them: trimmed, never blank, cut to what is kept of them, and named by their content."""

from __future__ import annotations

import hashlib
import re

import pyarrow as pa
import pyarrow.compute as pc

# 128 bits of SHA-256: no two texts that people write will share one.
_ID_DIGITS = 32
# So many values are Python objects at once, that memory does not grow with the number of images.
_AT_ONCE = 65_536
# What can be seen: neither white space nor controls, marks of direction and the like.
_VISIBLE = r"[^\pC\pZ\s]"
# A word's last part, which may be one of several letters, and the white space before it.
_LAST_WORD = re.compile(r"\s+\S*\Z")


def without_blanks(texts: pa.Array) -> pa.Array:
    """Texts (n,) without white space around them; null where nothing of one can be seen."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.match_substring_regex(trimmed, _VISIBLE), trimmed, pa.scalar(None, pa.string()))


def keep_chars(text: str, count: int) -> str:
    """At most `count` characters from a text's beginning, up to the end of a word where one ends among them."""
    text = text.strip()
    if len(text) <= count:
        return text
    kept = text[:count]
    if not text[count].isspace():
        # Chinese, or one long word: there is no end of a word to go back to.
        kept = _LAST_WORD.sub("", kept) or kept
    return kept.rstrip()


def prefix_id(text: str) -> str:
    """The id of a prefix: hex digits of its text's SHA-256, so that the same text is the same prefix everywhere."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]


def prefix_ids(texts: pa.Array) -> pa.Array:
    """The ids (n,) of texts (n,); null stays null. Each distinct text is hashed once."""
    encoded = pc.dictionary_encode(texts)
    distinct = encoded.dictionary
    parts = [distinct.slice(start, _AT_ONCE).to_pylist() for start in range(0, len(distinct), _AT_ONCE)]
    ids = [pa.array([prefix_id(text) for text in part], pa.string()) for part in parts]
    return pa.concat_arrays([pa.array([], pa.string()), *ids]).take(encoded.indices)
