"""Computations in the background: one at a time, remembered, and let go of when nobody asks for them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest

from fpve.errors import QueryError, ServerBusy
from fpve.progress import Progress
from fpve.web import jobs as jobs_module
from fpve.web.jobs import Done, Jobs, Running

# Seconds after which a test hangs.
_LONG = 30


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Jobs for which nobody waits longer than a moment."""
    found = Jobs(wait=0.01)
    yield found
    found.close()


class Steps:
    """Work that does one step of ten each time that it is let.

    Attributes:
        begun: whether it is being done.
        ended: whether it is not any more; of work that was stopped, too.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self._lets = threading.Semaphore(0)

    def __call__(self, progress: Progress) -> str:
        """Do the steps."""
        try:
            with progress.stage("steps", 10) as stage:
                self.begun.set()
                for _ in range(10):
                    assert self._lets.acquire(timeout=_LONG)
                    stage.advance()
        finally:
            self.ended.set()
        return "done"

    def let(self, steps: int = 1) -> None:
        """Let it do some."""
        self._lets.release(steps)


def _wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _LONG
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.002)


def _done(jobs: Jobs, key: str, work: Callable[[Progress], Any], snapshot: int = 1) -> Done[Any]:
    until = time.monotonic() + _LONG
    while time.monotonic() < until:
        found = jobs.ask(snapshot, key, work)
        if isinstance(found, Done):
            return found
    raise TimeoutError(key)


def test_what_is_quick_is_answered_at_once() -> None:
    """Work that is done in a moment needs no second question, and is done once."""
    jobs = Jobs(wait=_LONG)
    asked: list[int] = []

    found = [jobs.ask(1, "key", lambda _: asked.append(1) or "found") for _ in range(3)]

    assert [one.found for one in found if isinstance(one, Done)] == ["found"] * 3
    assert asked == [1]


def test_what_takes_long_tells_how_far_it_is(jobs: Jobs) -> None:
    """Until it is done a question is answered with what is done of which stage."""
    steps = Steps()

    assert jobs.ask(1, "key", steps) in (Running(None, 0, None), Running("steps", 0, 10))
    steps.let(4)
    _wait(lambda: jobs.ask(1, "key", steps) == Running("steps", 4, 10))
    running = jobs.ask(1, "key", steps)
    assert isinstance(running, Running)
    told = json.loads(bytes(running.response(1).body))
    assert 0 < running.seconds < _LONG
    assert told.pop("seconds") == round(running.seconds, 1)
    assert told == {"snapshot": 1, "state": "running", "stage": "steps", "done": 4, "total": 10}
    steps.let(6)

    assert _done(jobs, "key", steps).found == "done"


def test_one_is_computed_at_a_time(jobs: Jobs) -> None:
    """Another one waits for its turn, as long as somebody asks for it."""
    first, second = Steps(), Steps()
    jobs.ask(1, "first", first)
    assert jobs.ask(1, "second", second) == Running(None, 0, None)
    assert not second.begun.is_set()

    first.let(10)
    _wait(second.begun.is_set)
    second.let(10)

    assert _done(jobs, "second", second).found == "done"
    assert _done(jobs, "first", Steps()).found == "done"


def test_an_error_is_told_once(jobs: Jobs) -> None:
    """What work raises is raised where it is asked for; whoever asks again has it tried again."""
    asked: list[int] = []

    def fail(_: Progress) -> str:
        asked.append(1)
        raise QueryError("k: expected at least 1, found 0")

    for count in (1, 2):
        with pytest.raises(QueryError, match="k: expected at least 1, found 0"):
            _done(jobs, "key", fail)
        assert len(asked) == count


def test_an_error_that_nobody_expects_is_logged_and_raised(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    """The log has its traceback; the thread goes on with others."""

    def fail(_: Progress) -> str:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(ZeroDivisionError, match="by nothing"):
        _done(jobs, "key", fail)

    assert "a computation failed" in caplog.text
    assert _done(jobs, "other", lambda _: 1).found == 1


def test_what_nobody_asks_for_is_stopped(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work ends where it next tells how far it is, and is begun anew when it is asked for after all."""
    steps = Steps()
    jobs.ask(1, "key", steps)
    _wait(steps.begun.is_set)

    monkeypatch.setattr(jobs_module, "_PATIENCE", 0)
    steps.let()
    assert steps.ended.wait(_LONG)

    monkeypatch.undo()
    assert _done(jobs, "key", lambda _: "anew").found == "anew"


