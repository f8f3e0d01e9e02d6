"""Tries: how often each shard was begun, counted where no worker's death reaches it."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Tries:
    """Counts the tries of shards: what Ray makes an actor of, in a process beside the driver's."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, shard: int) -> int:
        """Count one more try of a shard, and say which it is, from 1."""
        self._begun[shard] += 1
        return self._begun[shard]


def count_tries() -> Any:
    """A handle of a new count, which workers can ask, on the machine of this process; it needs no CPU of its own."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Tries).remote()
