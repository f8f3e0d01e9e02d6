"""A process that answers SQL for a gallery, and can be killed: `python -m fpve.web.sql_worker FD STORE BYTES`.

Through a socket it says that it is ready, and is asked one question at a time; it ends when the other side is gone. A
question is JSON, an answer JSON and then bytes: rows as an Arrow stream, or numbers of rows. Before it answers it may
ask for embeddings of texts, of which the other side has the model. What takes too long, or more memory than a process
can be bound to within itself, costs this process and no other; an answer says whether it is spent by that.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fpve.arrow import arrow_alone

if __name__ == "__main__":
    # Before modules that make values of pyarrow when they are imported.
    arrow_alone()

import numpy as np
import pyarrow as pa

from fpve.analytics import Bounds, Session, matching_rows
from fpve.api.functions import functions_of
from fpve.errors import FpveError, QueryError
from fpve.fusion import Floats
from fpve.opened import Opened
from fpve.queries import QueryEncoders
from fpve.search import Searcher
from fpve.store import manifest as manifests
from fpve.store.snapshot import Snapshot

READY = b"ready"
# Seconds without a question after which it lets go of a snapshot that is no longer the newest.
_IDLE = 5.0
# Bytes of a result: what is shown on a screen is far less.
_MOST_BYTES = 16_000_000
# Of data that this process may have beside twice what DuckDB may take, which does not count single huge values: stacks
# of threads and what allocators set aside are most of it. What is mapped is not counted.
_BESIDE = 4_000_000_000
_NO_MEMORY = "SQL: the query needs more memory than it may take; ask for less"
# What a person may do who has the query in a process of their own.
_ADVICE = re.compile(r"allow more \([^)]*\), or ")
# In which Linux says how large a process is; the sixth number are pages of data.
_SIZES = Path("/proc/self/statm")
_log = logging.getLogger(__name__)


class Worker:
    """Answers questions about one store.

    Attributes:
        memory: bytes that DuckDB may take.
        goes_on: whether a query that was given up has not ended.
    """

    def __init__(self, asked: Connection, path: Path, memory: int) -> None:
        self._asked = asked
        self._path = path
        self.memory = memory
        self.goes_on = False
        self._opened: Opened | None = None

    def answer(self, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Answer a question about a snapshot.

        Raises:
            FpveError: the query is wrong, or the store is damaged.
        """
        opened = self._open(question["snapshot"])
        if question["kind"] == "condition":
            rows_met = matching_rows(opened.searcher.snapshot, question["where"], memory=self.memory)
            return {}, rows_met.tobytes()
        start = time.perf_counter()
        bounds = Bounds(question["timeout"], self.memory)
        with Session(opened.searcher.snapshot, functions=functions_of(opened), bounds=bounds) as session:
            try:
                rows, total = session.ask(question["query"]).first(question["limit"])
            finally:
                self.goes_on |= not session.is_idle
        if rows.nbytes > _MOST_BYTES:
            raise QueryError(
                f"SQL: the first {len(rows):,} rows are {rows.nbytes / 1e6:,.0f} MB, expected at most "
                f"{_MOST_BYTES / 1e6:g} MB; ask for fewer rows, or fewer columns"
            )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as out:
            out.write_table(rows)
        return {"total": total, "seconds": time.perf_counter() - start}, sink.getvalue().to_pybytes()

    def let_go(self) -> None:
        """Close a snapshot that is no longer the newest, so that it can be pruned."""
        if self._opened is not None:
            snapshot = self._opened.searcher.snapshot
            if manifests.numbers(self._path)[-1:] != [snapshot.manifest.snapshot]:
                snapshot.close()
                self._opened = None

    def _open(self, number: int) -> Opened:
        if self._opened is None or self._opened.searcher.snapshot.manifest.snapshot != number:
            if self._opened is not None:
                self._opened.searcher.snapshot.close()
            snapshot = Snapshot.open(self._path, number)
            self._opened = Opened(Searcher(snapshot), _Encoders(snapshot, self._asked))
        return self._opened


class _Encoders(QueryEncoders):
    """Encoders of a store whose text model is on the other side."""

    def __init__(self, snapshot: Snapshot, asked: Connection) -> None:
        super().__init__(snapshot.manifest)
        self._asked = asked
        self._one_at_a_time = threading.Lock()

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, prefix_dim) of texts."""
        with self._one_at_a_time:
            self._asked.send_bytes(json.dumps({"texts": list(texts)}).encode())
            said = json.loads(self._asked.recv_bytes())
            if "error" in said:
                raise QueryError(said["error"])
            return np.frombuffer(self._asked.recv_bytes(), np.float32).reshape(len(texts), -1)


def bound_memory(memory: int) -> None:
    """Have allocations fail beyond some bytes, where the system can do that."""
    bound = 2 * memory + _BESIDE
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        bound = min(bound, most)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def lacks_memory(memory: int) -> bool:
    """Whether this process has less left than a query may take, of which DuckDB may take so many bytes.

    What its allocator has once set aside it keeps, and that counts, though the system may have the pages back: after a
    query or two that took all they could, the next one could not even begin.
    """
    bound, _ = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        data = int(_SIZES.read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    except OSError:
        # Of another system, which bounds nothing by it.
        return False
    return bound != resource.RLIM_INFINITY and bound - data < 2 * memory


def main() -> None:
    """Answer questions until nobody asks any more."""
    handle, path, memory = sys.argv[1:]
    with Connection(int(handle)) as asked:
        worker = Worker(asked, Path(path), int(memory))
        bound_memory(worker.memory)
        # Whoever asks may go at any moment, this one included.
        with suppress(EOFError, ConnectionError):
            asked.send_bytes(READY)
            while True:
                while not asked.poll(_IDLE):
                    worker.let_go()
                question = json.loads(asked.recv_bytes())
                if "kind" not in question:
                    # Embeddings that are no longer waited for: who sends them is about to end this process.
                    return
                said, data = _answer(worker, question)
                said["is_spent"] = worker.goes_on or lacks_memory(worker.memory) or said.get("is_spent", False)
                asked.send_bytes(json.dumps(said).encode())
                asked.send_bytes(data)


def _answer(worker: Worker, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """What a question is answered with, whatever happens."""
    try:
        return worker.answer(question)
    except FpveError as error:
        text = _NO_MEMORY if "Out of Memory" in str(error) else _ADVICE.sub("", str(error))
        return {"error": text, "kind": type(error).__name__}, b""
    except MemoryError:
        return {"error": _NO_MEMORY, "kind": "QueryError", "is_spent": True}, b""
    except Exception as error:  # noqa: BLE001 (told, and logged; another process answers the next question)
        _log.exception("a question in SQL could not be answered")
        return {"error": f"SQL: {type(error).__name__}: {error}", "kind": "FpveError", "is_spent": True}, b""


if __name__ == "__main__":
    main()
