"""Answers of language models that no snapshot has yet: one line each, written before the next one is asked for.

They cost time and money, so that neither a killed run nor `prune` loses one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from fpve.store.files import at_hand, begin_writing, fsync_directory, make_directory, push, remove_files
from fpve.store.tables import GENERATED, SCHEMAS

FOLDER, _FILE = "answers", "answers.jsonl"
# Of a line's digest: enough to tell one that was cut off, or in which a bit flipped.
_DIGITS = 16


class AnswerLog:
    """The answers in a store's `pending/`. To be written by one process at a time, from any of its threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = Lock()
        self._begun = False

    @property
    def path(self) -> Path:
        """Where they are."""
        return self._root / self._name

    @property
    def _name(self) -> str:
        return f"pending/{FOLDER}/{_FILE}"

    def read(self) -> pa.Table:
        """All whole answers, as rows of the table `generated`, each `generation_id` once."""
        found: dict[str, dict[str, Any]] = {}
        for row in self._lines():
            found.setdefault(row["generation_id"], row)
        return pa.Table.from_pylist(list(found.values()), SCHEMAS[GENERATED])

    def append(self, row: Mapping[str, Any]) -> None:
        """Keep one answer, durably.

        Raises:
            OSError: the disk is full, say.
            pa.ArrowException, OverflowError: a value has no room in the table.
        """
        # Before it is written: a line that can't be read as a row would be in the way of every later run.
        pa.Table.from_pylist([dict(row)], SCHEMAS[GENERATED])
        text = json.dumps(dict(row), ensure_ascii=False, default=_iso)
        line = f"{_digest(text.encode())} {text}\n".encode()
        with self._lock:
            if not self._begun:
                make_directory(self._root, "pending", FOLDER)
                begin_writing(self._root, self._name)
                # The last line of a writer that was killed may have no end.
                line = b"\n" + line
            # After a line that could not be written whole, the next one begins anew as well.
            begun, self._begun = self._begun, False
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if not begun:
                fsync_directory(self.path.parent)
            self._begun = True

    def discard(self) -> None:
        """Remove what a snapshot has by now."""
        with self._lock:
            remove_files(self._root, [self.path])
            self._begun = False

    def keep(self) -> None:
        """Put what was appended into the bucket, if the store is in one: elsewhere it is kept already."""
        push(self._root, self.path)

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            data = at_hand(self._root, self._name, changes=True).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return
        for line in data.split(b"\n"):
            digest, _, text = line.partition(b" ")
            if digest.decode("ascii", "replace") != _digest(text):
                continue
            row = json.loads(text)
            row["created_at"] = datetime.fromisoformat(row["created_at"])
            yield row


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGITS]


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"expected a value that JSON has, found {type(value).__name__}")
