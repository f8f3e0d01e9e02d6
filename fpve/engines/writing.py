"""Writing shards in a thread of its own, so that decoding and encoding go on meanwhile."""

from __future__ import annotations

from queue import Queue
from threading import Condition, Event, Thread
from types import TracebackType
from typing import NamedTuple

from fpve.engines.meter import Meter
from fpve.engines.shards import ShardBuilder, Thumbnail
from fpve.fusion import Floats


class Row(NamedTuple):
    """A picture that was encoded: what `ShardBuilder.add` takes."""

    content_hash: str
    feature: Floats
    prefix: str | None
    thumbnail: Thumbnail


class ShardWriter:
    """Hands rows to a builder in another thread; what fails there is raised here.

    As a context it writes the last shard on its way out, unless an exception is on its way too: finished shards stay,
    the others are given up.

    Args:
        builder: makes shards of rows.
        meter: is told how long that takes.
        waiting: how many rows may wait, beside a last list: for while a shard is written no other is begun.
    """

    def __init__(self, builder: ShardBuilder, meter: Meter, *, waiting: int) -> None:
        self._builder = builder
        self._meter = meter
        self._queue: Queue[list[Row] | None] = Queue()
        self._room = Condition()
        self._waiting, self._limit = 0, waiting
        self._gave_up = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="fpve-write")

    def __enter__(self) -> ShardWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._gave_up.set()
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._check()

    def put(self, rows: list[Row]) -> None:
        """Have rows written; waits where too many wait already.

        Raises:
            Exception: what went wrong with earlier ones.
        """
        with self._room:
            self._room.wait_for(lambda: self._waiting < self._limit)
            self._waiting += len(rows)
        self._check()
        self._queue.put(rows)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (rows := self._queue.get()) is not None:
            with self._room:
                self._waiting -= len(rows)
                self._room.notify()
            if self._error is None and not self._gave_up.is_set():
                self._try(rows)
        if self._error is None and not self._gave_up.is_set():
            self._try(None)

    def _try(self, rows: list[Row] | None) -> None:
        """Add rows, or finish."""
        try:
            with self._meter.busy("write"):
                if rows is None:
                    self._builder.finish()
                for row in rows or ():
                    self._builder.add(*row)
        except BaseException as error:  # noqa: BLE001 (raised again by whoever put the rows)
            self._error = error
