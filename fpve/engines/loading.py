"""Loading: an input is read, and if its content is new, decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fpve import images
from fpve.encoders import ImageEncoder
from fpve.engines.meter import Meter
from fpve.engines.shards import Thumbnail
from fpve.engines.work import Outcome, Work
from fpve.errors import ImageError


class Loaded(NamedTuple):
    """An input that was read; `pixels` and `thumbnail` only if it is to be encoded."""

    number: int
    outcome: Outcome
    pixels: NDArray[Any] | None = None
    thumbnail: Thumbnail | None = None


class _Arrival(NamedTuple):
    """An input that was read, and whoever waits for it."""

    outcome: Outcome
    data: bytes
    future: Future[Loaded]


class Loader:
    """Loads the inputs of a run in other threads, each content once.

    Args:
        work: the inputs.
        model: prepares pictures.
        readers: threads that read: a slow disk answers several questions at once sooner than one after the other.
        workers: threads that decode.
        meter: is told how long each stage takes.
    """

    def __init__(self, work: Work, model: ImageEncoder, readers: Executor, workers: Executor, meter: Meter) -> None:
        self._work = work
        self._model = model
        self._readers = readers
        self._workers = workers
        self._meter = meter
        self._lock = Lock()
        # What was read before its predecessors, by number.
        self._early: dict[int, _Arrival] = {}
        self._next = 0
        self._claimed: set[str] = set()

    def submit(self, number: int) -> Future[Loaded]:
        """Begin to load an input; all are to be begun in their order."""
        future: Future[Loaded] = Future()
        _submit(self._readers, future, lambda: self._read(number, future))
        return future

    def _read(self, number: int, future: Future[Loaded]) -> None:
        with self._meter.busy("read"):
            try:
                data, size, mtime_ns = self._work.inputs.read(number)
                outcome = Outcome(hashlib.sha256(data).hexdigest(), size, mtime_ns)
            except OSError as error:
                data, outcome = b"", Outcome(None, -1, -1, f"can't be read: {error.strerror}")
        # Of equal pictures the first is decoded, whichever was read first: so a run does the same each time.
        with self._lock:
            self._early[number] = _Arrival(outcome, data, future)
            while (arrival := self._early.pop(self._next, None)) is not None:
                self._arrived(self._next, arrival)
                self._next += 1

    def _arrived(self, number: int, arrival: _Arrival) -> None:
        """Have a content decoded that is met for the first time."""
        name, future = arrival.outcome.content_hash, arrival.future
        if name is None or name in self._work.known or name in self._claimed:
            future.set_result(Loaded(number, arrival.outcome))
            return
        self._claimed.add(name)
        _submit(self._workers, future, lambda: future.set_result(self._decode(number, arrival)))

    def _decode(self, number: int, arrival: _Arrival) -> Loaded:
        with self._meter.busy("decode"):
            try:
                decoded = images.decode(arrival.data, enough=images.enough_for(self._model.side))
                thumbnail = Thumbnail(decoded.width, decoded.height, images.thumbnail(decoded.image))
                return Loaded(number, arrival.outcome, self._model.prepare(decoded.image), thumbnail)
            except ImageError as error:
                return Loaded(number, replace(arrival.outcome, reason=str(error)))


def _submit(pool: Executor, future: Future[Loaded], work: Callable[[], None]) -> None:
    """Have work done that sets a future's result; what it raises is the future's exception."""

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 (raised again by whoever waits for the future)
            future.set_exception(error)

    try:
        pool.submit(run)
    except RuntimeError as error:
        # The pool is shut down, and nobody waits any more; or the system gives it no thread.
        if not future.cancelled():
            future.set_exception(error)
