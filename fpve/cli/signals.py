"""Ending at a signal: at once, in one line, with what was finished kept."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import click

_MESSAGE = "fpve: interrupted; what was finished is kept, run the same command again to go on"
# For the report, the log and the metrics of an interrupted run; on a disk that hangs they are done without.
_GRACE_SECONDS = 10.0
# What a thread of a run that failed may need to end what it is at.
_THREAD_SECONDS = 2.0
# A terminal that was closed is a signal too.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(BaseException):
    """A signal arrived. Not a KeyboardInterrupt, which click would take for its own."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals raise `Interrupted` in the main thread, the first time, and end the process the second time.

    A signal that whoever started this program had it ignore, as nohup does, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(signum: int, _frame: FrameType | None) -> None:
        if seen:
            leave(signum)
        seen.append(signum)
        timer = threading.Timer(_GRACE_SECONDS, leave, [signum])
        timer.daemon = True
        timer.start()
        raise Interrupted(signum)

    before = {}
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        if not seen:
            for number, handler in before.items():
                signal.signal(number, handler)


def end_without_waiting(code: int) -> NoReturn:
    """End the process with a code; threads of a run that wait for a disk that hangs are not waited for."""
    end = time.monotonic() + _THREAD_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith("fpve-"):
            thread.join(max(end - time.monotonic(), 0))
            if thread.is_alive():
                with suppress(OSError, ValueError):
                    sys.stdout.flush()
                os._exit(code)
    sys.exit(code)


def end_at_once(code: int) -> NoReturn:
    """End the process with a code: no thread is waited for, nor is what libraries clean up, which takes seconds."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    logging.shutdown()
    os._exit(code)


def leave(signum: int) -> NoReturn:
    """End the process with the code that shells give to a signal, without waiting for any thread."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        click.echo(_MESSAGE, err=True)
        logging.shutdown()
    finally:
        # Threads that decode a file from a disk that hangs would be waited for otherwise.
        os._exit(128 + signum)
