"""One writer a store: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fpve.errors import StoreLocked
from fpve.store.files import make_directory, make_root


@contextmanager
def writer_lock(root: Path, job: str) -> Iterator[None]:
    """Hold the store at `root` for writing.

    Raises:
        StoreLocked: another writer holds it; the text says who.
    """
    make_root(root)
    folder = make_directory(root, "state")
    owner = folder / "writer.json"
    try:
        with FileLock(folder / "lock", timeout=0):
            owner.write_text(json.dumps(_self(job)), encoding="utf-8")
            try:
                yield
            finally:
                owner.unlink(missing_ok=True)
    except Timeout:
        raise StoreLocked(f"{root}: {_holder(owner)} is writing to this store; try again when it is done") from None


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
