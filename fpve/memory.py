"""Memory: how much there is, and giving it back to the system."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

# Of control groups, version 2 and 1: what a container sees as its own.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def give_back() -> None:
    """Have the allocators return what they hold and nobody uses.

    Threads that decode leave freed memory behind in pieces, in an arena each, and it grows for as long as they run.
    """
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # of the GNU C library only
        ctypes.CDLL(None).malloc_trim(0)


def usable() -> int:
    """Bytes that this process may use: the machine's, or what its control group allows."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        # "max" where nothing is limited; a file that is not there in other versions, and on other systems.
        with suppress(OSError, ValueError):
            bounds.append(int(Path(path).read_text(encoding="ascii")))
    return min(bounds)


def mappable() -> int | None:
    """How many more files this process may map; None where nobody says."""
    try:
        bound = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
        return bound - Path("/proc/self/maps").read_bytes().count(b"\n")
    except (OSError, ValueError):
        return None
