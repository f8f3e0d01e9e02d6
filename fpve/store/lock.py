"""One writer a store: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fpve.errors import StoreLocked
from fpve.store.files import make_directory, make_root

# Who waits may wait for hours: it need not look more often.
_POLL_SECONDS = 0.5

# Is given who holds a store, and is entered while that is waited for.
Waiting = Callable[[str], AbstractContextManager[object]]


@contextmanager
def writer_lock(root: Path, job: str, *, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the store at `root` for writing.

    Args:
        root: the store.
        job: what writes, for whoever finds it locked.
        waiting: where it is given, another writer is waited for, inside of what it returns.

    Raises:
        StoreLocked: another writer holds it, and is not waited for; the text says who.
    """
    make_root(root)
    folder = make_directory(root, "state")
    owner = folder / "writer.json"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is None:
            raise StoreLocked(f"{root}: {_holder(owner)} is writing to this store; try again when it is done") from None
        with waiting(_holder(owner)):
            lock.acquire(poll_interval=_POLL_SECONDS)
    try:
        owner.write_text(json.dumps(_self(job)), encoding="utf-8")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _self(job: str) -> dict[str, str | int]:
    return {
        "job": job,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(owner: Path) -> str:
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
        return f"job {found['job']!r} (process {found['pid']} on {found['host']}, since {found['since']})"
    except (OSError, ValueError, KeyError):
        # It has the lock, but has not yet written who it is.
        return "another process"
