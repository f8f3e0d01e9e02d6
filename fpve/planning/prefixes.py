"""What each file's prefix is: by the first of its collection's rules that gives it a text, or by a person."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fpve.buckets import Bucket
from fpve.config import OTHERWISE, CollectionConfig
from fpve.errors import PrefixError
from fpve.planning.fields import built_in
from fpve.planning.frozen import Frozen
from fpve.prefixes import ParsedRule, Template, keep_chars, prefix_id, without_blanks
from fpve.sources.inputs import read_file
from fpve.sources.names import raw_paths
from fpve.sources.objects import list_objects
from fpve.sources.scan import Scan
from fpve.urls import BucketPath

# A text about a picture; beyond that it is something else.
MAX_SIDECAR = 1 << 20
# In `Prefixes.rule`: no rule gives the file a text, or a person has.
NO_RULE, CORRECTED = -1, -2
_NONE = pa.scalar(None, pa.string())

Column = Callable[[str, bool], pa.ChunkedArray]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Prefixes in the order of n files.

    Attributes:
        text: (n,) string; null where a file has none, or waits for the answer of a language model.
        rule: (n,) number of the rule that gives it; NO_RULE, or CORRECTED.
        prompt: (n,) what a language model is to answer; null where none is asked.
        generation_id: (n,) which answer the text is, or begins with; null where it is none, or has yet to be asked for.
        waiting: (n,) bool, which have a prompt and no answer yet.
    """

    text: pa.Array
    rule: NDArray[np.int16]
    prompt: pa.Array
    generation_id: pa.Array
    waiting: pa.Array

    def check_any(self, collection: str, rules: Sequence[ParsedRule]) -> None:
        """Refuse rules of which none gives any file a text.

        Raises:
            PrefixError: naming them.
        """
        if rules and np.all(self.rule == NO_RULE):
            said = ", ".join(repr(str(one.rule)) for one in rules)
            raise PrefixError(f"collection {collection!r}: prefix {said} is empty for every image")

    @classmethod
    def none(cls, count: int) -> Prefixes:
        """Of a collection without a rule."""
        nothing = pa.nulls(count, pa.string())
        return cls(nothing, np.full(count, NO_RULE, np.int16), nothing, nothing, pa.repeat(False, count))

    def corrected(self, rows: NDArray[np.int64], texts: pa.Array) -> Prefixes:
        """With the texts (m,) that people gave to files (m,); no model is asked for these."""
        mask = np.zeros(len(self.text), bool)
        mask[rows] = True
        chosen = pa.array(mask)
        order = np.argsort(rows)
        return replace(
            self,
            text=pc.replace_with_mask(self.text, chosen, texts.take(pa.array(order))),
            rule=np.where(mask, np.int16(CORRECTED), self.rule),
            prompt=pc.if_else(chosen, _NONE, self.prompt),
            generation_id=pc.if_else(chosen, _NONE, self.generation_id),
            waiting=pc.and_not(self.waiting, chosen),
        )

    def resolved(self, rules: Sequence[ParsedRule], content_hash: pa.Array, frozen: Frozen) -> Prefixes:
        """With the answers that are frozen, given the content (n,) of each file; null where that is not known."""
        text, ids = self.text, self.generation_id
        for number, parsed in enumerate(rules):
            if parsed.rule.generate is None:
                continue
            mine = pc.and_(pa.array(self.rule == number), self.prompt.is_valid())
            if not pc.any(mine).as_py():
                continue
            content = content_hash.filter(mine) if parsed.rule.generate.with_image else None
            found, texts = frozen.find(parsed.rule, self.prompt.filter(mine), content)
            ids = pc.replace_with_mask(ids, mine, found)
            text = pc.replace_with_mask(text, mine, texts)
        waiting = pc.and_(self.prompt.is_valid(), text.is_null())
        return replace(self, text=text, generation_id=ids, waiting=waiting)


