"""Frozen prefixes: templates, filled in from metadata, and the ids of their texts."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fpve.errors import PrefixError, nearest

# 128 bits of SHA-256: no two texts that people write will share one.
_ID_DIGITS = 32
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
        """Fill in the template for each of n rows; (n,) string, null where a field is null or the text is empty."""
        names = {name: f"f{number}" for number, name in enumerate(self.fields)}
        rows = columns.select(list(self.fields)).rename_columns(list(names.values()))
        template = self._renamed(names)
        if not names:
            return pa.array([_clean(template.format())] * len(columns), pa.string())
        texts = [
            None if any(value is None for value in values) else self._fill(template, names, values)
            for values in zip(*(column.to_pylist() for column in rows.columns), strict=True)
        ]
        return pa.array(texts, pa.string())

    def _fill(self, template: str, names: dict[str, str], values: tuple[object, ...]) -> str | None:
        try:
            return _clean(template.format(**dict(zip(names.values(), values, strict=True))))
        except (ValueError, TypeError) as error:
            raise PrefixError(f"prefix {self.text!r}: can't be filled in with {values!r}: {error}") from None

    def _renamed(self, names: dict[str, str]) -> str:
        """The template with fields that are Python names, as columns may be called anything."""
        out = []
        for literal, name, spec, _ in string.Formatter().parse(self.text):
            out.append(literal.replace("{", "{{").replace("}", "}}"))
            if name is not None:
                out.append(f"{{{names[name]}:{spec}}}" if spec else f"{{{names[name]}}}")
        return "".join(out)


def prefix_id(text: str) -> str:
    """The id of a prefix: hex digits of its text's SHA-256, so that the same text is the same prefix everywhere."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]


def prefix_ids(texts: pa.Array) -> pa.Array:
    """The ids (n,) of texts (n,); null stays null. Each distinct text is hashed once."""
    encoded = pc.dictionary_encode(texts)
    ids = pa.array([prefix_id(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return ids.take(encoded.indices)


def _clean(text: str) -> str | None:
    return text.strip() or None
