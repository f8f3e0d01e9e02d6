"""One writer a store: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fpve.errors import StoreLocked
from fpve.store.files import make_directory, make_root

# Who waits may wait for hours: it need not look more often.
_POLL_SECONDS = 0.5

# Is given who holds a store, and is entered while that is waited for.
Waiting = Callable[[str], AbstractContextManager[object]]

_FOLDER, _OWNER = "state", "writer.json"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes to a store.

    Attributes:
        job: what for.
        host, pid: in which process.
        since: by the clock of that machine, in ISO 8601.
    """

    job: str
    host: str
    pid: int
    since: str

    @classmethod
    def this(cls, job: str) -> Owner:
        """This process, since now."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(job, socket.gethostname(), os.getpid(), since)

    @classmethod
    def of(cls, root: Path) -> Owner:
        """Who holds the lock of a store on this machine; if nobody does, this process."""
        try:
            return cls(**json.loads((root / _FOLDER / _OWNER).read_bytes()))
        except (OSError, ValueError, TypeError):
            return cls.this("fpve")

    def to_bytes(self) -> bytes:
        """As it is written for others."""
        return json.dumps(asdict(self)).encode()

    def __str__(self) -> str:
        return f"job {self.job!r} (process {self.pid} on {self.host}, since {self.since})"


def in_words(content: bytes) -> str:
    """Who has written that, for people."""
    try:
        return str(Owner(**json.loads(content)))
    except (ValueError, TypeError):
        # It has the lock, but has not yet written who it is.
        return "another process"


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
    folder = make_directory(root, _FOLDER)
    owner = folder / _OWNER
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is None:
            raise StoreLocked(f"{root}: {_holder(owner)} is writing to this store; try again when it is done") from None
        with waiting(_holder(owner)):
            lock.acquire(poll_interval=_POLL_SECONDS)
    try:
        owner.write_bytes(Owner.this(job).to_bytes())
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _holder(owner: Path) -> str:
    try:
        return in_words(owner.read_bytes())
    except OSError:
        return in_words(b"")