@dataclass(frozen=True, slots=True)
class Rendering:
    """What rules refer to.

    Attributes:
        config: the collection.
        scan: of its source.
        files: (n rows) in the order of their ids.
        columns: names of the metadata columns.
        column: gives one of them, (n,), by its name: typed, or as it is written.
    """

    config: CollectionConfig
    scan: Scan
    files: pa.Table
    columns: Sequence[str]
    column: Column
    _built_in: dict[str, pa.Array] = field(default_factory=dict)

    def prefixes(self, rules: Sequence[ParsedRule]) -> Prefixes:
        """Let the rules give each file a text or a prompt, the first one that can.

        Raises:
            PrefixError: a field is none, or empty where that is an error; or a sidecar can't be read.
        """
        count = len(self.files)
        if not rules:
            return Prefixes.none(count)
        for one in rules:
            one.check(list(self.columns))
        text, prompt = pa.nulls(count, pa.string()), pa.nulls(count, pa.string())
        rule = np.full(count, NO_RULE, np.int16)
        for number, parsed in enumerate(rules):
            open_rows = np.flatnonzero(rule == NO_RULE)
            if not len(open_rows):
                break
            found = self._texts(parsed, open_rows)
            if parsed.rule.generate is None and parsed.rule.keep_chars is not None:
                found = _kept(found, parsed.rule.keep_chars)
            if parsed.rule.missing == "error" and found.null_count:
                first = open_rows[np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0]]
                raise self._missing(parsed, int(first), found.null_count)
            given = found.is_valid().to_numpy(zero_copy_only=False)
            rule[open_rows[given]] = number
            mask = pa.array(rule == number)
            values = found.drop_null()
            if parsed.rule.generate is None:
                text = pc.replace_with_mask(text, mask, values)
            else:
                prompt = pc.replace_with_mask(prompt, mask, values)
        return Prefixes(text, rule, prompt, pa.nulls(count, pa.string()), prompt.is_valid())

    def _texts(self, parsed: ParsedRule, rows: NDArray[np.int64]) -> pa.Array:
        """The texts (m,) of a rule for files (m,); null where it has none."""
        rule = parsed.rule
        if rule.sidecar is not None:
            return without_blanks(self._sidecars(rule.sidecar, rows))
        if parsed.template is not None:
            return self._rendered(parsed.template, rows, rule.defaults)
        column = self._column(str(rule.by), formatted=False)
        if pa.types.is_nested(column.type):
            raise PrefixError(f"prefix: by names a column {rule.by!r} of lists; expected one value an image")
        values = pc.fill_null(column.take(pa.array(rows)).cast(pa.string()), OTHERWISE).combine_chunks()
        known = pc.is_in(values, value_set=pa.array(list(parsed.templates)))
        values = pc.if_else(known, values, pa.scalar(OTHERWISE))
        found = pa.nulls(len(rows), pa.string())
        for value, template in parsed.templates.items():
            mask = pc.equal(values, value)
            chosen = rows[mask.to_numpy(zero_copy_only=False)]
            if len(chosen):
                found = pc.replace_with_mask(found, mask, self._rendered(template, chosen, rule.defaults))
        return found

    def _rendered(self, template: Template, rows: NDArray[np.int64], defaults: dict[str, str]) -> pa.Array:
        at = pa.array(rows)
        # With a column that no field is called, for a table of none has no rows to be filled in.
        values = self.files.select(["image_id"]).take(at)
        for name in template.fields:
            # As the file has it, so that a prefix does not change because a column became numeric.
            column = self._column(name, formatted=name in template.formatted)
            values = values.append_column(name, column.take(at))
        return template.render(values, defaults)

    def _column(self, name: str, *, formatted: bool) -> pa.ChunkedArray:
        if name in self.columns:
            found = self.column(name, formatted)
            return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])
        if name not in self._built_in:
            self._built_in[name] = built_in(name, self.config.name, self.files)
        return pa.chunked_array([self._built_in[name]])

    def _sidecars(self, suffix: str, rows: NDArray[np.int64]) -> pa.Array:
        """The texts (m,) of files beside pictures (m,), or with them in their archive; null where there is none."""
        if self.scan.sidecars and self.scan.metadata is not None:
            # As the archives have them, whatever metadata there is beside.
            name, said = suffix.removeprefix("."), self.scan.metadata.texts
            if name not in said.column_names:
                raise PrefixError(
                    f"collection {self.config.name!r}: no picture in {self.scan.folder} has a sidecar {suffix!r}; "
                    f"those in its archives give {', '.join(said.column_names) or 'nothing'}"
                )
            at = self.files["number"].take(pa.array(rows)).combine_chunks()
            found = said[name].take(at)
            found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
            if pa.types.is_nested(found.type):
                raise PrefixError(f"prefix 'sidecar {suffix}': expected a text beside each picture, found lists")
            return found.cast(pa.string())
        folder = os.fsencode(self.scan.folder)
        paths = self.files["path"].take(pa.array(rows))
        if isinstance(self.scan.folder, BucketPath):
            return pa.array(_sidecar_objects(self.scan.folder, paths.to_pylist(), suffix), pa.string())
        return pa.array([_sidecar(folder, path.as_py(), suffix) for path in paths], pa.string())

    def _missing(self, parsed: ParsedRule, row: int, count: int) -> PrefixError:
        image = self.files["image_id"][row].as_py()
        empty = [
            name
            for name in dict.fromkeys(name for one in parsed.all_templates for name in one.fields)
            if not self._column(name, formatted=False)[row].is_valid and name not in parsed.rule.defaults
        ]
        fields = f" ({', '.join(empty)} is empty)" if empty else ""
        return PrefixError(
            f'prefix {str(parsed.rule)!r}: expected a text for every image, for missing = "error" says so; found none '
            f'for {count:,}, the first is {image!r}{fields}; fill it in, give defaults, or say missing = "skip"'
        )


