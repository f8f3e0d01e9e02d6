"""The tally: how often each shard was begun and how far it is, counted where no worker's death reaches it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, NamedTuple


class Standing(NamedTuple):
    """How it stands.

    Attributes:
        begun: how many shards have been begun.
        reached: how many inputs of a shard are done, by its number: of shards that are being worked on.
    """

    begun: int
    reached: dict[int, int]


class Tally:
    """Counts what workers tell it: what Ray makes an actor of, in a process beside the driver's."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()
        self._reached: dict[int, int] = {}

    def begin(self, shard: int) -> int:
        """Count one more try of a shard, and say which it is, from 1."""
        self._begun[shard] += 1
        self._reached[shard] = 0
        return self._begun[shard]

    def reach(self, shard: int, count: int) -> None:
        """Take note that so many inputs of a shard are done."""
        self._reached[shard] = count

    def end(self, shard: int) -> None:
        """Forget how far a shard is: its receipt tells."""
        self._reached.pop(shard, None)

    def standing(self) -> Standing:
        """How it stands."""
        return Standing(len(self._begun), self._reached)


def begin_tally() -> Any:
    """A handle of a new tally, which workers can ask, on the machine of this process; it needs no CPU of its own."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Tally).remote()


class ToldStage:
    """A stage of one shard that tells the tally now and then how far it is: some bytes, and nobody waits for them.

    Args:
        tally: a handle of it.
        shard: the shard's number.
        seconds: how long it keeps to itself what is done.
    """

    def __init__(self, tally: Any, shard: int, seconds: float) -> None:
        self._tally = tally
        self._shard = shard
        self._seconds = seconds
        self._done = 0
        self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count, and tell if it is time."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= self._seconds:
            self._last = now
            self._tally.reach.remote(self._shard, self._done)

    def limited_by(self, part: str) -> None:
        """Nobody is told: receipts say it."""
