"""A store as its bucket has it, and not what a machine has of it: that is what is verified."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fpve.replica import begin_replica, replica_of

_NAME, _LOCK = "fresh-", ".lock"


@contextmanager
def afresh(root: Path) -> Iterator[Path]:
    """A store by a replica of its own, empty at first, and deleted afterwards; one in a directory is as it is."""
    found = replica_of(root)
    if found is None:
        yield root
        return
    _sweep(root.parent)
    folder = root.parent / f"{_NAME}{secrets.token_hex(8)}"
    lock = folder.with_suffix(_LOCK)
    with FileLock(lock):
        try:
            begin_replica(folder, found.bucket.url)
            yield folder
        finally:
            _remove(lock)


def _sweep(folder: Path) -> None:
    """Delete what processes left that were killed: as much as a replica may have, each time."""
    for lock in folder.glob(f"{_NAME}*{_LOCK}"):
        with suppress(Timeout, OSError), FileLock(lock, timeout=0):
            _remove(lock)


def _remove(lock: Path) -> None:
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    lock.unlink(missing_ok=True)
