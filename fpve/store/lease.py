"""Leases: what a reader has open is not pruned from under it.

A reader holds a shared lock on the manifest of its snapshot, which the operating system drops when the reader dies.
Nobody waits for it: `prune` passes over a manifest that it can't lock for itself. On a file system without such locks,
and for programs that read the Parquet files by themselves, there is the grace period of `prune`.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lease:
    """A claim on the snapshot of one manifest, for as long as this object lives."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __del__(self, close=os.close) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Let go. At the end of a process `os` may be gone before this is called."""
        close(self._handle)


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


def remove_unclaimed(manifest: Path) -> bool:
    """Delete a manifest, unless a reader holds it; whether it is gone."""
    try:
        handle = os.open(manifest, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        if not _lock(handle, fcntl.LOCK_EX):
            return False
        manifest.unlink()
        return True
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # No locks here.
        return True
    return True
