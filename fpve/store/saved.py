"""Saved results: tables that people keep under a name, in `saved/`, outside snapshots. Nobody else's file is one."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fpve.errors import QueryError, StoreConflict, StoreCorrupt, nearest
from fpve.store.files import at_hand, fsync_directory, make_directory, our_files, push, remove_files, write_durably
from fpve.store.parquet import read_parquet, write_parquet

FOLDER = "saved"
# SQL takes these without quotes, and PostgreSQL's limit is as good as any.
_LONGEST = 63
_NAME = re.compile(rf"[a-z_][a-z0-9_]{{0,{_LONGEST - 1}}}", re.ASCII)
# The key of what is said of a table in its file's metadata.
_NOTE = b"fpve"
LISTING = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("rows", pa.int64()),
        pa.field("columns", pa.list_(pa.string())),
        pa.field("command", pa.string()),
        pa.field("snapshot", pa.int64()),
        pa.field("saved_at", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class _Note:
    """What is known of a saved table: what made it, of which snapshot, and when, as ISO 8601 in UTC."""

    command: str
    snapshot: int
    saved_at: str

    @classmethod
    def of(cls, schema: pa.Schema) -> _Note | None:
        """What the schema of a file says; None if nobody saved it."""
        try:
            found: dict[str, Any] = json.loads((schema.metadata or {})[_NOTE])
            return cls(
                str(found["command"]), int(found["snapshot"]), datetime.fromisoformat(found["saved_at"]).isoformat()
            )
        except (KeyError, ValueError, TypeError):
            return None

    def to_json(self) -> str:
        """As a file has it."""
        return json.dumps({"command": self.command, "snapshot": self.snapshot, "saved_at": self.saved_at})


def checked_name(name: str) -> str:
    """A name for saved rows, in lower case: SQL takes `Hits` and `hits` for the same.

    Raises:
        QueryError: SQL would not take it without quotes.
    """
    if not _NAME.fullmatch(name.lower()) or not name.isascii():
        raise QueryError(
            f"saved name: expected a letter or _, then letters, digits and _, {_LONGEST} at most, found {name!r}"
        )
    return name.lower()


def save_rows(root: Path, name: str, rows: pa.Table, *, command: str, snapshot: int) -> None:
    """Keep rows under a name, in the place of those that it had.

    Args:
        root: the store.
        name: of letters, digits and _; its case does not matter.
        rows: the table.
        command: what made it, for whoever lists what is saved.
        snapshot: of which snapshot it was made.

    Raises:
        QueryError: the name is none, or the table can't be kept: two columns of one name, say.
        StoreConflict: `saved` is a link out of the store.
        OSError: it can't be written.
    """
    name = checked_name(name)
    _check_columns(name, rows)
    folder = root / FOLDER
    if folder.is_symlink():
        raise StoreConflict(f"{folder}: expected a folder of the store, found a link; remove it")
    make_directory(root, FOLDER)
    note = _Note(command, snapshot, datetime.now(UTC).isoformat())
    # In the place of the metadata that it came with, such as that of pandas.
    rows = rows.replace_schema_metadata({_NOTE: note.to_json()})
    try:
        write_durably(_path_of(root, name), lambda out: write_parquet(rows, out, compression="zstd"))
        push(root, _path_of(root, name))
    except pa.ArrowException as error:
        raise QueryError(f"saved {name}: {_reason(error)}; cast the column to another type") from error


def read_saved(root: Path, name: str) -> pa.Table:
    """The rows that were saved under a name.

    Raises:
        QueryError: nothing is saved under it; the text names the most similar one.
        StoreCorrupt: the file is damaged, or nobody's that is known.
    """
    name = checked_name(name)
    path = _path_of(root, name)
    if path not in _files(root):
        known = saved_names(root)
        there = f"; there is {', '.join(known)}" if known else "; `--save NAME` of a command saves its rows"
        raise QueryError(f"{root}: nothing is saved as {name!r}{nearest(name, known) or there}")
    try:
        rows = read_parquet(_at_hand(root, path))
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{error}; {_remedy(root, name)}") from error
    if _Note.of(rows.schema) is None:
        raise StoreCorrupt(f"{path}: expected a saved result, found a table that nobody saved; {_remedy(root, name)}")
    return rows.replace_schema_metadata()


def saved_names(root: Path) -> list[str]:
    """The names under which something is saved, sorted."""
    return [path.stem for path in _files(root)]


def list_saved(root: Path) -> pa.Table:
    """What is saved, by name: rows, columns, what made it, of which snapshot, when; null where a file is damaged."""
    return pa.Table.from_pylist([_entry(_at_hand(root, path)) for path in _files(root)], schema=LISTING)


def remove_saved(root: Path, name: str) -> None:
    """Delete what was saved under a name, be it damaged.

    Raises:
        QueryError: nothing is saved under it.
    """
    path = _path_of(root, checked_name(name))
    if path not in _files(root):
        raise QueryError(f"{root}: nothing is saved as {path.stem!r}{nearest(path.stem, saved_names(root))}")
    remove_files(root, [path])
    fsync_directory(make_directory(root, FOLDER))


def _path_of(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.parquet"


def _at_hand(root: Path, path: Path) -> Path:
    return at_hand(root, f"{FOLDER}/{path.name}", changes=True)


def _files(root: Path) -> list[Path]:
    """Files of saved rows; no links, nor what has not got its name yet."""
    return [path for path in our_files(root, FOLDER) if path.suffix == ".parquet"]


def _entry(path: Path) -> dict[str, Any]:
    try:
        # Not by its name: the destructor of a ParquetFile warns of files that it could not open.
        with path.open("rb") as handle:
            file = pq.ParquetFile(handle)
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException):
        return {"name": path.stem}
    note = _Note.of(schema)
    if note is None:
        return {"name": path.stem}
    return {
        "name": path.stem,
        "rows": rows,
        "columns": schema.names,
        "command": note.command,
        "snapshot": note.snapshot,
        "saved_at": datetime.fromisoformat(note.saved_at),
    }


def _check_columns(name: str, rows: pa.Table) -> None:
    """Refuse what SQL could not ask for."""
    if not rows.num_columns:
        raise QueryError(f"saved {name}: expected a table with columns, found none")
    counts = Counter(column.lower() for column in rows.column_names)
    twice = next((column for column in rows.column_names if counts[column.lower()] > 1), None)
    if twice is not None:
        raise QueryError(
            f"saved {name}: expected columns of different names, found {twice!r} twice; rename one of them"
        )


def _remedy(root: Path, name: str) -> str:
    return f"save it again, or remove it with `fpve saved {root} --remove {name}`"


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
