"""Templates: texts with `{column}` fields, filled in from metadata."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import PrefixError, nearest
from fpve.prefixes.texts import without_blanks

# So many values are Python objects at once, that memory does not grow with the number of images.
_AT_ONCE = 65_536
# What every image has, besides its metadata.
BUILT_IN_FIELDS = ("collection", "path", "folder", "stem")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{column}` fields, such as `a photo of a {species}, {place}`; `{{` is a brace, `{price:.2f}` formats.

    Attributes:
        text: as the job has it.
        parts: of which it consists: a literal text, and the column that follows it, if one does, with its format.
    """

    text: str
    parts: tuple[tuple[str, str | None, str], ...]

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
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            # Attributes and indexes would reach into Python objects, not columns.
            if not name or any(one in name for one in ".[]!") or conversion or "{" in (spec or ""):
                raise PrefixError(f"prefix {text!r}: expected a column name between braces, found {{{name}}}")
        return cls(text, tuple((literal, name, spec or "") for literal, name, spec, _ in parts))

    @classmethod
    def of_column(cls, name: str) -> Template:
        """The template that is one column, whatever its name has in it."""
        return cls(f"{{{name}}}", (("", name, ""),))

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that it names, in order, each once."""
        return tuple(dict.fromkeys(name for _, name, _ in self.parts if name is not None))

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
        return tuple(name for _, name, spec in self.parts if name is not None and spec)

    def render(self, columns: pa.Table, defaults: Mapping[str, str] | None = None) -> pa.Array:
        """Fill in the template for each of n rows; (n,) string, null where a field is null or the text is blank.

        Args:
            columns: (n rows) those that it names.
            defaults: texts that stand for null, by the names of fields.

        Raises:
            PrefixError: a value doesn't take its format.
        """
        parts: list[pa.Array | str] = []
        for literal, name, spec in self.parts:
            parts.append(literal)
            if name is not None:
                texts = self._texts(columns[name], spec)
                default = (defaults or {}).get(name)
                parts.append(texts if default is None else pc.fill_null(texts, default))
        if not any(isinstance(part, pa.Array) for part in parts):
            # A scalar with nothing to repeat it for.
            parts.append(pa.repeat("", len(columns)))
        return without_blanks(pc.binary_join_element_wise(*parts, ""))

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
