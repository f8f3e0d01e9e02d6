"""Waiting for a query so that a signal, or a clock, can end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
# What an interrupted query may need to notice; a model that is being loaded does not.
_PATIENCE = 2.0
# Between two interruptions: one that comes before the query has begun is lost.
_AGAIN = 0.05


class Overdue(Exception):
    """The time is up."""


class Waiter:
    """Has work done in a thread of its own, one piece at a time, within one budget of seconds.

    DuckDB waits without looking for signals while it computes what is fetched; Python's locks look for them.

    Attributes:
        is_idle: whether the last piece of work has ended.
    """

    def __init__(self, seconds: float | None) -> None:
        self._left = seconds
        # Not the thread's own word: in Python 3.11 one that is waited for counts as ended when a signal arrives.
        self._ended = threading.Event()
        self._ended.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being done any more."""
        return self._ended.is_set()

    def wait(self, work: Callable[[], Found], interrupt: Callable[[], None]) -> Found:
        """Do some work, and raise what it raises.

        Args:
            work: what is to be done.
            interrupt: ends it.

        Raises:
            Overdue: it takes longer than what is left of the time.
        """
        found: list[Found] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                found.append(work())
            except BaseException as error:  # noqa: BLE001 (raised again, in the thread that waits)
                failed.append(error)
            finally:
                ended.set()

        start = time.monotonic()
        self._ended = ended = threading.Event()
        try:
            # In here: it waits for the thread to begin, and a signal may arrive by then.
            threading.Thread(target=run, name="fpve-sql", daemon=True).start()
            ended.wait(self._left)
        except BaseException:
            self._end(interrupt)
            raise
        if not ended.is_set():
            self._end(interrupt)
            raise Overdue
        if self._left is not None:
            self._left = max(0.0, self._left - (time.monotonic() - start))
        if failed:
            # Taken out: its traceback refers to this list, and all that is open would wait for the garbage collector.
            raise failed.pop()
        return found[0]

    def _end(self, interrupt: Callable[[], None]) -> None:
        """Interrupt the work until it ends, or takes too long to do so."""
        last = time.monotonic() + _PATIENCE
        while not self.is_idle and time.monotonic() < last:
            interrupt()
            self._ended.wait(_AGAIN)
