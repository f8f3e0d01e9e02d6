"""Leases: what a reader has open is not pruned from under it.

A reader holds a shared lock on the manifest of its snapshot, which the operating system drops when the reader dies.
Nobody waits for it: `prune` passes over a manifest that it can't lock for itself. On a file system without such locks,
and for programs that read the Parquet files by themselves, there is the grace period of `prune`.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

# What systems say whose file system has no locks.
_NO_LOCKS = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK))


class Lease:
    """A claim on the snapshot of one manifest, until it is released or nobody has it any more."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def release(self) -> None:
        """Let go; again it does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __del__(self) -> None:
        self.release()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied: a copy would close the same handle a second time, when it is another file's."""
        raise TypeError("a snapshot that is open can't be copied or pickled; open the store again")


def take(manifest: Path) -> Lease | None:
    """Claim a snapshot by its manifest; None if it is gone, or about to be.

    Raises:
        OSError: the manifest can't be opened.
    """
    try:
        handle = os.open(manifest, os.O_RDONLY)
    except FileNotFoundError:
        return None
    lease = Lease(handle)
    if not _lock(handle, fcntl.LOCK_SH) or os.fstat(handle).st_nlink == 0:
        return None
    return lease


def is_claimed(manifest: Path) -> bool:
    """Whether a reader holds a snapshot at the moment."""
    with _locked(manifest) as free:
        return not free


def remove_unclaimed(manifest: Path) -> bool:
    """Delete a manifest, unless a reader holds it; whether it is gone."""
    with _locked(manifest) as free:
        if free:
            manifest.unlink(missing_ok=True)
        return free


@contextmanager
def _locked(manifest: Path) -> Iterator[bool]:
    """Lock a manifest for oneself, if nobody else has; one that is gone is nobody's."""
    try:
        # For writing, though nothing is written: on network file systems only such a handle can be locked so.
        handle = os.open(manifest, os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    except OSError:
        handle = os.open(manifest, os.O_RDONLY)
    try:
        yield _lock(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> bool:
    """Whether a lock could be had; where there are none, everything can."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return True
