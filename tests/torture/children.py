"""Operations on a store in child processes that can be killed at a chosen file-system event, or after a chosen time.

Children are forked from a server that has imported everything and started no thread, so that one costs little.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

from fpve.config import Job

# Audit events that change a directory. Opening is one if it is for writing, or of a file that is not named yet:
# Arrow and FAISS write without Python seeing it, and what they wrote is opened for its fsync or its checksum.
_CHANGES = frozenset(
    ["os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "shutil.rmtree"]
)


@dataclass(frozen=True)
class Operation:
    """Something that writes to the store of a job.

    Attributes:
        name: of a function of fpve.
        arguments: its keywords, besides the job or the store.
    """

    name: str
    job: Job
    arguments: dict[str, Any] = field(default_factory=dict)

    def perform(self) -> Any:
        """Do it in this process; a run's report, or nothing."""
        import fpve

        if self.name == "run":
            return fpve.run(self.job, allow_removals=True)
        getattr(fpve, self.name)(self.job.store, **self.arguments)
        return None


def _die(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _delete_store(job: Job) -> None:
    shutil.rmtree(job.store)


def _replace_store(job: Job) -> None:
    shutil.rmtree(job.store)
    job.store.mkdir()


def _move_sources(job: Job) -> None:
    for collection in job.collections:
        collection.source.rename(collection.source.with_name(f"{collection.source.name}-away"))


# What can happen to a child.
_FATES: dict[str, Callable[[Job], None]] = {
    "killed": _die,
    "store deleted": _delete_store,
    "store replaced": _replace_store,
    "sources moved": _move_sources,
}


@dataclass(frozen=True)
class Kill:
    """When something happens to a child, and what.

    Attributes:
        event: before which of its events, from 1.
        seconds: how long after its start it is killed; with neither nothing happens.
        fate: what happens before the event: it is `killed`, `store deleted`, `store replaced` by an empty directory,
            `sources moved` away.
    """

    event: int | None = None
    seconds: float | None = None
    fate: str = "killed"


@dataclass(frozen=True)
class Outcome:
    """What became of a child.

    Attributes:
        killed: whether it was killed before it was done.
        events: how many it had.
        last: the last of them, as `function: event`.
        trail: all of them.
        seconds: from its start to its end, if it was not killed.
        report: what the operation returned.
        error: what it raised, with its class.
        foreseen: whether that is an error that the command line says in one line.
    """

    killed: bool
    events: int
    last: str
    trail: tuple[str, ...] = ()
    seconds: float = 0.0
    report: Any = None
    error: str | None = None
    foreseen: bool = True


@cache
def server() -> ForkServerContext:
    """The server that children are forked from, with everything imported that an operation needs."""
    context = multiprocessing.get_context("forkserver")
    # Children import the main module of this process.
    main = ["pytest"] if "pytest" in sys.modules else []
    context.set_forkserver_preload(["torture.preload", *main])
    environment = {
        # The server's threads would not be in the children.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        # Python 3.11 does not hand sys.path to the server, which puts the working directory before everything else.
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONSAFEPATH": "1",
    }
    with mock.patch.dict(os.environ, environment):
        forkserver.ensure_running()
    return context


def in_child(operation: Operation, kill: Kill = Kill(), *, mark: Path) -> Outcome:
    """Perform an operation in a child; `mark` is a file for its events, outside the store."""
    context = server()
    mark.write_bytes(b"")
    mine, theirs = context.Pipe()
    child = context.Process(target=_work, args=(operation, kill, mark, theirs))
    child.start()
    theirs.close()
    answer: dict[str, Any] = {}
    try:
        mine.recv()
        if kill.seconds is not None and not mine.poll(kill.seconds):
            child.kill()
        answer = mine.recv()
    except EOFError:
        pass
    finally:
        child.join()
        mine.close()
    trail = tuple(mark.read_text().splitlines())
    code = child.exitcode
    child.close()
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{operation.name}: its process ended with {code}")
    last = trail[-1] if trail else "before the first event"
    return Outcome(not answer, len(trail), last, trail, **answer)


def _work(operation: Operation, kill: Kill, mark: Path, pipe: Any) -> None:
    from torture.world import use_small_files

    from fpve.errors import FpveError

    use_small_files()
    _watch(operation.job, kill, os.open(mark, os.O_WRONLY))
    pipe.send(None)
    start = time.perf_counter()
    try:
        answer = {"report": operation.perform()}
    except Exception as error:  # noqa: BLE001 (whatever it is, the test must see it)
        answer = {"error": f"{type(error).__name__}: {error}", "foreseen": isinstance(error, FpveError | OSError)}
    pipe.send(answer | {"seconds": time.perf_counter() - start})


def _watch(job: Job, kill: Kill, mark: int) -> None:
    """Write down every event below a job's store, and let happen what is to happen before one of them."""
    below = os.fsencode(job.store) + b"/"
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event != "open" and event not in _CHANGES:
            return
        if not _is_below(below, event, arguments):
            return
        if event == "open" and not _for_writing(arguments) and b".tmp" not in os.fsencode(arguments[0]):
            return
        count += 1
        # Not through Python's files: a child that is killed flushes nothing.
        os.write(mark, f"{_stage()}: {event}\n".encode())
        if count == kill.event:
            _FATES[kill.fate](job)

    sys.addaudithook(hook)


def _is_below(below: bytes, event: str, arguments: tuple[Any, ...]) -> bool:
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    # rmtree works with names relative to a directory that it has open; nothing else here does.
    relative = event in ("os.remove", "os.rmdir") and arguments[-1] != -1
    return relative or os.fsencode(path).startswith(below)


def _for_writing(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


# Functions that only pass a call on say little of where it is.
_PASSING = frozenset(
    [
        "write_durably",
        "make_directory",
        "write_named_by_content",
        "_fill_temporary",
        "write_temporary",
        "fsync_directory",
    ]
)


def _stage() -> str:
    """The innermost function of fpve that says what is being done."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_name
        if f"{os.sep}fpve{os.sep}" in frame.f_code.co_filename and name not in _PASSING and not name.startswith("<"):
            return name.lstrip("_")
        frame = frame.f_back
    return "elsewhere"
