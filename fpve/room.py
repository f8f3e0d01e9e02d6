"""The room that replicas on a machine have: what was not asked for the longest gives way to what comes."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from fpve.errors import BucketError

# Files that are evicted where there is no room: the large ones, which never change under their name.
EVICTED = ("vectors", "images", "tables", "heads", "pending")
# How a file is called while it is fetched, at the end.
ARRIVING = ".fetched.tmp"

_DEFAULT_SIZE = "20GB"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
# As long as that a file is not evicted that was asked for: whoever did so may not have opened it yet.
_IN_USE_NS = 60 * 10**9
# What is fetched is written to until it is whole, and a line that says nothing for half a minute is given up: who was
# fetching what is older than that was killed.
_DEAD_NS = 3600 * 10**9
# Room is made once for so much of the bound.
_SLACK = 1 / 16
_WRITABLE = 0o222


class _File(NamedTuple):
    """A file that can be evicted: when it was asked for last, how large it is, and where."""

    asked_ns: int
    size: int
    path: Path


def size_limit() -> int:
    """How many bytes all replicas of this user may have: `$FPVE_CACHE_SIZE`, such as `200GB`.

    Raises:
        BucketError: that is no size.
    """
    text = os.environ.get("FPVE_CACHE_SIZE") or _DEFAULT_SIZE
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise BucketError(f"FPVE_CACHE_SIZE: expected a size such as 500MB or 200GB, found {text!r}")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def is_clean(here: os.stat_result) -> bool:
    """Whether a file is as its bucket has it: what has yet to be put there can be written to."""
    return stat.S_ISREG(here.st_mode) and not here.st_mode & _WRITABLE


class Room:
    """The room in a folder of replicas. Safe to use from many threads, and beside other processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        # Bytes that came since room was made.
        self._came: int | None = None

    def make(self, size: int, *, disk_is_full: bool = False) -> None:
        """Evict what was not asked for the longest, if what comes would be too much.

        Args:
            size: of what comes, in bytes.
            disk_is_full: whether there was no room for it, whatever the bound is.
        """
        limit = size_limit()
        with self._lock:
            if not disk_is_full and self._came is not None and self._came + size < limit * _SLACK:
                self._came += size
                return
            self._came = size
            found = sorted(self._evictable())
            spare = int(limit * _SLACK)
            excess = sum(one.size for one in found) + size + spare - limit
            self._evict(found, max(excess, size + spare) if disk_is_full else excess)

    def _evict(self, found: list[_File], excess: int) -> None:
        latest = time.time_ns() - _IN_USE_NS
        for one in found:
            if excess <= 0 or one.asked_ns > latest:
                break
            with suppress(OSError):
                if one.path.stat().st_atime_ns == one.asked_ns:
                    one.path.unlink()
                    excess -= one.size

    def _evictable(self) -> Iterator[_File]:
        """What can be evicted of all replicas; what killed processes were fetching is deleted on the way."""
        dead = time.time_ns() - _DEAD_NS
        base = len(self._folder.parts)
        for parent, _, names in os.walk(self._folder):
            is_evicted = Path(parent).parts[base + 1 : base + 2] in {(one,) for one in EVICTED}
            for name in names:
                path = Path(parent, name)
                with suppress(OSError):
                    if name.endswith(ARRIVING):
                        if path.stat().st_mtime_ns < dead:
                            path.unlink()
                    elif is_evicted and is_clean(here := path.stat()):
                        yield _File(here.st_atime_ns, here.st_size, path)


@lru_cache(8)
def room_in(folder: Path) -> Room:
    """The room in a folder of replicas, one for this process."""
    return Room(folder)
