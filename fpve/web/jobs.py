"""Long computations in the background, one at a time: begun by a request, asked for by others, remembered a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Self, TypeVar

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from fpve.errors import FpveError, ServerBusy
from fpve.progress import Progress

Found = TypeVar("Found")
_log = logging.getLogger(__name__)
# Seconds that a request waits for a computation: of a small store it is done then, and nobody sees that there was one.
_WAIT = 0.3
# Seconds after which nobody waits any more who has not asked again: a page asks every second, one that is hidden
# once a minute.
_PATIENCE = 75.0
# The same while another one waits for its turn: who has moved on to other options asks no more for these.
_PATIENCE_OF_OTHERS = 10.0
# Of a million images the largest results, maps, are 16 MB.
_REMEMBERED = 8
# More than a person has begun by moving a slider.
_WAITING = 32
# Seconds that an end waits for a computation to notice it.
_END = 2.0


class StillRunning(BaseModel):
    """Something that is being computed; ask again for it."""

    snapshot: int
    state: Literal["running"] = "running"
    stage: str | None = Field(description="What is being done; null before its turn, and before its first stage.")
    done: int = Field(description="How much of the stage is done.")
    total: int | None = Field(description="Of how much; null where that is not known.")
    seconds: float = Field(description="How long it has been computed; 0 before its turn.")


# Of an operation that may have to be asked again, for the document.
RUNNING: dict[int | str, dict[str, Any]] = {
    202: {"model": StillRunning, "description": "It is being computed: ask again in a second."}
}


@dataclass(frozen=True, slots=True)
class Done(Generic[Found]):
    """What was computed, and in how many seconds."""

    found: Found
    seconds: float


@dataclass(frozen=True, slots=True)
class Running:
    """How far a computation is.

    Attributes:
        stage: what is being done; None before its turn, and before its first stage.
        done: how much of that is done.
        total: of how much; None where that is not known.
        seconds: how long it has been computed; 0 before its turn.
    """

    stage: str | None
    done: int
    total: int | None
    seconds: float = field(default=0.0, compare=False)

    def response(self, snapshot: int) -> JSONResponse:
        """What a request is answered with: 202, and how far it is."""
        seconds = round(self.seconds, 1)
        told = StillRunning(snapshot=snapshot, stage=self.stage, done=self.done, total=self.total, seconds=seconds)
        return JSONResponse(told.model_dump(), 202)


class _LetGo(Exception):
    """Nobody waits for a computation any more."""


class _Job:
    """A computation.

    Attributes:
        snapshot: that it is of.
        work: computes it; None once it was begun.
        begun: when it was asked for first, and `asked` when last.
        started: when its turn came; None before.
        waiters: how many requests wait for it right now.
        is_let_go: whether nobody will ask for it again.
        stage, done, total: how far it is.
        ended: whether `found`, or else `error`, is what came of it, in so many `seconds`.
    """

    def __init__(self, snapshot: int, work: Callable[[Progress], Any]) -> None:
        self.snapshot = snapshot
        self.work: Callable[[Progress], Any] | None = work
        self.begun = self.asked = time.monotonic()
        self.started: float | None = None
        self.waiters = 0
        self.is_let_go = False
        self.stage: str | None = None
        self.done = 0
        self.total: int | None = None
        self.ended = threading.Event()
        self.found: Any = None
        self.error: Exception | None = None
        self.seconds = 0.0


class _Telling:
    """Tells a computation's requests how far it is, and ends it when there are none any more."""

    def __init__(self, job: _Job, check: Callable[[_Job], None]) -> None:
        self._job = job
        self._check = check

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Self]:
        """Begin with something else."""
        self._check(self._job)
        self._job.stage, self._job.done, self._job.total = name, 0, total
        yield self

    def advance(self, count: int = 1) -> None:
        """Be so much further."""
        self._check(self._job)
        self._job.done += count

    def limited_by(self, part: str) -> None:
        """Nobody is told."""


