"""Metadata tables: one row an image, matched with the images by path, with types that lose nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from fpve.errors import BucketError, MetadataError, nearest
from fpve.sources.names import normalised
from fpve.sources.objects import are_urls
from fpve.sources.places import open_place, read_place
from fpve.urls import BucketPath, is_url

# What other tools call the column: fpve, Hugging Face's imagefolder, COCO and fastai, and plain habit.
KEY_NAMES = ("path", "file_name", "filename", "file", "image")
_TEXT_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = (*_TEXT_SUFFIXES, *PARQUET_SUFFIXES, ".jsonl", ".ndjson", ".json")
# A decimal number that float64 gives back digit for digit.
_MAX_DIGITS = 15
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
_DECIMAL = r"^(-?[1-9][0-9]*(\.[0-9]+)?|0(\.[0-9]+)?|-0\.[0-9]*[1-9][0-9]*)$"


@dataclass(frozen=True, slots=True)
class Metadata:
    """A metadata table.

    Attributes:
        file: where it was read from.
        paths: (n,) relative paths of images, as the file has them, normalised to NFC and `/`.
        columns: the other columns, with the file's types, or for CSV those that lose nothing.
        texts: the same columns as they are written in the file; for other files than CSV the columns themselves.
    """

    file: Path
    paths: pa.Array
    columns: pa.Table
    texts: pa.Table


def read_metadata(
    file: Path, *, key: str | None = None, columns: tuple[str, ...] = (), option: str | None = "metadata_key"
) -> Metadata:
    """Read a CSV, TSV, Parquet, JSON (one array of objects) or JSONL table.

    Args:
        file: the table.
        key: its column of paths; None takes the first of KEY_NAMES.
        columns: the other columns that are wanted; all if there are none.
        option: what gives a key; None where nothing can, so that errors speak of none.

    Raises:
        MetadataError: the file is missing, broken, or has no column of paths; or one path stands in two rows.
    """
    texts = _read(file)
    name = key_column(file, texts.column_names, key, option=option)
    paths = normalised(paths_in(file, texts, name))
    check_unique(file, name, paths)
    return typed(file, paths, choose(file, texts.drop_columns([name]), columns))


def typed(file: Path, paths: pa.Array, texts: pa.Table) -> Metadata:
    """The metadata of images at these paths, from its columns as they are written in the file."""
    columns = texts
    for at, column in enumerate(texts.column_names):
        columns = columns.set_column(at, column, lossless(file, texts[column]))
    return Metadata(file, paths, columns, texts)


def choose(file: Path, table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """The columns that are wanted, all if none is named.

    Raises:
        MetadataError: one of them is not there.
    """
    for name in columns:
        if name not in table.column_names:
            raise MetadataError(
                f"{file}: no column {name!r} (columns){nearest(name, table.column_names)}; "
                f"it has {', '.join(table.column_names)}"
            )
    return table.select(list(columns)) if columns else table


def read_table(file: Path, *, wanted: Callable[[pa.DataType], bool] | None = None) -> pa.Table:
    """Read a CSV, TSV, Parquet, JSON (one array of objects) or JSONL table as it is written: CSV and TSV are texts.

    Args:
        file: the table.
        wanted: by their types, which columns of a Parquet file are read at all.

    Raises:
        MetadataError: the file is missing or broken.
    """
    return _read(file, wanted)


def open_parquet(file: Path) -> pq.ParquetFile:
    """Open a Parquet file, wherever it is; of one in a store only what is read is fetched.

    Raises:
        OSError, ArrowException: it is not there, can't be read, or is none.
    """
    return pq.ParquetFile(open_place(file) if isinstance(file, BucketPath) else file)


def read_parquet_schema(file: Path) -> pa.Schema:
    """The columns of a Parquet file, wherever it is.

    Raises:
        OSError, ArrowException: it is not there, can't be read, or is none.
    """
    return pq.read_schema(open_place(file) if isinstance(file, BucketPath) else file)


def lossless(file: Path, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as it is written in a file, as the type that loses nothing of it; null for NaN."""
    return narrowed(column) if file.suffix.lower() in _TEXT_SUFFIXES else _without_nan(column)


