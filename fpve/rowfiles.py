"""Rows as files: Parquet, CSV, JSON and JSON Lines, written part by part, and named only when they are whole."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpve.errors import QueryError
from fpve.urls import check_local

if TYPE_CHECKING:
    import pyarrow as pa

_KINDS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def kind_of(path: Path) -> str | None:
    """What a file called so holds; None if its extension is of no kind that is written here."""
    return _KINDS.get(path.suffix.lower())


def write_rows(path: Path, schema: pa.Schema, parts: Iterable[pa.Table], *, kind: str | None = None) -> None:
    """Write tables of one schema, of which only one is held at a time; JSON is one array.

    What is no regular file, such as a pipe, is written as the parts come.

    Args:
        path: where to; what was there is replaced, once all parts are written.
        schema: that of the parts.
        parts: the tables; what they raise leaves everything as it was.
        kind: `parquet`, `csv`, `json` or `jsonl`; None leaves it to the extension.

    Raises:
        QueryError: the extension tells nothing, or no file can be there.
        OSError: it can't be written.
    """
    from fpve.store.files import write_durably

    kind = kind or kind_of(path)
    if kind is None:
        raise QueryError(f"{path}: expected {', '.join(_KINDS)}, found {path.suffix or 'no extension'!r}")
    write = _WRITERS[kind]
    check_target(path)
    if path.exists() and not path.is_file():
        write(path, schema, parts)
        return
    # Behind a link, where it leads to: the link stays.
    write_durably(path.resolve(), lambda out: write(out, schema, parts))


def check_target(path: Path) -> None:
    """Refuse a path at which no file can be, before what is to be in it costs anything.

    Raises:
        QueryError: it is a folder, there is no folder for it, or it is a file of a store.
        BucketError: it is a URL.
    """
    from fpve.store.files import is_ours

    check_local(path)
    if path.is_dir():
        raise QueryError(f"{path}: expected a file to write, found a folder")
    if not path.absolute().parent.is_dir():
        raise QueryError(f"{path}: no such folder: {path.parent}")
    target = path.resolve()
    if any((one / "snapshots").is_dir() and is_ours(one, target) for one in target.parents):
        raise QueryError(f"{path}: expected a file outside of stores, found the path of one of a store's own")


def plain(value: Any) -> Any:
    """A value as JSON has it: times as ISO 8601, bytes in base64, and null for NaN and infinity."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value


def to_json(value: Any, *, indent: int | None = 1) -> str:
    """JSON of a value, whatever it is made of."""
    return json.dumps(plain(value), ensure_ascii=False, indent=indent, default=str)


def flat(table: pa.Table) -> pa.Table:
    """A table whose lists and structs are JSON: CSV has none."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            texts = [None if one is None else to_json(one, indent=None) for one in table[field.name].to_pylist()]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    return table


def _write_parquet(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    from fpve.store.parquet import write_parquet

    write_parquet(parts, path, schema=schema)


def _write_csv(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    import pyarrow.csv as pacsv

    options = pacsv.WriteOptions(quoting_style="needed")
    with (
        path.open("wb") as file,
        pacsv.CSVWriter(file, flat(schema.empty_table()).schema, write_options=options) as out,
    ):
        for part in parts:
            out.write_table(flat(part))


def _write_json(path: Path, _: pa.Schema, parts: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        first = True
        for row in _rows(parts):
            # As an array of this one row would be written, without its brackets.
            file.write(("[\n" if first else ",\n") + to_json([row])[2:-2])
            first = False
        file.write("[]\n" if first else "\n]\n")


def _write_jsonl(path: Path, _: pa.Schema, parts: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(to_json(row, indent=None) + "\n" for row in _rows(parts))


def _rows(parts: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    return (row for part in parts for row in part.to_pylist())


_WRITERS: dict[str, Callable[[Path, pa.Schema, Iterable[pa.Table]], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_jsonl,
}