def prefix_row(
    text: str, rules: Sequence[ParsedRule], rule: int, generation_id: str | None, at: datetime
) -> dict[str, object]:
    """A prefix as a row of its table, with where it came from: the rule of this number, or a person."""
    parsed = rules[rule] if rule >= 0 else None
    # An image that waits for an answer keeps the prefix that it had, which has its row.
    return {
        "prefix_id": prefix_id(text),
        "text": text,
        "origin": "corrected" if parsed is None else parsed.origin,
        "template": None if parsed is None else str(parsed.rule),
        "generation_id": generation_id,
        "created_at": at,
    }


def _sidecar(folder: bytes, path: str, suffix: str) -> str | None:
    """The text of the file beside a picture, if there is one.

    Raises:
        PrefixError: it can't be read, is no text in UTF-8, or too large for one.
    """
    named = (Path(os.fsdecode(os.path.join(folder, raw))) for raw in raw_paths(path))  # noqa: PTH118 (bytes)
    # A camera that writes A.JPG may have had a program beside it that wrote A.TXT.
    spelt = dict.fromkeys((suffix, suffix.upper(), suffix.lower()))
    for file in (one.with_suffix(spelling) for one in named for spelling in spelt):
        try:
            size = file.stat().st_size
            if size > MAX_SIDECAR:
                raise PrefixError(f"{file}: expected a text of at most {MAX_SIDECAR:,} bytes, found {size:,}")
            return read_file(os.fsencode(file)).data.decode("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except UnicodeDecodeError:
            raise PrefixError(f"{file}: expected a text in UTF-8, found other bytes; convert it") from None
        except OSError as error:
            raise PrefixError(f"{file}: can't be read: {error.strerror}") from None
    return None


def _sidecar_objects(folder: BucketPath, paths: list[str], suffix: str) -> list[str | None]:
    """The texts of the objects beside pictures (m,) of a folder, of which there are those that one listing has.

    Raises:
        PrefixError: one can't be read, is no text in UTF-8, or too large for one.
        SourceNotFound: the store can't be asked.
    """
    spelt = tuple(dict.fromkeys((suffix, suffix.upper(), suffix.lower())))
    there = {one.name: one.size for one in list_objects(folder) if one.name.endswith(spelt)}
    stems = [path.removesuffix(PurePosixPath(path).suffix) for path in paths]
    named = [next((stem + one for one in spelt if stem + one in there), None) for stem in stems]
    bucket = Bucket(folder)

    def read(name: str) -> str:
        where = f"{folder}/{name}"
        if there[name] > MAX_SIDECAR:
            raise PrefixError(f"{where}: expected a text of at most {MAX_SIDECAR:,} bytes, found {there[name]:,}")
        try:
            return bucket.read(name).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise PrefixError(f"{where}: expected a text in UTF-8, found other bytes; convert it") from None
        except OSError as error:
            raise PrefixError(f"{where}: can't be read: {error.strerror or 'it is not there any more'}") from None

    wanted = list(dict.fromkeys(one for one in named if one is not None))
    texts = dict(zip(wanted, bucket.each(read, wanted), strict=True))
    return [None if one is None else texts[one] for one in named]


def _kept(texts: pa.Array, count: int) -> pa.Array:
    encoded = texts.dictionary_encode()
    kept = pa.array([keep_chars(text, count) for text in encoded.dictionary.to_pylist()], pa.string())
    # What was cut off may be all that could be seen.
    return without_blanks(kept).take(encoded.indices)