def narrowed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Make a column of CSV text numeric if every value survives: `007`, `1e3` and mixed `1.1`, `1.10` stay text."""
    values = column.drop_null()
    if not len(values):
        return column
    if _all_match(values, _INTEGER):
        return column.cast(pa.int64())
    if _all_match(values, _DECIMAL) and _decimals_survive(values):
        return column.cast(pa.float64())
    return column


def match(metadata: Metadata, paths: pa.Array, source: Path) -> pa.Array:
    """For each image's relative path (NFC) the number of its row in the metadata, or null, as `rows_of` has it.

    Raises:
        MetadataError: no path matches.
    """
    rows = rows_of(metadata, paths, source)
    if rows.null_count == len(rows):
        theirs = metadata.paths[0].as_py() if len(metadata.paths) else "nothing"
        raise MetadataError(
            f"{metadata.file}: none of its {len(metadata.paths)} paths is an image of {source}: "
            f"it has {theirs!r}, the images are {paths[0].as_py()!r} and so on; make them relative to the source"
        )
    return rows


def rows_of(metadata: Metadata, paths: pa.Array, source: Path) -> pa.Array:
    """For each image's relative path (NFC) the number of its row in the metadata, or null.

    The metadata's paths are absolute, relative to the source, or relative to the metadata file's own folder: the
    reading that finds more images is taken.
    """
    rows: Any = None
    for reading in _readings(metadata.paths, metadata.file.absolute().parent, source):
        # Tables are often written in the order of the files.
        found = pa.array(np.arange(len(paths)), pa.int32()) if paths.equals(reading) else pc.index_in(paths, reading)
        if rows is None or found.null_count < rows.null_count:
            rows = found
        if not rows.null_count:
            break
    return rows


def convert(column: pa.ChunkedArray, kind: pa.DataType, *, where: str, remedy: str | None = None) -> pa.ChunkedArray:
    """Cast a column to a type, losing nothing; `where` names file and column, `remedy` what to do about a misfit.

    Raises:
        MetadataError: a value doesn't fit: it is named with its row.
    """
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_timestamp(kind) and pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = pc.assume_timezone(column, "UTC")
        return column.cast(kind)
    except pa.ArrowException:
        row, value = _first_misfit(column, kind)
        if remedy is None:
            text = pa.types.is_string(kind)
            remedy = "drop the column from the file" if text else 'set its type to "string" in types'
        raise MetadataError(f"{where}, row {row}: expected {_plain(kind)}, found {value!r}; {remedy}") from None


def _read(file: Path, wanted: Callable[[pa.DataType], bool] | None = None) -> pa.Table:
    suffix = file.suffix.lower()
    try:
        if suffix in _TEXT_SUFFIXES:
            return _read_csv(file, "\t" if suffix == ".tsv" else ",")
        if suffix in PARQUET_SUFFIXES:
            # Not `read_table`, which would make columns of folders that are called `year=2020`.
            with open_parquet(file) as parquet:
                fields = [field.name for field in parquet.schema_arrow if wanted is None or wanted(field.type)]
                return parquet.read(None if wanted is None else fields)
        if suffix in (".jsonl", ".ndjson", ".json"):
            return _read_json(file, lines=suffix != ".json")
    except FileNotFoundError:
        raise MetadataError(f"{file}: no such metadata file") from None
    except IsADirectoryError:
        raise MetadataError(f"{file}: expected a metadata file, found a folder") from None
    except BucketError:
        # Which says it all.
        raise
    except (OSError, pa.ArrowException, UnicodeDecodeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MetadataError(f"{file}: can't be read as {suffix[1:]}: {reason}") from error
    raise MetadataError(f"{file}: expected .csv, .tsv, .parquet, .jsonl or .json, found {suffix or 'no extension'!r}")


def _read_csv(file: Path, delimiter: str) -> pa.Table:
    data = read_place(file).removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise ValueError("the file is empty")
    header = data.partition(b"\n")[0].decode("utf-8", "replace").rstrip()
    if delimiter == "," and ";" in header and "," not in header:
        # What spreadsheets write where the comma is in the numbers.
        raise ValueError(f"its only column is {header!r}: is it separated by ';'? save it with commas")
    try:
        table = _parsed(data, pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True))
    except (pa.ArrowInvalid, UnicodeDecodeError):
        # Looked for only now: of a file that can be read there is no second copy in memory.
        _check_utf8(data)
        raise
    if len(set(table.column_names)) != len(table.column_names):
        raise ValueError("two columns have the same name")
    return table


def _parsed(data: bytes, parse: pacsv.ParseOptions) -> pa.Table:
    # Column types are decided later: Arrow's own guess would turn 007 into 7.
    names = pacsv.open_csv(pa.BufferReader(data), parse_options=parse).schema.names
    options = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pacsv.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=options)


def _check_utf8(data: bytes) -> None:
    """Say which line is in another encoding, as spreadsheets write it, and what it would be in that."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is in UTF-16; save it in UTF-8")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        line = data[start:].partition(b"\n")[0].decode("cp1252", "replace").rstrip()
        number = data.count(b"\n", 0, start) + 1
        raise ValueError(
            f"line {number} is not in UTF-8, but maybe in Windows-1252 ({line!r}); save it in UTF-8"
        ) from None


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Floats with null for NaN: a missing number as NumPy and pandas write it."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.fill_null(pc.is_nan(column), True), pa.scalar(None, column.type), column)


def _all_match(values: pa.ChunkedArray, pattern: str) -> bool:
    # Most columns of text show in their first value what they are.
    return all(
        pc.all(pc.match_substring_regex(part, pattern), min_count=0).as_py()
        for part in (values.slice(0, 1), values.slice(1))
    )


