"""How many threads torch uses within a call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

_lock = threading.Lock()
_callers = 0
_before = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread; when the last of several callers leaves, it is as it was."""
    import torch

    global _callers, _before
    with _lock:
        if _callers == 0:
            _before = torch.get_num_threads()
        _callers += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _callers -= 1
            torch.set_num_threads(_before if _callers == 0 else 1)


def as_many_as_are_free() -> AbstractContextManager[None]:
    """Let torch use all cores in the main thread, and one in any other: the other cores are busy then.

    torch's threads wait for one another, so that a call takes many times as long where some of them have no core.
    """
    return nullcontext() if threading.current_thread() is threading.main_thread() else one_thread()