def test_what_waits_lets_others_go_sooner(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has moved on to other options does not wait for the end of those that were left."""
    left, wanted = Steps(), Steps()
    jobs.ask(1, "left", left)
    _wait(left.begun.is_set)
    left.let()
    _wait(lambda: jobs.ask(1, "left", left) == Running("steps", 1, 10))

    jobs.ask(1, "wanted", wanted)
    monkeypatch.setattr(jobs_module, "_PATIENCE_OF_OTHERS", 0)
    left.let()

    assert left.ended.wait(_LONG)
    monkeypatch.undo()
    wanted.let(10)
    assert _done(jobs, "wanted", wanted).found == "done"


def test_a_newer_snapshot_ends_what_is_of_an_older_one(jobs: Jobs) -> None:
    """Nobody asks for an older snapshot again: what is computed of it is stopped, what was computed is forgotten."""

    class Found:
        pass

    known, steps = Found(), Steps()
    refers = ref(known)
    assert _done(jobs, "known", lambda _, found=known: found).found is known
    del known
    jobs.ask(1, "key", steps)
    _wait(steps.begun.is_set)

    assert _done_after(jobs, steps) == 2

    assert steps.ended.is_set()
    _wait(lambda: refers() is None)


def _done_after(jobs: Jobs, steps: Steps) -> int:
    """Ask for a newer snapshot while steps of an older one are done."""
    jobs.ask(2, "key", lambda _: 2)
    steps.let()
    return int(_done(jobs, "key", lambda _: 2, snapshot=2).found)


def test_what_is_done_keeps_nothing_of_its_work(jobs: Jobs) -> None:
    """Work refers to the snapshot that it is of, which is not to be kept from being pruned."""

    class Snapshot:
        pass

    def ask() -> ref[Snapshot]:
        snapshot = Snapshot()
        _done(jobs, "key", lambda _, of=snapshot: str(type(of)))
        return ref(snapshot)

    refers = ask()

    _wait(lambda: refers() is None)
    assert _done(jobs, "key", lambda _: "not asked again").found != "not asked again"


def test_the_last_ones_are_remembered(jobs: Jobs) -> None:
    """Eight results are kept, and of the others those that were asked for longest ago are computed again."""
    for key in range(10):
        _done(jobs, str(key), lambda _, key=key: key)
        _done(jobs, "0", lambda _: "again")

    assert _done(jobs, "0", lambda _: "again").found == 0
    assert _done(jobs, "9", lambda _: "again").found == 9
    assert _done(jobs, "1", lambda _: "again").found == "again"


def test_too_many_are_refused(jobs: Jobs) -> None:
    """Whoever asks for more than can be waited for is told so."""
    steps = Steps()
    for key in range(33):
        jobs.ask(1, str(key), steps)

    with pytest.raises(ServerBusy, match="found many computations waiting; ask again in a minute"):
        jobs.ask(1, "one more", steps)
    steps.let()


def test_an_end_stops_what_is_computed() -> None:
    """What runs ends where it tells how far it is, and what waits is not begun."""
    jobs = Jobs(wait=0.01)
    steps, other = Steps(), Steps()
    jobs.ask(1, "key", steps)
    jobs.ask(1, "other", other)
    _wait(steps.begun.is_set)
    threading.Timer(0.05, steps.let).start()

    jobs.close()

    assert steps.ended.wait(_LONG)
    assert not other.begun.is_set()
    assert jobs.ask(1, "after", other) == Running(None, 0, None)
    assert not other.begun.is_set()
