"""How many threads torch uses within a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

_T = TypeVar("_T")

# One for the process, as is the number that it guards.
_LOCK = threading.Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread in calls from this thread; afterwards it uses as many as before."""
    import torch

    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    _set_threads(1)
    try:
        yield
    finally:
        _set_threads(before)


def _set_threads(number: int) -> None:
    """Set torch's number of threads for the calling thread alone.

    torch keeps a number for each thread and one for the process, which threads get that are new to it.
    `set_num_threads` sets both: without more, threads that first meet torch within a call would have one for good. Only
    a new thread can tell the number of the process. To start two takes 0.1 ms, a batch hundreds of times that.
    """
    import torch

    with _LOCK:
        usual = _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(number)
        if usual != number:
            _in_new_thread(lambda: torch.set_num_threads(usual))


def _in_new_thread(work: Callable[[], _T]) -> _T:
    found: list[_T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def as_many_as_are_free() -> AbstractContextManager[None]:
    """Let torch use all cores in the main thread, and one in any other: the other cores are busy then.

    torch's threads wait for one another, so that a call takes many times as long where some of them have no core.
    """
    return nullcontext() if threading.current_thread() is threading.main_thread() else one_thread()