def _decimals_survive(values: pa.ChunkedArray) -> bool:
    digits = pc.utf8_length(pc.replace_substring_regex(values, r"[-.]", ""))
    if pc.max(digits).as_py() > _MAX_DIGITS:
        return False
    decimals = pc.utf8_length(pc.replace_substring_regex(values, r"^[^.]*\.?", ""))
    # A fixed number of decimals (prices) or no trailing zeros: then no two different texts become one number.
    fixed = pc.min(decimals).as_py() == pc.max(decimals).as_py()
    return fixed or not pc.any(pc.match_substring_regex(values, r"\.[0-9]*0$")).as_py()


def _read_json(file: Path, *, lines: bool) -> pa.Table:
    text = read_place(file).decode("utf-8-sig")
    rows = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected objects with one name for each column")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _json_column(name, [row.get(name) for row in rows]) for name in names})


def _json_column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise ValueError(f"column {name!r} mixes {' and '.join(kinds)}") from None


def key_column(file: Path, names: list[str], key: str | None, *, option: str | None) -> str:
    """The column of a table that has the paths: `key`, which the job's `option` gives, or the first of KEY_NAMES.

    Raises:
        MetadataError: there is none.
    """
    if key is not None:
        if key in names:
            return key
        raise MetadataError(f"{file}: no column {key!r} ({option}){nearest(key, names)}; it has {', '.join(names)}")
    for name in KEY_NAMES:
        if name in names:
            return name
    raise MetadataError(
        f"{file}: expected a column of paths named {', '.join(KEY_NAMES)}, found {', '.join(names)}; "
        + (f"call it {KEY_NAMES[0]}" if option is None else f'name it with {option} = "…"')
    )


def check_unique(file: Path, name: str, paths: pa.Array) -> None:
    """Refuse a path that stands in two rows; `name` is that of its column.

    Raises:
        MetadataError: naming the rows.
    """
    if len(paths.unique()) == len(paths):
        return
    counts = pc.value_counts(paths.drop_null())
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        path = twice[0]["values"].as_py()
        rows = pc.indices_nonzero(pc.equal(paths, path)).to_pylist()
        raise MetadataError(f"{file}: {name} {path!r} stands in rows {rows[0] + 1} and {rows[1] + 1}; keep one of them")


def paths_in(file: Path, table: pa.Table, name: str) -> pa.Array:
    """A column of paths, without blanks around them, with `/`, without `./`.

    Raises:
        MetadataError: it holds no texts.
    """
    column = table[name]
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise MetadataError(f"{file}: expected texts in its column of paths {name!r}, found {column.type}")
    paths = column.cast(pa.string()).combine_chunks()
    paths = pc.replace_substring(pc.utf8_trim_whitespace(paths), "\\", "/")
    dotted = pc.fill_null(pc.starts_with(paths, "./"), False)
    if pc.any(dotted).as_py():
        paths = pc.replace_substring_regex(paths, r"^(\./+)+", "")
    return paths


def _readings(paths: pa.Array, base: Path, source: Path) -> Iterator[pa.Array]:
    """What metadata's paths may mean: relative to the source, or to the folder `base`, as it is or behind its links."""
    yield paths
    for one, other in ((base, source.absolute()), (base.resolve(), source.resolve())):
        yield _relative_to(paths, one, other)


def _relative_to(paths: pa.Array, base: Path, source: Path) -> pa.Array:
    """Paths relative to `base` (or absolute), as paths relative to the source; null where they lead elsewhere."""
    below = pc.or_(pc.starts_with(paths, "/"), are_urls(paths))
    full = pc.if_else(below, paths, pc.binary_join_element_wise(f"{base.as_posix().rstrip('/')}", paths, "/"))
    start = f"{source.as_posix().rstrip('/')}/"
    inside = pc.fill_null(pc.starts_with(full, start), False)
    found = pc.if_else(inside, pc.utf8_slice_codeunits(full, len(start)), pa.scalar(None, pa.string()))
    # `a//b`, `a/./b` and `a/` are other spellings of a path, which pathlib knows.
    plain = pc.replace_substring(full, "://", "", max_replacements=1) if isinstance(source, BucketPath) else full
    odd = pc.fill_null(pc.match_substring_regex(plain, r"//|/\.?(/|$)"), False)
    if not pc.any(odd).as_py():
        return found

    def relative(path: str) -> str | None:
        full = BucketPath(path.replace("://", ":/", 1)) if is_url(path) else base / path
        return full.relative_to(source).as_posix() if full.is_relative_to(source) else None

    spelt = pa.array([relative(path) for path in paths.filter(odd).to_pylist()], pa.string())
    return pc.replace_with_mask(found, odd, spelt)


def _first_misfit(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[int, Any]:
    for number, value in enumerate(column):
        try:
            value.cast(kind)
        except pa.ArrowException:
            return number + 1, value.as_py()
    return 0, None


def _plain(kind: pa.DataType) -> str:
    return {"double": "float64", "date32[day]": "date", "timestamp[us, tz=UTC]": "timestamp"}.get(str(kind), str(kind))
