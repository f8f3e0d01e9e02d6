"""SQL in processes of their own: what hangs, or takes the memory of the machine, is killed there and harms nobody."""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fpve import errors
from fpve.api import Store
from fpve.encoders.runtimes.machine import cores
from fpve.errors import FpveError, QueryError, ServerBusy
from fpve.fusion import Floats
from fpve.neighbours import Rows
from fpve.store.snapshot import Snapshot
from fpve.web.settings import LONGEST_TEXT, Settings
from fpve.web.sql_worker import READY

# One for whoever asks in SQL, one for the conditions of others meanwhile.
_PROCESSES = 2
# Of those that wait each holds a thread, of which there are 40 for all that is asked.
_WAITING = 16
# Seconds that a query may need beyond its time, to notice that it is up.
_GRACE = 2.5
# Seconds for a process to begin: it takes one, and several on a machine that is busy.
_BEGINNING = 30.0
# Of products of matrices: each sets 130 MB aside, which count, and of 64 no query could search.
_THREADS = 8
_WHY_IT_DIED = "SQL: the query needs more memory than it may take, or more than DuckDB survives; ask for less"
# Embeds n texts as (n, prefix_dim).
Encode = Callable[[list[str]], Floats]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SqlAnswer:
    """What a query is answered with.

    Attributes:
        rows: the first rows.
        total: how many there are.
        seconds: how long that took.
    """

    rows: pa.Table
    total: int
    seconds: float


