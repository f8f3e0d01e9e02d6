"""Giving memory back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back() -> None:
    """Have the allocators return what they hold and nobody uses.

    Threads that decode leave freed memory behind in pieces, in an arena each, and it grows for as long as they run.
    """
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # of the GNU C library only
        ctypes.CDLL(None).malloc_trim(0)
