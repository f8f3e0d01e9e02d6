"""The cluster: which Ray work is done on, by how many workers, and being connected with it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fpve.errors import ClusterError

# An attempt costs a shard's time: two more help against a lost node, and don't hold up for long what can't succeed.
DEFAULT_RETRIES = 2
# Seconds in which a machine answers whoever connects with it, however far it is.
_PATIENCE = 10.0
_FIRST_LINE = b"Set ray log level from environment variable"
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
        _check_no_client(self.address)
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


@contextmanager
def connected(cluster: Cluster) -> Iterator[int]:
    """Be connected with Ray, which says nothing meanwhile; how many workers there will be.

    A connection that there is already is used as it is, and stays.

    Raises:
        ClusterError: Ray is not installed, does not answer, or has no room for a single worker.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(f"{NO_RAY} ({error})") from None
    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(_quiet_environment())
            _connect(ray, cluster)
            stack.callback(ray.shutdown)
        stack.enter_context(_quiet(ray))
        yield _workers(ray, cluster)


def _connect(ray: Any, cluster: Cluster) -> None:
    where = cluster.address or os.environ.get("RAY_ADDRESS") or "this machine"
    _check_no_client(where)
    try:
        _check_listens(where)
        with _without_its_first_line(), _same_signals():
            ray.init(
                address=cluster.address,
                include_dashboard=False,
                # What workers print would stand between the lines of whoever prints here.
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, OSError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        # Of one that wants a token, as those of `ray start` do once there is a file of it, Ray says no more.
        token = "; if it wants a token, set RAY_AUTH_MODE=token" if said.startswith("Failed to connect") else ""
        raise ClusterError(f"no Ray cluster answers at {where} ({said}): start one with `ray start`{token}") from None


@contextmanager
def _without_its_first_line() -> Iterator[None]:
    """Have Ray's native part not say on stderr that it was told to be quiet; all else that is said meanwhile stays."""
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        try:
            os.dup2(said.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            said.seek(0)
            os.write(stderr, b"".join(line for line in said if _FIRST_LINE not in line))
            os.close(stderr)


def _check_no_client(address: str | None) -> None:
    """Refuse the address of one of Ray's clients.

    Raises:
        ClusterError: it is such.
    """
    if address is not None and "://" in address:
        raise ClusterError(
            f"expected the address HOST:PORT of a Ray cluster, found {address!r}: what works through a client has no "
            "Ray Data; start fpve on a machine of the cluster, `ray job submit` does"
        )


def _check_listens(address: str) -> None:
    """See that somebody listens at HOST:PORT: Ray itself would go on asking for minutes.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


@contextmanager
def _same_signals() -> Iterator[None]:
    """Leave SIGTERM to who had it: Ray takes it, where it can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _quiet_environment() -> Iterator[None]:
    """Have Ray do what it does in quiet, and not report its use to its makers."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Without it Ray warns that workers without a GPU will see those of their machine in some later version.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Its native part warns on stderr of what Ray Data does with actors.
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Have Ray neither draw bars nor print or log to the terminal: whoever asked for the work is told of it."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data's files of logs stay.
    handlers = [one for one in logging.getLogger("ray.data").handlers if isinstance(one, logging.StreamHandler)]
    levels = [one.level for one in handlers]
    # What raylets say of a worker that dies is printed to stdout, also without `log_to_driver`; this is the one switch.
    printing = import_module("ray._private.worker")
    prints = getattr(printing, "_worker_logs_enabled", True)
    try:
        for one in handlers:
            one.setLevel(logging.CRITICAL)
        printing._worker_logs_enabled = False  # type: ignore[attr-defined]
        with ray.data.DataContext.current(context):
            yield
    finally:
        printing._worker_logs_enabled = prints  # type: ignore[attr-defined]
        for one, level in zip(handlers, levels, strict=True):
            one.setLevel(level)


def _workers(ray: Any, cluster: Cluster) -> int:
    """How many workers there will be.

    Raises:
        ClusterError: no node is large enough for one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
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
