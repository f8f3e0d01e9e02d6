"""Where the time of encoding goes, and which stage limits it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

STAGES = ("read", "decode", "encode", "write")
# Where threads that share the cores are busy for so much of the time, the cores are the limit.
_BUSY = 0.8


class Meter:
    """Adds up how long threads were busy with each stage.

    Args:
        readers: how many threads read.
        workers: how many threads decode and encode.
    """

    def __init__(self, *, readers: int, workers: int) -> None:
        self._slots = {"read": readers, "decode": workers, "encode": workers, "write": 1}
        self._shared = True
        self._busy = dict.fromkeys(STAGES, 0.0)
        self._lock = Lock()
        self._start = time.perf_counter()

    def encodes_apart(self, threads: int) -> None:
        """Encoding has threads of its own, as for a GPU."""
        self._slots["encode"] = threads
        self._shared = False

    @contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Count the time within as spent on a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self._busy[stage] += spent

    @property
    def seconds(self) -> dict[str, float]:
        """Thread seconds that each stage was busy."""
        with self._lock:
            return dict(self._busy)

    @property
    def limit(self) -> str:
        """The stage without which all would go faster: the one whose threads wait the least."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        seconds = self.seconds
        load = {stage: spent / (elapsed * self._slots[stage]) for stage, spent in seconds.items()}
        cores = (seconds["decode"] + seconds["encode"]) / (elapsed * self._slots["decode"])
        if self._shared and cores > _BUSY:
            return max(("decode", "encode"), key=lambda stage: seconds[stage])
        return max(load, key=lambda stage: load[stage])
