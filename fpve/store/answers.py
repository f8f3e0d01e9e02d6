"""Answers of language models that no snapshot has yet: one line each, written before the next one is asked for.

They cost time and money, so that neither a killed run nor `prune` loses one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from fpve.replica import replica_of
from fpve.store.files import NAME_DIGITS, at_hand, fsync_directory, make_directory, our_files, push, remove_files
from fpve.store.tables import GENERATED, SCHEMAS

FOLDER = "answers"
_PLACE = f"pending/{FOLDER}"
# Of a line's digest: enough to tell one that was cut off, or in which a bit flipped.
_DIGITS = 16


class AnswerLog:
    """The answers in a store's `pending/`. To be written by one process at a time, from any of its threads.

    In a bucket each log has a file of its own, that is put once: several machines may ask at the same time, and none
    replaces what another one has put, or removes what it has not read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = Lock()
        self._begun = False
        self._name = self._new_name()
        # Files whose answers were read.
        self._seen: set[Path] = set()

    @property
    def path(self) -> Path:
        """Where answers are kept that come now."""
        return self._root / self._name

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
        """Remove what was read of the log, which a snapshot has by now."""
        with self._lock:
            remove_files(self._root, self._seen)
            self._seen, self._begun = set(), False

    def keep(self) -> None:
        """Put what was appended into the bucket, if the store is in one: elsewhere it is kept already."""
        with self._lock:
            push(self._root, self.path)
            self._name, self._begun = self._new_name(), False

    def _new_name(self) -> str:
        own = "answers" if replica_of(self._root) is None else secrets.token_hex(NAME_DIGITS // 2)
        return f"{_PLACE}/{own}.jsonl"

    def _lines(self) -> Iterator[dict[str, Any]]:
        for path in our_files(self._root, _PLACE):
            try:
                data = at_hand(self._root, path.relative_to(self._root).as_posix()).read_bytes()
            except FileNotFoundError:
                # Another machine has published it since.
                continue
            self._seen.add(path)
            yield from _rows(data)


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    """The whole lines of a file."""
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
