"""The cluster: which Ray work is done on, and by how many workers of what size."""

from __future__ import annotations

from dataclasses import dataclass

from fpve.errors import ClusterError

# An attempt costs a shard's time: two more help against a lost node, and don't hold up for long what can't succeed.
DEFAULT_RETRIES = 2
NO_RAY = "expected Ray for the engine 'ray', which is not installed: pip install 'fpve[ray]'"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where work is done, and by whom.

    Attributes:
        address: `HOST:PORT` of a Ray cluster; `local` for a Ray of one's own on this machine. None takes the cluster
            that RAY_ADDRESS names, or that runs on this machine, or else begins one of this machine, for this work.
        workers: how many processes work; None for as many as the cluster has room for.
        cpus: CPUs of each, which are threads that decode and encode. By default 1, as with Ray: that has most images
            a second, each worker having a model of its own in memory.
        gpus: GPUs of each; a part such as 0.5 is shared.
        retries: how often what failed, or was lost with its worker, is tried again.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1
    gpus: float = 0
    retries: int = DEFAULT_RETRIES

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ClusterError: one is too small, or the address is one of Ray's clients.
        """
        check_no_client(self.address)
        for name, value, least in (("workers", self.workers, 1), ("gpus", self.gpus, 0), ("retries", self.retries, 0)):
            if value is not None and value < least:
                raise ClusterError(f"{name}: expected at least {least}, found {value}")
        if self.cpus <= 0:
            raise ClusterError(f"cpus: expected more than 0, found {self.cpus:g}")

    @property
    def threads(self) -> int:
        """Threads of a worker that keep its CPUs busy."""
        return max(1, int(self.cpus))

    @property
    def resources(self) -> dict[str, float]:
        """What a worker needs, as Ray's own options name it."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}


def check_engine(engine: object, cluster: Cluster | None) -> None:
    """Refuse a name of an engine that there is not, and a cluster for an engine that has none.

    Raises:
        ClusterError: naming the engines that there are.
    """
    if isinstance(engine, str) and engine not in ("local", "ray"):
        raise ClusterError(f"expected the engine 'local' or 'ray', found {engine!r}")
    if cluster is not None and engine != "ray":
        raise ClusterError("a cluster is for the engine 'ray': say engine = 'ray', or leave the cluster out")


def check_no_client(address: str | None) -> None:
    """Refuse the address of one of Ray's clients.

    Raises:
        ClusterError: it is such.
    """
    if address is not None and "://" in address:
        raise ClusterError(
            f"expected the address HOST:PORT of a Ray cluster, found {address!r}: what works through a client has no "
            "Ray Data; start fpve on a machine of the cluster, `ray job submit` does"
        )
