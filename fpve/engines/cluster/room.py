"""Room: how many workers a cluster has room for, and what the first of them waits for where it has none yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fpve.engines.cluster.cluster import Cluster
from fpve.errors import ClusterError
from fpve.events import Events

Said = Callable[[str], None]

# The event that tells what is waited for in a cluster that is full.
CLUSTER_FULL = "cluster_full"
# In so many seconds a worker begins where there is room for it; who waits for longer wants to know what for.
_PATIENCE = 5.0
# Ray counts ten-thousandths.
_ALIKE = 1e-3


def workers_of(cluster: Cluster, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many workers there will be on nodes with these resources (`CPU`, `GPU`).

    Raises:
        ClusterError: no node is large enough for one.
    """
    room = sum(
        min(
            int(node.get(name, 0) / needed) for name, needed in (("CPU", cluster.cpus), ("GPU", cluster.gpus)) if needed
        )
        for node in nodes
    )
    if not room:
        most = [f"{max((node.get(name, 0) for node in nodes), default=0):g} {name}s" for name in ("CPU", "GPU")]
        raise ClusterError(
            f"no node of the Ray cluster has room for a worker of {cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs: the "
            f"largest have {' and '.join(most)}; ask for less with --cpus-per-worker and --gpus-per-worker"
        )
    return min(room, cluster.workers or room)


def say(waiting_for: str) -> None:
    """Send the event of what is waited for, where it is no run that waits."""
    Events("fpve", None).send(CLUSTER_FULL, level=logging.WARNING, waiting_for=waiting_for)


class Waiting:
    """Work that waits for its first worker: says what for, once, if none has room after some seconds.

    Args:
        needed: what a worker needs, by the names of Ray's resources.
        workers: how many were asked for.
        said: is told.
    """

    def __init__(self, needed: Mapping[str, float], workers: int, said: Said) -> None:
        self._workers = workers
        self._needed = {name: count for name, count in needed.items() if count}
        self._said: Said | None = said
        self._start = time.monotonic()

    def look(self) -> bool:
        """Whether some of the workers wait for room: to be asked every now and then, until all of them are there."""
        if time.monotonic() - self._start < _PATIENCE:
            return False
        waiting, text = _lacking(self._needed)
        # Where fewer wait, others are being begun.
        if waiting >= self._workers and self._said is not None:
            said, self._said = self._said, None
            said(text)
        return waiting > 0


def _lacking(needed: Mapping[str, float]) -> tuple[int, str]:
    """How many wait who asked for so much, and what for, in words; 0 where it can't be told."""
    import ray

    address = ray.get_runtime_context().gcs_address
    try:
        from ray.autoscaler.v2.sdk import get_cluster_status

        status = get_cluster_status(address)
    except Exception:  # noqa: BLE001 (what Ray's own tools ask is promised to nobody, and work does not depend on it)
        return 0, ""
    asked = [one for demand in status.resource_demands.ray_task_actor_demand for one in demand.bundles_by_count]
    waiting = sum(one.count for one in asked if _is_alike(one.bundle, needed))
    usage = {one.resource_name: one for one in status.cluster_resource_usage}
    wants = " and ".join(amount(count, name) for name, count in needed.items())
    has = " and ".join(
        f"{amount(usage[name].total, name) if len(needed) > 1 else f'{usage[name].total:g}'}, of which "
        f"{usage[name].used:g} {'is' if usage[name].used == 1 else 'are'} used"
        for name in needed
        if name in usage
    )
    return waiting, f"waiting for {wants} of the Ray cluster at {address}; it has {has}"


def _is_alike(bundle: Mapping[str, Any], needed: Mapping[str, float]) -> bool:
    return all(abs(bundle.get(name, 0) - count) < _ALIKE for name, count in needed.items())


def amount(count: float, name: str) -> str:
    """So many of something, in words: `2 CPUs`."""
    return f"{count:g} {name}" if count == 1 else f"{count:g} {name}s"