class Jobs:
    """Computations over the snapshots of one store. Safe to use from many threads.

    Attributes:
        wait: seconds that a request waits for one.
    """

    def __init__(self, *, wait: float = _WAIT) -> None:
        self.wait = wait
        self._lock = threading.Lock()
        # Those that wait, the one that runs, and those that are done: the last asked one at the end.
        self._jobs: dict[Hashable, _Job] = {}
        self._worker: threading.Thread | None = None
        self._is_closed = False

    def ask(self, snapshot: int, key: Hashable, work: Callable[[Progress], Found]) -> Done[Found] | Running:
        """What is computed for a key, if it is there within a moment; else how far it is.

        Args:
            snapshot: number of the snapshot that it is of. What is of older ones is let go: nobody asks for it again.
            key: what is computed, with all options.
            work: computes it, and tells how far it is; what it raises is raised here, once.

        Raises:
            ServerBusy: too much is waiting.
        """
        with self._lock:
            self._let_go_before(snapshot)
            job = self._jobs.pop((snapshot, key), None)
            if job is None:
                job = self._begun(snapshot, work)
            self._jobs[snapshot, key] = job
            job.asked = time.monotonic()
            job.waiters += 1
        job.ended.wait(self.wait)
        with self._lock:
            job.waiters -= 1
            job.asked = time.monotonic()
            if not job.ended.is_set():
                seconds = 0.0 if job.started is None else time.monotonic() - job.started
                return Running(job.stage, job.done, job.total, seconds)
            if job.error is not None:
                self._forget(job)
                raise job.error
            return Done(job.found, job.seconds)

    def close(self) -> None:
        """End the computation that runs, as soon as it tells how far it is, and begin no others."""
        with self._lock:
            self._is_closed = True
            self._jobs.clear()
            worker = self._worker
        if worker is not None:
            worker.join(_END)

    def _begun(self, snapshot: int, work: Callable[[Progress], Any]) -> _Job:
        if sum(not one.ended.is_set() for one in self._jobs.values()) > _WAITING:
            raise ServerBusy("expected to compute it soon, found many computations waiting; ask again in a minute")
        job = _Job(snapshot, work)
        if self._worker is None and not self._is_closed:
            self._worker = threading.Thread(target=self._work, name="gallery-jobs", daemon=True)
            self._worker.start()
        return job

    def _work(self) -> None:
        """Compute what waits, one after the other, and end when nothing does: a thread that waits keeps all alive."""
        while True:
            with self._lock:
                job = self._next()
                if job is None:
                    self._worker = None
                    return
            self._compute(job)
            with self._lock:
                done = [key for key, one in self._jobs.items() if one.ended.is_set()]
                for key in done[:-_REMEMBERED]:
                    del self._jobs[key]
            # A snapshot can be pruned that nothing refers to.
            del job

    def _compute(self, job: _Job) -> None:
        work, job.work = job.work, None
        if work is None:
            return
        job.started = time.monotonic()
        try:
            job.found = work(_Telling(job, self._check_waited_for))
        except _LetGo:
            return
        except FpveError as error:
            # Its traceback refers to the snapshot.
            job.error = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 (logged, and raised again where it is asked for)
            _log.exception("a computation failed")
            job.error = error.with_traceback(None)
        job.seconds = time.monotonic() - job.started
        job.ended.set()

    def _next(self) -> _Job | None:
        """What was begun first of all that somebody still waits for."""
        now = time.monotonic()
        waiting = [one for one in self._jobs.values() if not one.ended.is_set()]
        for job in sorted(waiting, key=lambda one: one.begun):
            if self._is_waited_for(job, now):
                return job
            self._forget(job)
        return None

    def _is_waited_for(self, job: _Job, now: float) -> bool:
        """Whether anybody still waits for a computation that is not done."""
        if self._is_closed or job.is_let_go:
            return False
        others = any(one is not job and not one.ended.is_set() for one in self._jobs.values())
        patience = _PATIENCE_OF_OTHERS if others else _PATIENCE
        return job.waiters > 0 or now - job.asked < patience

    def _let_go_before(self, snapshot: int) -> None:
        for job in [one for one in self._jobs.values() if one.snapshot < snapshot]:
            self._forget(job)

    def _forget(self, job: _Job) -> None:
        job.is_let_go = True
        self._jobs = {key: one for key, one in self._jobs.items() if one is not job}

    def _check_waited_for(self, job: _Job) -> None:
        """Stop a computation that nobody waits for.

        Raises:
            _LetGo: it is one.
        """
        with self._lock:
            if not self._is_waited_for(job, time.monotonic()):
                self._forget(job)
                raise _LetGo
