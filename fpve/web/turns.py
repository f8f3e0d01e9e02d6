"""Turns of heavy work: more at once than there are cores would only make all of it slower."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fpve.encoders.runtimes.machine import cores
from fpve.errors import ServerBusy

# Seconds after which a person has given up, and asks again.
_PATIENCE = 10.0
# Of those that wait each holds a thread, of which there are 40 for all that is asked.
_WAITING = 16


class Turns:
    """Turns of heavy work, such as encoding a query or decoding a picture.

    Args:
        at_once: how much is done at once; by default as much as there are cores.
        waiting: how many may wait.
        patience: seconds that they do.
    """

    def __init__(self, at_once: int | None = None, *, waiting: int = _WAITING, patience: float = _PATIENCE) -> None:
        self._free = threading.Semaphore(at_once or cores())
        self._room = threading.Semaphore(waiting)
        self._patience = patience

    @contextmanager
    def take(self) -> Iterator[None]:
        """Do something heavy in its turn.

        Raises:
            ServerBusy: too many others wait, or it would be waited for too long.
        """
        if not self._free.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._free.release()

    def _wait(self) -> None:
        if not self._room.acquire(blocking=False):
            raise ServerBusy("too many requests are being answered; ask again in some seconds")
        try:
            if not self._free.acquire(timeout=self._patience):
                raise ServerBusy(f"no turn within {self._patience:g} s; ask again in some seconds")
        finally:
            self._room.release()