class SqlPool:
    """Processes that answer SQL over one store, begun when they are needed. Safe to use from many threads.

    Attributes:
        killed: how many had to be killed, or died.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(_PROCESSES):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._room = threading.Semaphore(_WAITING)
        self._begun: set[_Process] = set()
        self._is_closed = False
        self.killed = 0

    def query(self, store: Store, query: str, limit: int) -> SqlAnswer:
        """Answer an SQL query: its first rows.

        Args:
            store: at the snapshot that is asked about, where it stays; embeds texts that are searched for.
            query: the query.
            limit: how many rows at most.

        Raises:
            QueryError: it is not one valid query over the views, or takes too long or too much.
            StoreCorrupt: a file that it needs is damaged.
            ServerBusy: other queries are being answered, for too long.
        """
        seconds = self._settings.sql_timeout
        question = {"snapshot": store.snapshot, "query": query, "limit": limit, "timeout": seconds, "kind": "query"}
        said, data = self._ask(question, seconds + _GRACE, store.encode_texts)
        return SqlAnswer(pa.ipc.open_stream(data).read_all(), said["total"], said["seconds"])

    def matching(self, snapshot: Snapshot, where: str) -> Rows:
        """Numbers of the image rows that meet an SQL condition, ascending; see `fpve.analytics.matching_rows`.

        Raises:
            QueryError: it is not an SQL condition over the columns of `images`, or takes too long or too much.
            ServerBusy: other queries are being answered, for too long.
        """
        question = {"kind": "condition", "snapshot": snapshot.manifest.snapshot, "where": where}
        _, data = self._ask(question, self._settings.sql_timeout)
        return np.frombuffer(data, np.int64)

    def warm_up(self) -> None:
        """Begin a process, so that the first question need not wait for it."""
        with suppress(ServerBusy):
            process = self._take()
            try:
                process = self._well(process)
            finally:
                self._idle.put(process)

    def close(self) -> None:
        """End all processes; what they are at is lost."""
        self._is_closed = True
        with self._lock:
            begun = list(self._begun)
        for process in begun:
            self._end(process)

    def _ask(
        self, question: dict[str, Any], seconds: float, encode: Encode | None = None
    ) -> tuple[dict[str, Any], bytes]:
        process = self._take()
        is_well = False
        try:
            process = self._well(process)
            said, data = process.ask(question, seconds, encode)
            is_well = not process.is_waiting and not said["is_spent"]
        except TimeoutError:
            raise QueryError(
                f"SQL: no answer within {self._settings.sql_timeout:g} s; ask for less, or of fewer images"
            ) from None
        except (EOFError, OSError):
            raise QueryError(_WHY_IT_DIED) from None
        finally:
            if process is not None and not is_well:
                self.killed += 1
                self._end(process)
                process = None
            self._idle.put(process)
        if "error" in said:
            raise _error(said)
        return said, data

    def _take(self) -> _Process | None:
        """A process that is idle; None where one may be begun.

        Raises:
            ServerBusy: others are waited for by too many, or for too long.
        """
        if self._is_closed:
            raise ServerBusy("the server is being stopped")
        with suppress(queue.Empty):
            return self._idle.get_nowait()
        busy = ServerBusy("other SQL queries are being answered; ask again in some seconds")
        if not self._room.acquire(blocking=False):
            raise busy
        try:
            return self._idle.get(timeout=self._settings.sql_timeout)
        except queue.Empty:
            raise busy from None
        finally:
            self._room.release()

    def _well(self, process: _Process | None) -> _Process:
        """An idle process; in the place of one that has died meanwhile, or of none, another one that begins.

        Raises:
            ServerBusy: none begins.
        """
        if process is not None and process.has_ended:
            self._end(process)
            process = None
        return process or self._begin()

    def _begin(self) -> _Process:
        try:
            process = _Process(self._path, self._settings.sql_memory)
        except (EOFError, OSError):
            raise ServerBusy("no process could be begun that answers SQL; ask again in some seconds") from None
        with self._lock:
            self._begun.add(process)
        if self._is_closed:
            # Meanwhile: whoever closed it did not know of this one.
            self._end(process)
            raise ServerBusy("the server is being stopped")
        return process

    def _end(self, process: _Process) -> None:
        with self._lock:
            self._begun.discard(process)
        process.end()


class _Process:
    """A process that answers one question at a time.

    Attributes:
        is_waiting: whether it may still wait for embeddings, and so can't be asked again.

    Raises:
        EOFError, OSError: it does not begin.
    """

    def __init__(self, path: Path, memory: int) -> None:
        self.is_waiting = False
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        with theirs:
            command = [sys.executable, "-m", "fpve.web.sql_worker", str(theirs.fileno()), str(path.absolute())]
            # In a session of its own: a Ctrl-C is for the server, which then ends it.
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter, and our own module)
                [*command, str(memory)],
                env={"OMP_NUM_THREADS": str(min(cores(), _THREADS)), **os.environ},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        if not self._is_ready():
            self.end()
            raise EOFError

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has died."""
        return self._process.poll() is not None

    def ask(self, question: dict[str, Any], seconds: float, encode: Encode | None) -> tuple[dict[str, Any], bytes]:
        """Ask, and wait for the answer.

        Args:
            question: the question.
            seconds: how long to wait.
            encode: embeds the texts that it asks for meanwhile.

        Raises:
            TimeoutError: there is none within so many seconds.
            EOFError, OSError: the process has died.
        """
        until = time.monotonic() + seconds
        self._connection.send_bytes(json.dumps(question).encode())
        while True:
            if not self._connection.poll(max(0.0, until - time.monotonic())):
                raise TimeoutError
            said = json.loads(self._connection.recv_bytes())
            if "texts" not in said or encode is None:
                # An error that comes while texts are embedded leaves these to be read.
                self.is_waiting = self.is_waiting and "error" in said
                return said, self._connection.recv_bytes()
            self.is_waiting = True
            self._embed(said["texts"], encode)

    def _is_ready(self) -> bool:
        try:
            return self._connection.poll(_BEGINNING) and self._connection.recv_bytes() == READY
        except (EOFError, OSError):
            return False

    def _embed(self, texts: list[str], encode: Encode) -> None:
        try:
            if any(len(text) > LONGEST_TEXT for text in texts):
                # Here no time is up, and nobody is killed.
                raise QueryError(f"SQL: expected texts to search by of at most {LONGEST_TEXT:,} characters")
            found = encode(texts)
        except FpveError as error:
            self._connection.send_bytes(json.dumps({"error": str(error)}).encode())
            return
        self._connection.send_bytes(b"{}")
        self._connection.send_bytes(np.ascontiguousarray(found, np.float32).tobytes())

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        _log.info("a process that answered SQL ended with code %d", self._process.wait())
        self._connection.close()


def _error(said: dict[str, Any]) -> FpveError:
    kind = getattr(errors, said["kind"], QueryError)
    error: FpveError = kind(said["error"])
    return error
