"""Being connected with a Ray cluster, which says nothing of its own meanwhile."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

from fpve.encoders.runtimes.machine import cores
from fpve.engines.cluster.cluster import NO_RAY, Cluster, check_no_client
from fpve.engines.cluster.room import amount, workers_of
from fpve.errors import ClusterError

# Seconds in which a machine answers whoever connects with it, however far it is.
_PATIENCE = 10.0
_FIRST_LINE = b"Set ray log level from environment variable"


@contextmanager
def connected(cluster: Cluster) -> Iterator[int]:
    """Be connected with Ray, which says nothing meanwhile; how many workers there will be.

    A connection that there is already is used as it is, and stays.

    Raises:
        ClusterError: Ray is not installed, does not answer, or has no room for a single worker.
    """
    try:
        import ray
    except ImportError as error:
        raise ClusterError(f"{NO_RAY} ({error})") from None
    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(_quiet_environment())
            _connect(ray, cluster)
            stack.callback(ray.shutdown)
        stack.enter_context(_no_worker_logs())
        yield workers_of(cluster, [node["Resources"] for node in ray.nodes() if node["Alive"]])


class Expected(NamedTuple):
    """Where work would be done.

    Attributes:
        where: in words.
        cpus: of all workers together.
    """

    where: str
    cpus: float


def expected(cluster: Cluster) -> Expected:
    """Where work would be done. A cluster that is there is asked, none is begun.

    Raises:
        ClusterError: as `connected`.
    """
    named = cluster.address or os.environ.get("RAY_ADDRESS")
    where, workers = "a Ray that is begun on this machine", None
    if named != "local":
        try:
            with connected(replace(cluster, address=named or "auto")) as workers:
                import ray

                where = f"the Ray cluster at {ray.get_runtime_context().gcs_address}"
        except _NoCluster:
            if named is not None:
                raise
    gpus = f" and {amount(cluster.gpus, 'GPU')}" if cluster.gpus else ""
    most = workers or workers_of(replace(cluster, gpus=0), [{"CPU": cores()}])
    # Which GPUs Ray will find here it says when it begins, and so how many workers it has room for.
    count = amount(most, "worker") if workers or not gpus else "workers"
    return Expected(f"{count} of {amount(cluster.cpus, 'CPU')}{gpus} on {where}", most * cluster.cpus)


class _NoCluster(ClusterError):
    """No cluster answers."""


def _connect(ray: Any, cluster: Cluster) -> None:
    where = cluster.address or os.environ.get("RAY_ADDRESS") or "this machine"
    check_no_client(where)
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
        raise _NoCluster(f"no Ray cluster answers at {where} ({said}): start one with `ray start`{token}") from None


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
def _no_worker_logs() -> Iterator[None]:
    """Have Ray not print what raylets say of a worker that dies: it does, also without `log_to_driver`."""
    # The one switch that there is.
    printing = import_module("ray._private.worker")
    prints = getattr(printing, "_worker_logs_enabled", True)
    printing._worker_logs_enabled = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        printing._worker_logs_enabled = prints  # type: ignore[attr-defined]
