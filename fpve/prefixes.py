"""Frozen prefixes: templates, filled in from metadata, and the ids of their texts."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import PrefixError, nearest

# 128 bits of SHA-256: no two texts that people write will share one.
_ID_DIGITS = 32
# So many values are Python objects at once, that memory does not grow with the number of images.
_AT_ONCE = 65_536
# What every image has, besides its metadata.
BUILT_IN_FIELDS = ("collection", "path", "folder", "stem")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{column}` fields, such as `a photo of a {species}, {place}`; `{{` is a brace, `{price:.2f}` formats.

    Attributes:
        text: as the job has it.
        fields: the columns that it names, in order.
    """

    text: str
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Check a template's syntax.

        Raises:
            PrefixError: braces don't match, or a field is not a plain column name.
        """
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise PrefixError(f"prefix {text!r}: {error}; write {{{{ for a brace that is not a field") from None
        names = []
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            # Attributes and indexes would reach into Python objects, not columns.
            if not name or any(one in name for one in ".[]!") or conversion or "{" in (spec or ""):
                raise PrefixError(f"prefix {text!r}: expected a column name between braces, found {{{name}}}")
            names.append(name)
        return cls(text, tuple(dict.fromkeys(names)))

    def check(self, columns: list[str]) -> None:
        """Refuse a field that is neither a metadata column nor built in.

        Raises:
            PrefixError: naming the field and the nearest column.
        """
        known = [*columns, *BUILT_IN_FIELDS]
        for name in self.fields:
            if name not in known:
                raise PrefixError(
                    f"prefix {self.text!r}: no metadata column {name!r}{nearest(name, known)}; "
                    f"there is {', '.join(known)}"
                )

    @property
    def formatted(self) -> tuple[str, ...]:
        """The fields that have a format, such as `price` in `{price:.2f}`: they need numbers, not texts."""
        return tuple(name for _, name, spec, _ in string.Formatter().parse(self.text) if name and spec)

    def render(self, columns: pa.Table) -> pa.Array:
        """Fill in the template for each of n rows; (n,) string, null where a field is null or the text is empty.

        Raises:
            PrefixError: a value doesn't take its format.
        """
        parts: list[pa.Array | str] = []
        for literal, name, spec, _ in string.Formatter().parse(self.text):
            parts.append(literal)
            if name is not None:
                parts.append(self._texts(columns[name], spec or ""))
        if not any(isinstance(part, pa.Array) for part in parts):
            # A scalar with nothing to repeat it for.
            parts.append(pa.repeat("", len(columns)))
        texts = pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, ""))
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)

    def _texts(self, column: pa.ChunkedArray | pa.Array, spec: str) -> pa.Array:
        """A column as text, formatted; null stays null."""
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_string(column.type) and not spec:
            return column
        parts = [column.slice(start, _AT_ONCE) for start in range(0, len(column), _AT_ONCE)]
        return pa.concat_arrays([pa.array([], pa.string()), *(self._formatted(part, spec) for part in parts)])

    def _formatted(self, values: pa.Array, spec: str) -> pa.Array:
        if pa.types.is_nested(values.type):
            # Arrow has no dictionary of lists.
            return pa.array([self._format(value, spec) for value in values.to_pylist()], pa.string())
        encoded = values.dictionary_encode()
        texts = pa.array([self._format(value, spec) for value in encoded.dictionary.to_pylist()], pa.string())
        return texts.take(encoded.indices)

    def _format(self, value: object, spec: str) -> str | None:
        try:
            return None if value is None else format(value, spec)
        except (ValueError, TypeError) as error:
            raise PrefixError(f"prefix {self.text!r}: can't be filled in with {value!r}: {error}") from None


def prefix_rows(texts: Iterable[str], template: str | None, at: datetime) -> list[dict[str, object]]:
    """Rows of a store's table of prefixes, one for each text that a collection's template gave at that time."""
    return [
        {
            "prefix_id": prefix_id(text),
            "text": text,
            # A template without a field is the text of all its images.
            "origin": "literal" if text == template else "template",
            "template": template,
            "created_at": at,
        }
        for text in texts
    ]


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
