"""Memory of this process, as Linux counts it: what is its own, and what are pages of files that it maps."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

_STATUS = Path("/proc/self/status")
# Seconds: what a search allocates for less than that is not seen, a build of minutes is.
_EVERY = 0.005
_MIB = 1024


def anonymous() -> float:
    """MiB of memory that belongs to no file (RssAnon): it can't be dropped and read again."""
    return _field("RssAnon")


def peak() -> float:
    """MiB of the most that was resident at any time (VmHWM), with pages of mapped files."""
    return _field("VmHWM")


class PeakAnonymous:
    """While it is entered, the most anonymous memory, in MiB, by looking many times a second."""

    def __init__(self) -> None:
        self.mib = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakAnonymous:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.mib = max(self.mib, anonymous())

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self.mib = max(self.mib, anonymous())


def _field(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / _MIB
