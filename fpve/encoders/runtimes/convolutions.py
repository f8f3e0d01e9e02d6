"""How cuDNN computes convolutions: a setting of the process, which calls that overlap share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class Shared:
    """A context that is entered with the first of several callers and left with the last.

    Settings of a process need it: of two callers that overlap, the first to leave would restore what was before while
    the other one still computes, and the other one would restore what the first had set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers = 0
        self._context: AbstractContextManager[None] | None = None

    @contextmanager
    def within(self, context: AbstractContextManager[None]) -> Iterator[None]:
        """Be within the context that the first caller gave; all callers give the same kind."""
        with self._lock:
            if not self._callers:
                context.__enter__()
                self._context = context
            self._callers += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers -= 1
                if not self._callers and self._context is not None:
                    self._context.__exit__(None, None, None)
                    self._context = None


# One for the process, as is what it guards.
_CONVOLUTIONS = Shared()


def exact_convolutions() -> AbstractContextManager[None]:
    """Keep cuDNN to float32.

    TF32, torch's default for convolutions, has 10 bits of mantissa: not the same vectors on every machine.
    """
    import torch

    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)
    return _CONVOLUTIONS.within(flags)
